"""The status page as a browser shows it: what is on it, that nothing else is loaded, and that names are only names."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectord.model import StreamKind
from tests.e2e.conftest import MakeDaemon, folder, make_daemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.page.browser import Page, opened
from tests.page.scene import HOSTILE, Scene

__all__ = ["folder", "make_daemon"]

ROWS = "document.querySelectorAll('#rows tr').length"


def seen(daemon: Daemon, folder: Path, look: Callable[[Page], Awaitable[None]]) -> Page:
    """The page of this daemon, after `look`; whatever it does, it asks nobody else and complains of nothing."""

    async def run() -> Page:
        async with opened(f"http://127.0.0.1:{daemon.admin_port}/", folder) as page:
            await page.until(f"{ROWS} > 0 || document.body?.classList.contains('stale')")
            await look(page)
        return page

    page = asyncio.run(run())
    ours = f"http://127.0.0.1:{daemon.admin_port}/"
    assert {f"{ours}page.js", f"{ours}page.css", f"{ours}status.json"} <= set(page.requests.values())
    assert [url for url in page.requests.values() if not url.startswith(ours)] == []
    return page


@pytest.fixture
def scene(make_daemon: MakeDaemon) -> Scene:
    """A daemon with data, telemetry, a blocked stream, refused and dropped rows."""
    made = Scene(make_daemon(flush_interval=0.5, node="node-7").start())
    made.block("blocked")
    made.complain()
    for _ in range(3):
        made.step()
    made.send_events(StreamKind.EXCEPTION, 1)
    made.client.wait_acknowledged()
    eventually(lambda: made.daemon.status()["streams_in_all"] == 8, "all streams are known")
    eventually(lambda: (made.daemon.status()["events"] or {}).get("trace", {}).get("per_minute"), "events are counted")
    return made


def test_the_page_says_what_happens_and_what_is_wrong(scene: Scene, folder: Path) -> None:
    """In words, at any width, in light and in dark, without an error, and with a name and a role for everything."""

    async def look(page: Page) -> None:
        text = await page.ask("document.body.innerText")
        assert "1 thing needs attention" in text
        assert "Blocked, somebody has to act:" in text
        assert "bad_name" in text
        assert "fraud-score / inputs" in text
        assert "last error: bad_name" in text
        for title in ("Throughput", "Freshness", "Backlog", "Time of a sync", "Not collected", "Failed requests"):
            assert title in text
        assert "7 rejected, 120 dropped" in text
        assert "a longer flush_interval makes fewer" in text
        assert "node-7" in text
        assert (await page.ask("document.querySelector('#state').getAttribute('aria-live')")) == "polite"
        assert (await page.ask("document.querySelectorAll('main, header, footer').length")) == 3
        assert await page.ask("[...document.querySelectorAll('th')].every(one => one.scope)")
        assert await page.ask("[...document.querySelectorAll('svg')].every(one => one.getAttribute('aria-label'))")
        for width, dark in ((1280, False), (1280, True), (390, True), (320, False)):
            await page.look(width, dark, phone=width < 500)
            wide = await page.ask("[document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= width, f"nothing sticks out at {width}: {wide}"
            # As a screen reader has it; a table that is drawn otherwise on a phone is one still.
            tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
            roles = Counter(node["role"]["value"] for node in tree if not node["ignored"])
            assert [roles[role] for role in ("banner", "main", "contentinfo", "status")] == [1, 1, 1, 1]
            assert roles["table"] == 2
            assert roles["rowheader"] == 8 + 4
            assert roles["columnheader"] == 10 + 3
            assert roles["row"] == 1 + 8 + 1 + 4
            ratios = await page.ask(CONTRAST)
            assert len(ratios) > 50
            poor = [one for one in ratios if one[0] < 4.5]
            assert not poor, f"too little contrast, dark={dark}: {poor[:5]}"

    page = seen(scene.daemon, folder, look)
    assert page.complaints == []


def test_a_name_is_text_and_never_markup(scene: Scene, folder: Path) -> None:
    async def look(page: Page) -> None:
        names = await page.ask("[...document.querySelectorAll('.name')].map(one => one.textContent)")
        assert f"{HOSTILE} / inputs" in names
        assert (await page.ask("document.scripts.length")) == 1
        assert (await page.ask("document.querySelectorAll('table img').length")) == 0

    assert seen(scene.daemon, folder, look).complaints == []


def test_the_page_follows_the_daemon_and_says_when_it_is_gone(scene: Scene, folder: Path) -> None:
    """What is sent shows up by itself; a daemon that ends is told apart from one with nothing to say."""

    async def look(page: Page) -> None:
        scene.send("churn", 12_345)
        await page.until(
            "[...document.querySelectorAll('#rows td')].some(one => /^12,\\d\\d\\d$/.test(one.textContent))"
        )
        scene.daemon.kill9()
        await page.until("document.querySelector('#state').textContent.includes('does not answer since')")
        assert await page.ask("document.body.classList.contains('stale')")
        page.complaints.clear()
        scene.daemon.start()
        await page.until("!document.body.classList.contains('stale')")
        assert "ready" in await page.ask("document.querySelector('#state').textContent")

    seen(scene.daemon, folder, look)


def test_what_is_inline_or_from_elsewhere_would_not_run(scene: Scene, folder: Path) -> None:
    """The policy holds in a real browser: an inline script and another host are refused, each with a complaint."""

    async def look(page: Page) -> None:
        await page.ask(
            "(() => { const one = document.createElement('script'); one.textContent = 'window.ran = 1'; document.body.append(one);"
            " const two = document.createElement('img'); two.src = 'http://127.0.0.2:9/x.png'; document.body.append(two); })()"
        )
        assert await page.ask("window.ran === undefined")
        for _ in range(300):
            if len(page.complaints) >= 2 and page.refused:
                break
            await asyncio.sleep(0.1)

    page = seen(scene.daemon, folder, look)
    assert page.refused == ["http://127.0.0.2:9/x.png"]
    assert len([one for one in page.complaints if "Content Security Policy" in one]) >= 2


def test_a_daemon_with_nothing_to_show_says_so(make_daemon: MakeDaemon, folder: Path) -> None:
    daemon = make_daemon().start()

    async def run() -> Page:
        async with opened(f"http://127.0.0.1:{daemon.admin_port}/", folder) as page:
            await page.until("document.querySelector('#streams-about').textContent === 'Nothing was received yet.'")
            text = await page.ask("document.body.innerText")
            assert "ready, all is well" in text
            assert "nothing needs attention" in text
            assert "No telemetry events" in text
        return page

    assert asyncio.run(run()).complaints == []


def test_the_scene_has_all_kinds_of_telemetry_that_the_page_shows(scene: Scene) -> None:
    """Else the others would look at empty cards."""
    for kind in (StreamKind.REQUEST, StreamKind.DEPENDENCY, StreamKind.TRACE):
        assert scene.daemon.status()["events"][kind.name.lower()]["per_minute"] > 0
    assert json.dumps(scene.daemon.status()["streams"]).count("script") >= 2


CONTRAST = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => { const c = part / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("main *, header *, footer *")]
    .filter((one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.className, one.textContent.slice(0, 30)];
    });
})()
"""
"""For each element with text of its own the contrast of that text: https://www.w3.org/TR/WCAG22/#contrast-minimum"""
