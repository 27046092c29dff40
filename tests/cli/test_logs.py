"""`collectord logs` and `collectord tail` as people type them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from collectord.books import StreamBooks
from collectord.cli import logs as module
from collectord.cli.main import main
from collectord.logline import iso
from collectord.model import HOUR_NS
from collectord.notes import FILE, read
from tests import landed_events
from tests.control.test_watching import Speaker, Wired, entry

HOSTILE = "red \x1b[31m\x1b]0;title\x07 \r2026-01-01 error fake\nsecond line\u202e"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    now = time.time_ns()
    landed_events.land(
        tmp_path / "store", landed_events.folder(now - HOUR_NS) + "w.jsonl",
        [landed_events.item("an hour ago", now - HOUR_NS, severityLevel=0), b"broken\n"],
    )  # fmt: skip
    landed_events.land(
        tmp_path / "store", landed_events.folder(now) + "w.jsonl",
        [landed_events.item(HOSTILE, now - 10**9, severityLevel=2), landed_events.item("x" * 100_000, now, severityLevel=3)],
    )  # fmt: skip
    return tmp_path / "store"


def run(*words: str, store: Path | None = None, spool: Path | None = None) -> tuple[int, list[str], str]:
    options = [] if store is None else ["--store", str(store)]
    result = CliRunner().invoke(main, [*words, *options, "--spool", str(spool or Path("/nonexistent"))])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_people_get_lines_that_do_nothing_to_their_terminal(store: Path) -> None:
    status, lines, said = run("logs", "svc", store=store)
    assert status == 0
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == ["debug", "warning", "error"]
    assert all(line.isprintable() for line in lines)
    assert lines[1].endswith("red \\x1b[31m\\x1b]0;title\\x07 \\x0d2026-01-01 error fake")
    assert lines[2] == "    second line\\u202e"
    assert lines[3].endswith("x… 91,808 characters more")
    assert "1 landed lines are broken, and left out" in said


def test_scripts_get_json_with_nothing_cut(store: Path) -> None:
    _, lines, _ = run("logs", "svc", "--format", "json", store=store)
    found = [json.loads(line) for line in lines]
    assert [one["message"] for one in found] == ["an hour ago", HOSTILE, "x" * 100_000]
    assert [one["level"] for one in found] == ["debug", "warning", "error"]


def test_what_is_wanted_can_be_narrowed(store: Path) -> None:
    assert len(run("logs", "svc", "-n", "1", store=store)[1]) == 1
    assert [line.split()[1] for line in run("logs", "svc", "--level", "error", store=store)[1]] == ["error"]
    assert not any("an hour ago" in line for line in run("logs", "svc", "--since", "30m", store=store)[1])
    assert any("an hour ago" in line for line in run("logs", "svc", "--since", "1.5h", store=store)[1])
    assert run("logs", "svc", "--since", "2999-01-01", store=store)[1] == []
    for since in ("1 hour", "yesterday", "-5m", "", "9" * 30 + "w", "2026-99-99"):
        status, _, said = run("logs", "svc", "--since", since, store=store)
        assert (status, "neither a time (UTC)" in said) == (2, True), since


def test_an_unknown_service_is_named_with_what_was_perhaps_meant(store: Path) -> None:
    status, lines, said = run("logs", "svx", store=store)
    assert (status, lines) == (2, [])
    assert said == "collectord: nothing is known of a service 'svx'; did you mean 'svc'?\n"


def test_colours_are_for_terminals_only(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("\x1b" in line for line in run("logs", "svc", store=store)[1])
    shown: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text, **_: shown.append(text))
    run("logs", "svc", store=store)
    assert any("\x1b[33mwarning" in text and "\\x1b[31m" in text for text in shown)


def test_nobody_to_ask_is_said_with_the_path(tmp_path: Path) -> None:
    for words in (("tail",), ("tail", "svc/*/inputs", "--format", "jsonl")):
        status, _, said = run(*words, spool=tmp_path)
        assert status == 2
        assert str(tmp_path / "admin.sock") in said and "collectord serve" in said


def test_a_start_with_a_wrong_setting_is_in_every_services_log(tmp_path: Path) -> None:
    status, _, said = run("serve", "--codec", "rar", spool=tmp_path)
    assert status == 2 and "codec" in said
    (note,) = read(tmp_path / FILE)
    assert "codec" in str(note.fields["why"])
    status, lines, said = run("logs", "never-started", spool=tmp_path)
    assert status == 0
    assert "the start failed why=codec" in lines[0]
    assert "no daemon answers" in said


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("*/*/*", "*/*/*"),
        ("svc", "svc/*/*"),
        ("svc/m", "svc/m/*"),
        ("svc//inputs", "svc/*/inputs"),
        ("a/b/c/d", "a/b/c/d"),
    ],
)
def test_parts_of_a_stream_that_are_left_out_are_all(
    given: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns: list[str] = []

    def tail(self: object, pattern: str, form: str) -> list[object]:
        patterns.append(pattern)
        raise KeyboardInterrupt

    monkeypatch.setattr("collectord.control.client.ControlClient.tail", tail)
    status, _, _ = run("tail", given, spool=tmp_path)
    assert (status, patterns) == (0, [asked])


def test_rows_on_a_terminal_are_harmless_and_elsewhere_as_they_are(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    text = "a,b\x1b[2J,ä\r\n".encode()
    for terminal in (False, True):
        screen = module._Screen(terminal)
        for at in range(len(text)):
            screen.show("s", b"h\n", text[at : at + 1])
    out, said = capsysbinary.readouterr()
    assert out == b"h\n" + text + "h\na,b\\x1b[2J,ä\\x0d\n".encode()
    assert said.count(b"stream s") == 2


def test_the_times_shown_are_utc(store: Path) -> None:
    _, lines, _ = run("logs", "svc", "-n", "1", store=store)
    assert lines[0].split()[0][:13] == iso(time.time_ns())[:13]


def test_rows_are_shown_as_they_come_and_streams_that_nobody_has_heard_of_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker()
    speaker.books = lambda: [StreamBooks("s/g/w/fraud/m/1/inputs/default"), StreamBooks("odd")]  # type: ignore[method-assign]
    shown: list[bytes] = []
    real = module._tell_unknown

    def told(socket: Path, pattern: str) -> None:
        real(socket, pattern)
        wired.offer(entry(1, rows=2))

    def show(self: object, stream: str, header: bytes, text: bytes) -> None:
        shown.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_tell_unknown", told)
    monkeypatch.setattr(module._Screen, "show", show)
    with Wired(tmp_path, speaker) as wired:
        for pattern, unknown in (("*", False), ("*/*/[io]*", False), ("*/*/out*", True)):
            shown.clear()
            with monkeypatch.context() as all_streams:
                all_streams.setattr("collectord.patterns.StreamPatterns.__contains__", lambda *_: True)
                status, _, said = run("tail", pattern, spool=tmp_path)
            assert (status, shown) == (0, [b"1\n1\n"])
            assert ("none has come yet; known are fraud/m/inputs\n" in said) == unknown
