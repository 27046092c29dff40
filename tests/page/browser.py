"""A headless Chromium and one page in it, over its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/"""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collectord.testing.child import bound

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 90.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


class Page:
    """What the browser shows, and everything it has asked for or complained of meanwhile."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requests: dict[str, str] = {}
        """By an id of the browser's, the addresses it has gone to."""
        self.refused: list[str] = []
        """Addresses that the page's policy forbids."""
        self.complaints: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        return await asyncio.wait_for(answer, 60)

    async def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        said = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, script: str, timeout: float = 60.0) -> Any:
        """The first true value of an expression."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not (found := await self.ask(script)):
            assert asyncio.get_running_loop().time() < deadline, (
                f"not within {timeout:g} s: {script}\n{self.complaints}"
            )
            await asyncio.sleep(0.1)
        return found

    async def look(self, width: int, dark: bool = False, phone: bool = False) -> None:
        """As a screen of this width."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def shoot(self, to: Path, height: int = 0) -> None:
        """All of the page, or the first `height` points of it, as a PNG."""
        size = await self.ask("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(height or size[1], size[1]), "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        to.write_bytes(base64.b64decode(shot["data"]))

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                future = self._answers.pop(said["id"])
                if "error" in said:
                    future.set_exception(AssertionError(said["error"]))
                else:
                    future.set_result(said["result"])
                continue
            params = said.get("params", {})
            match said["method"]:
                case "Network.requestWillBeSent":
                    self.requests[params["requestId"]] = params["request"]["url"]
                case "Network.loadingFailed" if params.get("blockedReason") == "csp":
                    self.refused.append(self.requests.pop(params["requestId"]))
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(params["exceptionDetails"]))
                case "Runtime.consoleAPICalled":
                    self.complaints.append(str(params["args"]))
                case "Log.entryAdded":
                    self.complaints.append(str(params["entry"]))


def chromium() -> str:
    """The browser's path; without one the test has failed."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.fail(f"none of {', '.join(NAMES)} is on the PATH; on Debian: apt-get install chromium", pytrace=False)


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Page]:
    """A browser of its own, with that page loaded."""
    profile = folder / "profile"
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(bound(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(one for one in await answer.json() if one["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=1 << 28) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=url)
                await page.until("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield page
                page._reader.cancel()
    finally:
        process.kill()
        process.wait(30)


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not (file.exists() and (text := file.read_text())):
        assert process.poll() is None, "the browser ended by itself"
        assert asyncio.get_running_loop().time() < deadline, "the browser did not start"
        await asyncio.sleep(0.1)
    return int(text.splitlines()[0])
