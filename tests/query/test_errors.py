"""What cannot be answered is told with its place in the question."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collectord.query.cursor import MAX_CHAIN, MAX_DEPTH
from collectord.query.errors import KqlError
from collectord.query.parse import MAX_JOINS
from collectord.query.question import Questions
from collectord.query.tokens import MAX_TEXT, MAX_TOKENS
from collectord.testing.store import MemoryStore
from tests.query.asking import asked, line, put

WRONG = {
    "|": "a table, such as traces",
    "^trces | take 1": "there is no table 'trces'; did you mean traces?; there are requests,",
    "traces | ^wher x == 1": "the operator wher is not supported; did you mean where?; supported are where, filter,",
    "traces | ^mv-expand x": "the operator mv-expand is not supported",
    "^union traces, requests": "union is not supported",
    "^let x = 1; traces": "let is not supported",
    "traces | where mesage^": "",
    "traces | where ^mesage == 'x'": "there is no column 'mesage'; did you mean message?; the columns here are timestamp,",
    "traces | where message ^containz 'x'": "'containz' is no operator that is supported; did you mean contains?",
    "traces | where message ^matches regex 'x'": "matches regex is not supported; contains, has,",
    "traces | where message ^= 'x'": "'=' names a column; to compare, write == or =~",
    "traces | where ^!message": "'!' stands before an operator",
    "traces | where message == ^'x": "no closing '",
    "traces | where message == '^\\q'": "\\q is no escape",
    "traces | where severityLevel ^== 'x'": "a long and a string cannot be compared; tolong(…) converts a text",
    "traces | where ^severityLevel": "a condition expected, such as x == 1, not a long",
    "traces | where ^message + 1 == 2": "",
    "traces | where ^severityLevel.x == 1": "",
    "traces | where ^extract('a', 1, message) == 'x'": "the function extract() is not supported",
    "traces | where ^tolowr(message) == 'x'": "did you mean tolower?",
    "traces | where ^tolower() == 'x'": "tolower() takes 1 arguments, not 0",
    "traces | where timestamp > ago(^5)": "ago() takes a timespan such as 1h or 7d, not a long",
    "traces | where timestamp > ^5x": "'5x' is neither a number nor a timespan such as 5m",
    "traces | where timestamp > ^datetime(yesterday)": "'yesterday' is no datetime",
    "traces | where severityLevel in (1, 2^": "",
    "traces | where severityLevel in (traces ^| take 1)": "a question within in (…) is not supported",
    "traces | where severityLevel between (1 ^and 2)": "'..' expected, not 'and'",
    "traces | where (message == 'x'^": "')' expected, not the end of the question",
    "traces | where message == 'x' ^message": "'|' and an operator, or the end expected",
    "traces | summarize ^message by severityLevel": "an aggregate expected: count, countif,",
    "traces | summarize ^stdev(severityLevel)": "the function stdev() is not supported",
    "traces | summarize ^arg_max(timestamp, *) by message": "arg_max() of all columns, '*', is not supported",
    "traces | summarize avg(^message)": "avg() takes numbers, not a string; todouble(…) converts it",
    "traces | summarize percentile(severityLevel, ^101)": "the percentile is a constant from 0 to 100",
    "traces | summarize count() by bin(timestamp, ^0s)": "the size of a bin is more than 0",
    "traces | extend a = 1, ^a = 2": "the column 'a' is made twice",
    "traces | project-away ^x": "there is no column 'x'",
    "traces | project a = message | where ^message == ''": "there is no column 'message'; the columns here are a",
    "traces | ^top": "", "traces | take ^many": "a number of rows expected, not 'many'",
    "traces | order ^timestamp": "'by' expected, not 'timestamp'",
    "traces | join ^requests on itemId": "write join kind=inner",
    "traces | join kind=^leftouter requests on itemId": "join kind=leftouter is not supported",
    "traces | join kind=inner requests on ^nothing": "there is no column 'nothing'",
    "traces | join kind=inner requests on $left.severityLevel == $right.^name": "the columns have different types",
    "traces | where message == ^\ud800": "half a character",
    "traces | where x ^§ 1": "'§' means nothing here",
    "traces | where severityLevel == ^99999999999999999999": "larger than a long can be",
    "traces | where 1 == 1 | ^": "an operator, such as where, expected, not the end",
}  # fmt: skip


@pytest.fixture(scope="module")
def questions() -> Iterator[Questions]:
    store = MemoryStore()
    put(store, "traces", [line(itemId="1")])
    with asked(store) as made:
        yield made


def fault(questions: Questions, text: str) -> KqlError:
    with pytest.raises(KqlError) as raised:
        for _ in questions.kql(text).batches:
            pass
    return raised.value


def test_each_points_at_the_word_and_says_what_there_is(questions: Questions) -> None:
    """`^` stands before the word; where nothing is said of the text, only that there is an error."""
    assert len(WRONG) > 40
    for marked, said in WRONG.items():
        text = marked.replace("^", "")
        error = fault(questions, text)
        assert said in error.why, (marked, error.why)
        if said and "^" in marked:
            assert error.position == marked.index("^"), (marked, error)


def test_the_line_is_shown_with_a_caret_below_the_word(questions: Questions) -> None:
    error = fault(questions, "traces\n| where mesage == 'x'\n| take 1")
    assert (error.line, error.column) == (2, 9)
    first, second, third = str(error).splitlines()
    assert first.startswith("line 2, column 9: there is no column 'mesage'")
    assert second == "  | where mesage == 'x'"
    assert third == "          ^"
    long = fault(questions, "traces | where message == '" + "x" * 5000 + "' and nothing == 1")
    _, second, third = str(long).splitlines()
    assert len(second) < 120
    assert second[third.index("^") :].startswith("nothing")


@pytest.mark.parametrize(
    "text",
    [
        "traces | where " + "(" * 5000 + "true" + ")" * 5000,
        "traces | where " + "not(" * (MAX_DEPTH + 1) + "true" + ")" * (MAX_DEPTH + 1),
        "traces | where " + "-" * 5000 + "1 == 1",
        "traces | where " + " or ".join(["severityLevel == 1"] * (MAX_CHAIN + 1)),
        "traces | where 1" + " + 1" * 5000 + " == 1",
        "traces" + " | take 1" * (MAX_CHAIN + 1),
        "traces | where customDimensions" + ".a" * 5000 + " == 1",
        "traces" + " | join kind=inner traces on itemId" * (MAX_JOINS + 1),
        "traces " + "| join kind=inner (traces " * 5000,
        "traces | where " + "(" * 20 + "message == itemId" + ") == (message == itemId)" * 20,
        "traces" + " " * MAX_TEXT,
        "traces | where severityLevel in (" + "1, " * MAX_TOKENS + "1)",
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_before_it_costs(questions: Questions, text: str) -> None:
    why = fault(questions, text).why
    assert any(said in why for said in ("more than", "at most", "allowed", "too complex")), why
