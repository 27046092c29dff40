"""A line of a service's log: from what it is made, and how people read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collectord.logline import BadLine, LogLine, harmless, iso, line_of, text_of, time_of
from tests import landed_events

NOON = 1_763_726_400_000_000_000


def made(**columns: Any) -> LogLine:
    line = line_of({"itemType": "trace", "timestamp": iso(NOON), **columns})
    assert line is not None
    return line


def test_what_was_printed_is_the_message() -> None:
    assert made(message="STDOUT", customDimensions={"Contents": "hello"}).message == "hello"
    assert made(message="STDOUT", customDimensions={"Contents": {"input": [1, "ä"]}}).message == '{"input":[1,"ä"]}'
    assert made(message="STDOUT", customDimensions={"Request Id": "1"}).message == "STDOUT"
    assert made(message="STDOUT", customDimensions="not an object").message == "STDOUT"


@pytest.mark.parametrize(
    ("columns", "severity", "message"),
    [
        ({"itemType": "trace", "message": "m"}, 1, "m"),
        ({"itemType": "trace", "message": "m", "severityLevel": 4}, 4, "m"),
        ({"itemType": "trace", "message": 3, "severityLevel": 99}, 1, "3"),
        ({"itemType": "trace", "severityLevel": "2"}, 1, ""),
        ({"itemType": "exception", "type": "E", "message": "m", "details": "at x\n"}, 3, "E: m\nat x"),
        ({"itemType": "exception"}, 3, ""),
        ({"itemType": "request", "name": "POST /", "success": False, "resultCode": "500", "duration": 1.26}, 3,
         "POST / failed: 500 after 1.3 ms"),
        ({"itemType": "request", "url": "u", "success": False}, 3, "u failed: "),
    ],
)  # fmt: skip
def test_each_kind_of_event_has_its_words(columns: dict[str, Any], severity: int, message: str) -> None:
    line = line_of({"timestamp": iso(NOON), **columns})
    assert line is not None
    assert (line.severity, line.message, line.kind) == (severity, message, columns["itemType"])


@pytest.mark.parametrize(
    "item", [{}, {"itemType": ["x"]}, {"itemType": "request", "success": True}, {"itemType": "dependency"}]
)
def test_what_is_no_line_of_a_log_makes_none(item: dict[str, Any]) -> None:
    assert line_of({"timestamp": iso(NOON), **item}) is None


@pytest.mark.parametrize("time", [None, "", "yesterday", 5, "9999-99-99", "2026-13-01T00:00:00Z"])
def test_an_event_without_a_time_is_bad(time: object) -> None:
    with pytest.raises(BadLine):
        line_of({"itemType": "trace", "timestamp": time})


@pytest.mark.parametrize("time_ns", [0, NOON, NOON + 123_456_000, 253_402_300_799_999_999_000])
def test_times_are_read_back(time_ns: int) -> None:
    assert time_of(iso(time_ns)) == time_ns


def test_a_line_comes_back_from_json() -> None:
    line = LogLine(NOON, 2, "trace", "pod", "m\n\x1b", "id", "op", {"a": [1]})
    assert LogLine.from_json(json.dumps(line.as_json())) == line
    assert LogLine.from_json(json.dumps(line.as_json())).more == line.more
    bare = LogLine(NOON, 1, "trace", "", "")
    assert LogLine.from_json(json.dumps(bare.as_json())) == bare
    for text in (
        "",
        "[]",
        "{}",
        '{"time": "x"}',
        "[" * 100_000,
        '{"time": "2026-01-01T00:00:00Z", "level": "loud", "kind": "t"}',
    ):
        with pytest.raises(BadLine):
            LogLine.from_json(text)


def test_no_message_acts_on_a_terminal_or_looks_like_another_line() -> None:
    hostile = "a\x1b]0;title\x07\r2026 error\x9b31m\u202eevil\u2028next\x00\x7f\ud800"
    shown = harmless(hostile)
    assert shown == "a\\x1b]0;title\\x07\\x0d2026 error\\x9b31m\\u202eevil\\u2028next\\x00\\x7f\\ud800"
    assert shown.isprintable()
    text = text_of(LogLine(NOON, 3, "trace", "pod\nfake", f"one\ntwo {hostile}"))
    first, *others = text.split("\n")
    assert first == f"{iso(NOON)} error    pod\\nfake one"
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert len(others) == 1
    assert harmless("ä €\t日本\r\nx") == "ä €\t日本\nx"


def test_a_huge_message_is_cut_with_a_mark() -> None:
    text = text_of(LogLine(NOON, 1, "trace", "p", "x" * 5000), most=100)
    assert text.endswith("x… 4,900 characters more")
    assert text.count("x") == 100


def test_our_own_messages_show_their_fields_on_one_line() -> None:
    line = LogLine(NOON, 2, "collectord", "collectord@n", "rows are rejected", more={"why": "a\nb\x1b", "rows": 3})
    assert text_of(line).endswith("collectord@n rows are rejected why=a\\nb\\x1b rows=3")
    assert landed_events.item("m", NOON)["timestamp"] == iso(NOON)
