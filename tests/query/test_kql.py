"""KQL means what it means in Kusto; where it does not, docs/telemetry.md says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from collectord.testing.store import MemoryStore
from tests.query.asking import ask, line, put

EVENT = {
    "itemId": "1", "timestamp": "2026-11-21T17:50:04.123456Z", "message": "STDOUT", "severityLevel": 3,
    "customDimensions": {
        "Contents": {"input": {"feat1": 1.5}, "list": [1, {"x": "y"}, "last"]}, "Request Id": "r-1", "a/b~c": "odd", "n": "5",
        "none": None, "flag": True, "0": "zero",
    },
}  # fmt: skip


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    put(made, "traces", [line(**EVENT)])
    return made


def check(store: MemoryStore, expected: Mapping[str, Any]) -> None:
    """Each expression has its value, over the one event."""
    assert expected
    made = ", ".join(f"v{number} = {expression}" for number, expression in enumerate(expected))
    (found,) = ask(store, f"traces | project {made}")
    assert {expression: found[f"v{number}"] for number, expression in enumerate(expected)} == expected


def test_the_questions_of_the_document_are_answered(store: MemoryStore) -> None:
    assert len(ask(store, 'traces | where customDimensions contains "input" | limit 10')) == 1
    assert ask(
        store, 'traces | where message == "STDOUT" | project timestamp, customDimensions.Contents.input.feat1'
    ) == [{"timestamp": "2026-11-21T17:50:04.123456Z", "customDimensions_Contents_input_feat1": 1.5}]
    assert ask(store, 'traces | where customDimensions contains "output" | limit 10') == []


def test_operators_of_texts(store: MemoryStore) -> None:
    """With `==` and `_cs` case counts, with all others it does not; `has` takes whole terms."""
    check(store, {
        '"FabriKam" contains "BRik"': True, '"Fabrikam" !contains "xyz"': True, '"FabriKam" contains_cs "Kam"': True,
        '"FabriKam" contains_cs "kam"': False, '"Fabrikam" endswith "KAM"': True, '"Fabrikam" !endswith_cs "KAM"': True,
        '"Fabrikam" startswith "fab"': True, '"Fabrikam" !startswith "fab"': False, '"Fabrikam" startswith_cs "fab"': False,
        '"aBc" == "aBc"': True, '"abc" == "ABC"': False, '"abc" =~ "ABC"': True, '"abc" !~ "ABC"': False, '"a" <> "b"': True,
        '"North America" has "america"': True, '"North America" has "amer"': False, '"North America" !has "amer"': True,
        '"North America" has_cs "america"': False, '"a_b" has "a"': True, '"KustoExplorerQueryRun" has "Explorer"': False,
        '"x (a.c) y" has "a.c"': True, '"x abc y" has "a.c"': False, '"naïve" has "na"': False, '"a-b" has "-b"': True,
        '"x\\ny" has "y"': True, '"a" has_any ("b", "A")': True, '"a b" has_all ("b", "A")': True, '"a b" has_all ("b", "c")': False,
        '"a" in ("A", "b")': False, '"a" in~ ("A", "b")': True, '"a" !in ("A", "b")': True, '"a" !in~ ("A", "b")': False,
        "'it\\'s' == @'it''s'": True, '"\\u00e9\\t" == "é\\x09"': True, '@"\\d" == "\\\\d"': True, 'h"x" == "x"': True,
        'message has strcat("std", "out")': True,
    })  # fmt: skip


def test_dynamics(store: MemoryStore) -> None:
    """A property that is not there is null; compared with a value it is read as one of its type."""
    check(store, {
        "customDimensions.Contents.input.feat1": 1.5, 'customDimensions["Request Id"]': "r-1",
        "customDimensions.['Request Id'] == 'r-1'": True, "customDimensions.Contents.list[1].x": "y",
        "customDimensions.Contents.list[-1]": "last", "customDimensions['a/b~c']": "odd", "customDimensions['0']": "zero",
        "customDimensions.nowhere": None, "isnull(customDimensions.none)": True, "isnull(customDimensions.nowhere.x)": True,
        "isnotnull(customDimensions.n)": True, "isempty(customDimensions.nowhere)": True, "isnotempty(customDimensions.n)": True,
        "customDimensions.n == '5'": True, "customDimensions.n == 5": True, "customDimensions.n > 4.5": True, "customDimensions.n + 1": 6.0,
        "customDimensions.flag == true": True, "customDimensions.nowhere != 'x'": True, "customDimensions.nowhere == 1": False,
        'customDimensions.Contents contains "FEAT1"': True, "tostring(customDimensions.Contents.input)": '{"feat1":1.5}',
        "customDimensions contains '\"n\":\"5\"'": True, "array_length(customDimensions.Contents.list)": 3, "array_length(customDimensions)": None,
        "parse_json('{\"a\": [1]}').a[0]": 1, "parse_json('{broken')": None, "parse_json(tostring(customDimensions.Contents)).input.feat1": 1.5,
        "toint(customDimensions.n)": 5, "tobool(customDimensions.flag)": True,
    })  # fmt: skip


def test_nulls(store: MemoryStore) -> None:
    """A text is never null; of others one null and a value are unequal, and two nulls are neither equal nor unequal."""
    check(store, {
        "operation_Id": "", "isempty(operation_Id)": True, "isnull(operation_Id)": False, "operation_Id != 'x'": True,
        "long(null) == 1": False, "long(null) != 1": True, "long(null) == long(null)": None, "long(null) != long(null)": None,
        "long(null) > 1": None, "isnull(long(null))": True, "not(long(null) == 1)": True, "long(null) in (1)": False,
        "long(null) !in (1)": True, "isnull(datetime(null))": True, "timespan(null)": None, "real(null) + 1": None, "bool(null)": None,
        "severityLevel == long(null)": False, "dynamic(null)": None, "iff(long(null) == 1, 'a', 'b')": "b", "coalesce(long(null), 2)": 2,
        "coalesce('', 'x')": "x", "case(false, 1, long(null) > 1, 2, 3)": 3,
    })  # fmt: skip
    assert ask(store, "traces | where long(null) > 1") == []


def test_times(store: MemoryStore) -> None:
    """Bins of time begin in the year 1, so those of a week on Mondays."""
    check(store, {
        "timestamp > datetime(2026-11-21)": True, "timestamp between (datetime(2026-11-21 17:50) .. 1m)": True,
        "timestamp !between (datetime(2026-11-22) .. datetime(2026-11-23))": True,
        "bin(timestamp, 5m)": "2026-11-21T17:50:00.000000Z", "bin(timestamp, 7d)": "2026-11-16T00:00:00.000000Z",
        "floor(timestamp, 1h)": "2026-11-21T17:00:00.000000Z", "startofday(timestamp)": "2026-11-21T00:00:00.000000Z",
        "bin(16d, 7d)": "14.00:00:00", "bin(4.5, 1)": 4.0, "bin(-7, 3)": -9, "bin(datetime(null), 1h)": None,
        "timestamp - datetime(2026-11-21 17:50:00)": "00:00:04.1234560", "timestamp + 1d": "2026-11-22T17:50:04.123456Z",
        "2h + 30m": "02:30:00", "1d / 1h": 24.0, "3 * 1m": "00:03:00", "timespan(1.02:03:04.5)": "1.02:03:04.5000000", "time(90s)": "00:01:30",
        "-1d - 1s": "-1.00:00:01", "tostring(-1d - 1ms)": "-1.00:00:00.0010000", "tostring(datetime(2026-11-21T17:50:04.5Z))": "2026-11-21T17:50:04.5000000Z",
        "datetime(2026-11-21T19:00:00+02:00) == datetime(2026-11-21 17:00)": True, 'todatetime("2026-11-21T19:00:00+02:00")': "2026-11-21T17:00:00.000000Z",
        'todatetime("nonsense")': None, 'datetime("2026-11-21")': "2026-11-21T00:00:00.000000Z", "now() - ago(1h)": "01:00:00", "now(-1d) < now()": True,
        "totimespan('01:30:00') == 90m": True, "datetime(9999-12-31) + 10000000d > datetime(9999-12-31)": True,
    })  # fmt: skip


def test_numbers(store: MemoryStore) -> None:
    check(store, {
        "1 / 2": 0, "1.0 / 2": 0.5, "-7 / 2": -3, "7 % 3": 1, "1 / 0": None, "1.0 / 0": None, "0x10 + 1": 17, "1e3": 1000.0, "2 + 3 * 4": 14,
        "(2 + 3) * 4": 20, "-severityLevel": -3, "9223372036854775807 + 1": None, "toint('5')": 5, "tolong('5.5')": None, "tolong(5.9)": 5,
        "todouble('1.5')": 1.5, "todouble('x')": None, "tostring(5)": "5", "toint(true)": 1, "abs(-2)": 2, "round(2.567, 2)": 2.57, "5 between (1 .. 5)": True,
        "3 == 3.0": True, "tolower('AbC')": "abc", "toupper('a')": "A", "strlen('é🙂')": 2, "substring('abcd', 1, 2)": "bc", "strcat('a', 1, true)": "a1true",
        "replace_string('a-b-c', '-', '')": "abc", "replace_string('aa', 'b', 'c')": "aa", "replace_string('', 'a', 'b')": "",
        "tobool('true')": True, "1 < 2 and not(2 < 1) or false": True, "true or false and false": True,
    })  # fmt: skip


def test_a_condition_without_a_comparison_may_be_followed_by_one_that_begins_with_a_value(store: MemoryStore) -> None:
    check(store, {
        "(1 == 1 or 1 == 0) and 1 == 0": False, "(1 == 1) and 5 < severityLevel": False, "isempty(operation_Id) and 'STDOUT' == message": True,
        "true and 1.5 < 2 or false": True, "(false) or 'x' in (message, 'x')": True, "1 between (0 .. 2) and 3 == severityLevel": True,
        "not(false) and 1h < 2h and (true or 1 == 2)": True, "severityLevel * 2": 6, "strcat(message, 'x') has 'x' or 1 == 2": False,
    })  # fmt: skip
    assert ask(store, "traces | summarize count() by 'x', 5") == [{"Column1": "x", "Column2": 5, "count_": 1}]


@pytest.fixture
def requests() -> MemoryStore:
    made = MemoryStore()
    put(made, "requests", [
        line(itemId=str(number), timestamp=f"2026-11-21T17:{number:02}:00Z", name="a" if number % 2 else "b",
             duration=float(number) if number else None, success=number != 3, resultCode="200", operation_Id=f"o{number}")
        for number in range(10)
    ])  # fmt: skip
    put(made, "exceptions", [line(itemId="e", timestamp="2026-11-21T17:03:00Z", operation_Id="o3", type="ValueError")])
    return made


def test_summarize(requests: MemoryStore) -> None:
    """Nulls do not count; what has no rows is 0 or null; percentiles are the nearest rank."""
    question = (
        "requests | summarize count(), countif(success), dcount(name), sum(duration), avg(duration), min(duration), max(name), "
        "percentile(duration, 50), n = dcountif(name, duration > 100), sumif(duration, success) by k = success | order by k asc"
    )
    assert ask(requests, question) == [
        {"k": False, "count_": 1, "countif_": 0, "dcount_name": 1, "sum_duration": 3.0, "avg_duration": 3.0, "min_duration": 3.0,
         "max_name": "a", "percentile_duration_50": 3.0, "n": 0, "sumif_duration": 0.0},
        {"k": True, "count_": 9, "countif_": 9, "dcount_name": 2, "sum_duration": 42.0, "avg_duration": 5.25, "min_duration": 1.0,
         "max_name": "b", "percentile_duration_50": 5.0, "n": 0, "sumif_duration": 42.0},
    ]  # fmt: skip
    found = ask(
        requests,
        "requests | where name == 'x' | summarize count(), sum(duration), avg(duration), max(name), max(duration)",
    )
    assert found == [{"count_": 0, "sum_duration": 0.0, "avg_duration": None, "max_name": "", "max_duration": None}]
    assert ask(requests, "requests | where name == 'x' | summarize count() by name") == []
    assert ask(requests, "requests | summarize count() by bin(timestamp, 5m) | order by timestamp asc") == [
        {"timestamp": "2026-11-21T17:00:00.000000Z", "count_": 5}, {"timestamp": "2026-11-21T17:05:00.000000Z", "count_": 5}
    ]  # fmt: skip
    assert ask(requests, "requests | summarize failed = 100.0 * countif(not(success)) / count()") == [{"failed": 10.0}]
    assert ask(requests, "requests | summarize by name | order by name asc") == [{"name": "a"}, {"name": "b"}]
    assert ask(requests, "requests | count") == [{"Count": 10}]


def test_order_top_and_what_follows_them(requests: MemoryStore) -> None:
    """Descending unless said, nulls last then; the order lasts through what keeps rows as they are."""

    def names(question: str) -> list[Any]:
        return [row["d"] for row in ask(requests, f"requests | extend d = toint(duration) | {question}")]

    assert names("order by d") == [9, 8, 7, 6, 5, 4, 3, 2, 1, None]
    assert names("sort by d asc") == [None, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert names("order by d asc nulls last | take 2") == [1, 2]
    assert names("top 3 by d") == [9, 8, 7]
    assert names("order by name asc, d desc | project d | where d > 4 | extend x = 1") == [9, 7, 5, 8, 6]
    assert names("order by d | extend d = -d | take 2") == [-9, -8]
    assert names("take 0") == []


def test_project_distinct_and_join(requests: MemoryStore) -> None:
    assert ask(requests, "requests | where success == false | join kind=inner exceptions on operation_Id "
               "| project name, type, operation_Id1, timestamp1") == [
        {"name": "a", "type": "ValueError", "operation_Id1": "o3", "timestamp1": "2026-11-21T17:03:00.000000Z"}
    ]  # fmt: skip
    joined = (
        "requests | join kind=inner (exceptions | project op = operation_Id) on $left.operation_Id == $right.op | count"
    )
    assert ask(requests, joined) == [{"Count": 1}]
    assert ask(requests, "requests | distinct name, success | count") == [{"Count": 3}]
    assert ask(requests, "requests | project name, tolower(name), 5 | distinct * | count") == [{"Count": 2}]
    (first, *_) = ask(requests, "requests | project-away item*, custom*, timestamp | take 1")
    assert "itemId" not in first
    assert "duration" in first
    assert list(ask(requests, "requests | take 1 | project tolower(name), strlen(name), tostring(duration)")[0]) == [
        "Column1", "Column2", "duration"
    ]  # fmt: skip
    # Names differ by case, which SQL does not see.
    assert ask(requests, "requests | where itemId == '1' | extend NAME = 'x', Name = 'y' | project name, Name, NAME") == [
        {"name": "a", "Name": "y", "NAME": "x"}
    ]  # fmt: skip
    assert ask(requests, "requests | where success == 'False' | count") == [{"Count": 1}]


def test_comments_lines_and_names_in_brackets(store: MemoryStore) -> None:
    question = "traces // all\n| where ['message'] == 'STDOUT' // some\n\n| project ['a b'] = severityLevel;"
    assert ask(store, question) == [{"a b": 3}]
