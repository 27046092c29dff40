"""The hours that a question asks about: never too few."""

from __future__ import annotations

from collectord.query.moments import microseconds_of, moment_of
from collectord.query.parse import parse
from collectord.query.span import Span, span_of

NOW = microseconds_of("2026-11-21T12:00") or 0


def at(text: str) -> int:
    found = microseconds_of(text)
    assert found is not None
    return found


def span(conditions: str) -> Span:
    return span_of(parse(f"traces {conditions}").operators, NOW)


def test_what_narrows_and_what_does_not() -> None:
    day = Span(at("2026-11-21"), at("2026-11-22"))
    assert span("| where timestamp > ago(1h)") == Span(at("2026-11-21T11:00"))
    assert (
        span("| where timestamp >= datetime(2026-11-21) and timestamp < datetime(2026-11-22) and message == 'x'") == day
    )
    assert span("| where timestamp between (datetime(2026-11-21) .. 1d)") == day
    assert span("| where timestamp between (datetime(2026-11-21) .. datetime(2026-11-22))") == day
    assert span("| extend x = 1 | where message == 'x' | where now() - 1h < timestamp | take 3") == Span(
        at("2026-11-21T11:00")
    )
    assert span("| where datetime(2026-11-21) == ['$aml_dc_scoring_timestamp']") == Span(
        at("2026-11-21"), at("2026-11-21")
    )
    assert span("| where timestamp <= now(-1d)") == Span(None, at("2026-11-20T12:00"))
    everything = Span()
    for conditions in (
        "| where timestamp > ago(1h) or message == 'x'", "| where not(timestamp > ago(1h))", "| where timestamp != now()",
        "| where timestamp !between (datetime(2026-11-21) .. 1d)", "| take 5 | where timestamp > ago(1h)", "| where timestamp > ago(severityLevel * 1h)",
        "| extend timestamp = now() | where timestamp > ago(1h)", "| extend bin(timestamp, 1d) | where timestamp > ago(1h)",
        "| summarize timestamp = max(timestamp) | where timestamp > ago(1h)", "| where timestamp > timestamp", "",
    ):  # fmt: skip
        assert span(conditions) == everything, conditions


def test_hours_touch_a_span_at_its_ends() -> None:
    wanted = Span(100, 200)
    assert [wanted.touches(*hour) for hour in ((0, 100), (0, 101), (200, 300), (201, 300))] == [
        False,
        True,
        True,
        False,
    ]
    assert wanted.within(Span(150, None)) == Span(150, 200)
    assert Span().touches(0, 1)


def test_moments_as_people_write_them() -> None:
    assert microseconds_of("2026-11-21 08:30:01.5") == at("2026-11-21T08:30:01.500000Z")
    assert microseconds_of("2026-11-21T08:30+01:00") == at("2026-11-21T07:30")
    assert microseconds_of("2026-02-30") is None
    assert moment_of("tomorrow") is None
    older, newer = moment_of("2d"), moment_of("30m")
    assert older is not None
    assert newer is not None
    assert older < newer
