"""What `collectord status` and `collectord top` show of a status."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from collectord.books import StreamBooks
from collectord.cli import screen
from collectord.cli.ask import books_table
from collectord.cli.output import harmless_in
from collectord.cli.top import shown, watch
from collectord.errors import CallHuman

SPREAD = {"count": 10, "p50": 0.012, "p99": 0.2}
COST = {"bytes_per_hour": 3 << 20, "operations_per_hour": 120.0, "per_month": 1.234}


def stream(name: str, **more: Any) -> dict[str, Any]:
    return {
        "stream": name, "received": 12_345, "landed": 12_000, "in_log": 300, "parked": 40, "quarantined": 5, "rejected": 6,
        "dropped": 7, "collected": "10 %", "blob": f"{name}/data.csv.zst", "last_error": None, "cost": COST, **more,
    }  # fmt: skip


def status(**more: Any) -> dict[str, Any]:
    return {
        "version": "1", "pid": 4, "uptime_seconds": 60.0, "state": "ready", "listen": ["unix:/c.sock"], "mdc": None,
        "store": "directory /store", "clients": [{}],
        "waiting": {"rows": 1234, "partitions": 3, "oldest_seconds": 2.5},
        "rates": {"seconds": 15.0, "received_rows": 1500.4, "landed_rows": 1400.0, "landed_bytes": 2048.0},
        "latency": {"sync": SPREAD, "append": {"count": 0, "p50": None, "p99": None}},
        "memory": {"resident_bytes": 100 << 20, "budget_bytes": 256 << 20, "unacknowledged_bytes": 0},
        "log": {"bytes": 64 << 20, "budget_bytes": 6 << 30},
        "parked": {"rows": 0, "bytes": 0, "files": 0, "budget_bytes": 1, "refused_partitions": 0},
        "quarantine": {"items": 0, "rows": 0, "bytes": 0, "budget_bytes": 1},
        "troubles": [], "errors": [], "held": None, "log_lost": False, "last_error": None, "events": None,
        "settings": {"problem": None, "pending": []}, "switches": {"problem": None},
        "exports": [], "machine": [], "tls": None, "tenants": {"problem": None},
        "totals": {"received": 1, "landed": 1, "in_log": 0, "parked": 0, "quarantined": 5, "rejected": 6, "dropped": 7},
        "streams": [stream("a/b")], "streams_in_all": 1, "cost": {**COST, "advice": "a longer flush_interval"}, **more,
    }  # fmt: skip


def printed(what: Any, width: int = 200) -> str:
    console = Console(width=width, height=50, file=io.StringIO(), force_terminal=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_head_says_how_fast_how_fresh_and_how_dear() -> None:
    text = printed(screen.head(status()))
    assert "collectord 1 is ready, pid 4, up 60 s" in text
    assert "1,500 rows/s received, 1,400 rows/s and 2 KiB/s landed" in text
    assert "1,234 rows of 3 partitions, oldest 2.5 s" in text
    assert "median 12.0 ms, p99 200.0 ms" in text
    assert "none in the last 5 minutes" in text
    assert "6 rows rejected, 7 dropped, 5 in quarantine" in text
    assert "1.23 a month expected: 120 appends and 3 MiB an hour" in text
    assert "application" not in text


def test_the_application_is_shown_where_it_sends_telemetry() -> None:
    timed = {"per_minute": 90.0, "failed_percent": 2.5, "average_ms": None, "p95_ms": None}
    events = {"request": timed, "dependency": timed, "exception": {"per_minute": 1.0}, "trace": {"per_minute": 2.0}}
    assert "90.0 requests a minute, – on average, 2.5 % failed" in printed(screen.head(status(events=events)))


def test_each_stream_has_its_books_its_switch_its_blob_and_its_cost() -> None:
    text = printed(screen.streams(status(streams=[stream("a/b", last_error="forbidden: no rights")])))
    for word in (
        "12,345",
        "12,000",
        "345",
        "10 %",
        "a/b/data.csv.zst",
        "last error: forbidden: no rights",
        "3 MiB",
        "1.23",
    ):
        assert word in text


def test_names_are_never_markup() -> None:
    """rich would take [red] for a colour, and [/] for an error."""
    hostile = "[red]x[/nothing]"
    trouble = {"blob": hostile, "blocked": True, "detail": hostile, "again_in_seconds": 1.0}
    said = status(streams=[stream(hostile, last_error=hostile)], troubles=[trouble], store=hostile)
    assert printed(shown(said, 50)).count(hostile) >= 5


def test_names_do_nothing_to_a_terminal() -> None:
    """A daemon takes C1 and what turns text around in them: ESC [ is one character there."""
    name = "s/g/w/\x9b2J/m\u202e/1/inputs/default"
    told = harmless_in({"stream": name, "errors": [{"what": "\x1b[2J"}], "rows": 2, "blob": None})
    assert told == {
        "stream": r"s/g/w/\x9b2J/m\u202e/1/inputs/default", "errors": [{"what": r"\x1b[2J"}], "rows": 2, "blob": None,
    }  # fmt: skip
    books = StreamBooks(name, dropped_by_clients={"\x9b": 1})
    text = printed(books_table([books], {told["stream"]: stream(told["stream"])}))
    assert not {"\x9b", "\u202e"} & set(text)
    assert r"\x9b2J/m\u202e" in text and "collected: 10 %" in text


def test_what_does_not_fit_is_counted() -> None:
    text = printed(screen.streams(status(streams=[stream(str(n)) for n in range(9)], streams_in_all=90), 2))
    assert "and 88 more streams" in text
    assert "nothing was received yet" in printed(screen.streams(status(streams=[], streams_in_all=0)))


def test_troubles_leave_room_for_the_streams() -> None:
    """Where the store is down every blob has one; those that somebody has to mend come first."""
    retried = {"blocked": False, "detail": "503", "again_in_seconds": 1.5}
    troubles = [{"blob": f"blob-{n}", **retried} for n in range(1000)] + [{"blob": "worst", **retried, "blocked": True}]
    text = printed(shown(status(troubles=troubles), 50))
    assert "blocked worst: 503" in text
    assert (text.count("retrying"), "and 996 more blobs in trouble" in text, "a/b/data.csv.zst" in text) == (
        4,
        True,
        True,
    )
    assert "".join(printed(line) for line in screen.problems(status(troubles=troubles))).count(": 503 (") == 1001


def test_everything_that_needs_somebody_is_a_line() -> None:
    trouble = {"blob": "b", "blocked": False, "detail": "503", "again_in_seconds": 1.5}
    said = status(
        held="the ledger was lost", log_lost=True, troubles=[trouble], settings={"problem": "line 3", "pending": ["store", "codec"]}, switches={"problem": "old"},
        parked={"refused_partitions": 2}, machine=[{"about": "disk", "what": "0 MiB free", "todo": "make room"}],
        tls={"problem": "expired on"}, tenants={"problem": "line 7"},
    )  # fmt: skip
    text = "".join(printed(line) for line in screen.problems(said))
    for word in (
        "nothing is uploaded: the ledger",
        "log was gone",
        "rows of 2 blocked",
        "line 3",
        "a restart is needed for: store, codec",
        "old",
        "retrying b: 503",
        "the machine below (disk): 0 MiB free; make room",
        "the certificate does not count: expired on",
        "the file of tenants does not count: line 7",
    ):
        assert word in text
    assert [printed(line) for line in screen.problems(status(last_error="e"))] == ["last error: e\n"]


def test_a_daemon_that_does_not_look_at_its_machine_yet_is_shown() -> None:
    """One of an earlier version, such as runs while a new one is being installed."""
    said = status(last_error="503")
    del said["machine"]
    assert "503" in "".join(printed(line) for line in screen.problems(said))


def test_top_survives_the_daemons_restart_and_ends_when_told() -> None:
    answers: list[dict[str, Any] | Exception] = [status(), CallHuman("no daemon answers"), status(state="draining")]
    seen: list[str] = []
    console = Console(width=200, height=50, file=io.StringIO(), force_terminal=True)

    def ask() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait() -> bool:
        assert isinstance(console.file, io.StringIO)
        seen.append(console.file.getvalue())
        console.file.seek(0)
        console.file.truncate()
        return not answers

    watch(ask, console, wait)
    assert "ready" in seen[0]
    assert "no daemon answers" in seen[1]
    assert "waiting for it" in seen[1]
    assert "draining" in seen[2]


def test_ctrl_c_ends_top_in_order() -> None:
    def wait() -> bool:
        raise KeyboardInterrupt

    watch(status, Console(file=io.StringIO(), force_terminal=False), wait)
