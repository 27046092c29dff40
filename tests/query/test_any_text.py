"""Any text is answered, or refused with a place in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectord.query.errors import KqlError
from collectord.query.question import Questions
from collectord.testing.store import MemoryStore
from tests.query.asking import asked, line, put, rows

NAMES = [
    "timestamp",
    "message",
    "severityLevel",
    "customDimensions",
    "operation_Id",
    "duration",
    "success",
    "x",
    "null",
]
values = st.sampled_from(
    [*NAMES, *NAMES, "1", "0", "-1", "2.5", "1e308", "9223372036854775807", "'a'", '"input"', "''", "@'\\'", "'\\u0000'", "true", "1d", "5m", "0s",
     "106751991167d", "datetime(2026-11-21)", "datetime(9999-12-31 23:59:59)", "datetime(0001-01-01)", "long(null)", "datetime(null)", "dynamic(null)", "timespan(null)", "bool(null)", "real(null)",
     "customDimensions.Contents.input", 'customDimensions["Request Id"]', "customDimensions.a[0]", "customDimensions.a[-1].b", "now()", "*", "count()"]
)  # fmt: skip
FUNCTIONS = ["ago", "now", "tostring", "tolong", "toint", "todouble", "tobool", "todatetime", "totimespan", "parse_json", "tolower", "toupper", "strlen", "strcat", "substring", "isempty", "isnotempty", "isnull", "isnotnull", "not", "iff", "case", "coalesce", "bin", "floor", "startofday", "abs", "round", "array_length", "count", "countif", "dcount", "dcountif", "sum", "sumif", "avg", "avgif", "min", "max", "minif", "maxif", "percentile", "nope"]  # fmt: skip


def _any(kinds: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    return st.one_of(*kinds.values())


def typed(depth: int) -> dict[str, st.SearchStrategy[str]]:
    """Expressions of each type that mean something."""
    leaves = {
        "text": st.sampled_from(["message", "'input'", '"a"', "''", "operation_Id", "@'\\'", "'\\u0000x'", "'.*('", "'é'", "itemId"]),
        "long": st.sampled_from(["severityLevel", "1", "0", "-1", "9223372036854775807", "-9223372036854775807", "long(null)"]),
        "real": st.sampled_from(["2.5", "1e308", "-0.0", "real(null)", "1e-320", "todouble('nan')", "todouble('-inf')"]),
        "bool": st.sampled_from(["true", "false", "bool(null)"]),
        "time": st.sampled_from(["timestamp", "now()", "datetime(2026-11-21)", "datetime(9999-12-31 23:59:59)", "datetime(0001-01-01)", "datetime(null)"]),
        "span": st.sampled_from(["1d", "5m", "0s", "-1h", "106751991167d", "timespan(null)", "1tick"]),
        "json": st.sampled_from(["customDimensions", "customDimensions.Contents", "customDimensions.Contents.input[0]", "customDimensions.a[-1].b", 'customDimensions["a"][0]["b"]', "dynamic(null)", "parse_json('[1,2')"]),
    }  # fmt: skip
    if not depth:
        return leaves
    k = typed(depth - 1)
    number = st.one_of(k["long"], k["real"], k["json"])
    text = st.one_of(k["text"], k["json"])
    same = st.one_of(*(st.tuples(one, one) for one in (k["text"], number, k["time"], k["span"], k["json"])))
    ops = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    textops = st.sampled_from(
        [
            "=~",
            "!~",
            "contains",
            "!contains",
            "contains_cs",
            "has",
            "!has",
            "has_cs",
            "startswith",
            "!startswith_cs",
            "endswith",
            "!endswith",
        ]
    )
    rec = {
        "text": st.one_of(
            st.tuples(st.sampled_from(["tostring", "tolower", "toupper"]), st.one_of(text, number, k["time"], k["span"], k["bool"])).map(lambda t: f"{t[0]}({t[1]})"),
            st.tuples(text, _any(k)).map(lambda t: f"strcat({t[0]}, {t[1]})"),
            st.tuples(text, k["long"], k["long"]).map(lambda t: f"substring({t[0]}, {t[1]}, {t[2]})"),
            st.tuples(k["bool"], k["text"], k["text"]).map(lambda t: f"iff({', '.join(t)})"),
            st.tuples(k["text"], k["text"]).map(lambda t: f"coalesce({', '.join(t)})"),
        ),
        "long": st.one_of(
            st.tuples(k["long"], st.sampled_from("+-*/%"), k["long"]).map(lambda t: f"({' '.join(t)})"),
            st.tuples(st.sampled_from(["tolong", "strlen", "toint"]), st.one_of(text, number)).map(lambda t: f"{t[0]}({t[1]})"),
            k["long"].map(lambda t: f"bin({t}, 3)"), k["json"].map(lambda t: f"array_length({t})"), k["long"].map(lambda t: f"abs(-{t})"),
        ),
        "real": st.one_of(
            st.tuples(number, st.sampled_from("+-*/%"), k["real"]).map(lambda t: f"({' '.join(t)})"),
            st.one_of(text, number, k["span"], k["bool"]).filter(lambda t: True).map(lambda t: f"todouble({t})"),
            st.tuples(number, st.sampled_from(["3", "0.1", "1e300", "1e-300"])).map(lambda t: f"bin({t[0]}, {t[1]})"),
            number.map(lambda t: f"round({t}, 2)"), st.tuples(k["span"], k["span"]).map(" / ".join).map("({})".format),
            st.tuples(k["bool"], number, k["real"]).map(lambda t: f"iff({', '.join(t)})"),
        ),
        "bool": st.one_of(
            st.tuples(same, ops).map(lambda t: f"({t[0][0]} {t[1]} {t[0][1]})"),
            st.tuples(text, textops, text).map(lambda t: f"({' '.join(t)})"),
            st.tuples(k["bool"], st.sampled_from(["and", "or", "==", "!="]), k["bool"]).map(lambda t: f"({' '.join(t)})"),
            st.tuples(text, st.sampled_from(["in", "!in", "in~", "!in~", "has_any", "has_all"]), text, text).map(lambda t: f"({t[0]} {t[1]} ({t[2]}, {t[3]}))"),
            st.tuples(number, st.sampled_from(["between", "!between"]), number, number).map(lambda t: f"({t[0]} {t[1]} ({t[2]} .. {t[3]}))"),
            st.tuples(k["time"], k["time"], st.one_of(k["time"], k["span"])).map(lambda t: f"({t[0]} between ({t[1]} .. {t[2]}))"),
            st.tuples(st.sampled_from(["isnull", "isnotnull", "isempty", "isnotempty"]), _any(k)).map(lambda t: f"{t[0]}({t[1]})"),
            k["bool"].map(lambda t: f"not({t})"), st.one_of(text, number).map(lambda t: f"tobool({t})"),
        ),
        "time": st.one_of(
            st.tuples(k["time"], st.sampled_from("+-"), k["span"]).map(lambda t: f"({' '.join(t)})"), k["span"].map(lambda t: f"ago({t})"),
            text.map(lambda t: f"todatetime({t})"), st.tuples(k["time"], st.sampled_from(["1d", "5m", "7d", "1tick"])).map(lambda t: f"bin({t[0]}, {t[1]})"),
            k["time"].map(lambda t: f"startofday({t})"), k["span"].map(lambda t: f"now({t})"),
        ),
        "span": st.one_of(
            st.tuples(k["time"], k["time"]).map(" - ".join).map("({})".format), st.tuples(k["span"], st.sampled_from("+-%"), k["span"]).map(lambda t: f"({' '.join(t)})"),
            st.tuples(k["span"], st.sampled_from("*/"), number).map(lambda t: f"({' '.join(t)})"), text.map(lambda t: f"totimespan({t})"), k["span"].map(lambda t: f"bin({t}, 5m)"), k["span"].map(lambda t: f"abs({t})"),
        ),
        "json": st.one_of(text.map(lambda t: f"parse_json({t})"), k["json"].map(lambda t: f"{t}.b"), k["json"].map(lambda t: f"{t}[0]")),
    }  # fmt: skip
    return {name: st.one_of(leaves[name], rec[name]) for name in leaves}


KINDS = typed(3)
expressions = st.one_of(*KINDS.values(), values)
aggregates = st.one_of(
    st.just("count()"), KINDS["bool"].map("countif({})".format), _any(KINDS).map("dcount({})".format),
    st.tuples(st.sampled_from(["sum", "avg"]), st.one_of(KINDS["long"], KINDS["real"], KINDS["span"], KINDS["json"])).map(lambda t: f"{t[0]}({t[1]})"),
    st.tuples(st.sampled_from(["sumif", "avgif", "minif"]), KINDS["long"], KINDS["bool"]).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    st.tuples(st.sampled_from(["min", "max"]), _any({k: v for k, v in KINDS.items() if k != "bool"})).map(lambda t: f"{t[0]}({t[1]})"),
    st.one_of(KINDS["long"], KINDS["real"], KINDS["span"], KINDS["time"], KINDS["json"]).map("percentile({}, 95)".format),
)  # fmt: skip
aggregates = st.one_of(
    aggregates,
    st.tuples(aggregates, st.sampled_from("+-*/"), aggregates).map(" ".join),
    st.tuples(KINDS["text"], aggregates).map(lambda t: f"iff(count() > 1, tostring({t[1]}), 'x')"),
)
items = st.lists(
    st.one_of(expressions, st.tuples(st.sampled_from(NAMES), expressions).map(" = ".join)), min_size=1, max_size=3
).map(", ".join)
operators = st.one_of(
    KINDS["bool"].map(lambda t: f"where {t}"),
    items.map(lambda t: f"project {t}"), items.map(lambda t: f"extend {t}"), items.map(lambda t: f"distinct {t}"),
    st.sampled_from(["count", "distinct *", "take 2", "take 0", "limit 9223372036854775807", "project-away customDimensions", "project-away cust*, x"]),
    st.tuples(aggregates, items).map(lambda t: f"summarize {t[0]} by {t[1]}"), st.tuples(aggregates, aggregates).map(lambda t: f"summarize {t[0]}, {t[1]}"), items.map(lambda t: f"summarize by {t}"),
    st.tuples(expressions, st.sampled_from(["", " asc", " desc nulls first"])).map(lambda t: f"order by {t[0]}{t[1]}"),
    expressions.map(lambda t: f"top 2 by {t}"),
    st.sampled_from(NAMES).map(lambda t: f"join kind=inner (requests | where success) on {t}"),
    st.sampled_from(NAMES).map(lambda t: f"join kind=inner requests on $left.{t} == $right.operation_Id"),
)  # fmt: skip
questions = st.tuples(
    st.sampled_from(["traces", "requests", "traces", "nothing"]), st.lists(operators, max_size=4)
).map(lambda t: " | ".join([t[0], *t[1]]))
noise = st.text(
    st.sampled_from("traces|where()[]'\"\\.,=!<>-0123456789 \n\tcontainsé\ud800\0🙂@hd$:;{}/*%"), max_size=60
)
mangled = st.tuples(questions, st.integers(0, 200), st.text(max_size=4)).map(
    lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
)

STORE = MemoryStore()
put(STORE, "traces", [
    line(itemId="1", timestamp="2026-11-21T17:50:04.123456Z", message="a input b", severityLevel=1, operation_Id="x", customDimensions={"Contents": {"input": [1.5, None]}, "Request Id": "r", "a": [{"b": 1}, {"b": "2"}]}),
    line(itemId="2", timestamp="2026-11-21T17:51:04Z", message="", customDimensions="text"),
    line(itemId="3", timestamp="nonsense", message="\0é🙂", severityLevel=9223372036854775807, customDimensions={}),
    b"{broken\n", b"\xff\xfe\n",
])  # fmt: skip
put(
    STORE,
    "requests",
    [line(itemId="4", timestamp="2026-11-21T17:51:04Z", name="n", duration=1.5, success=True, operation_Id="x")],
)
put(STORE, "requests", [line(itemId="5", timestamp="0001-01-01T00:00:00Z", duration=-0.0)], writer="w1")


@pytest.fixture(scope="module")
def open_questions() -> Iterator[Questions]:
    with asked(STORE) as found:
        yield found


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.one_of(questions, questions, mangled, noise))
def test_any_text_is_answered_or_refused_with_its_place(open_questions: Questions, text: str) -> None:
    try:
        rows(open_questions.kql(text))
    except KqlError as error:
        assert 0 <= error.position <= len(text)
        # Not what DuckDB said: that was not foreseen.
        assert " Error: " not in error.why


def test_enough_of_these_texts_mean_something(open_questions: Questions) -> None:
    """Typed expressions are answered, so that the SQL of every function is run."""
    answered = 0

    @settings(max_examples=25, derandomize=True, database=None)
    @given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: KINDS[kind]))
    def ask(expression: str) -> None:
        nonlocal answered
        answered += len(rows(open_questions.kql(f"traces | project {expression}"))) == 3

    ask()
    assert answered >= 25
