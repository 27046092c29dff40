"""What landed as tables: events and streams, of several layouts and schemas, hostile lines among them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from collectord.encode.csv import header_of
from collectord.encode.frame import FrameEncoder
from collectord.errors import CallHuman, TryAgain
from collectord.model import Column, ColumnType, FrameTag, IdLayout, Schema, Stream
from collectord.query import landed
from collectord.query.errors import KqlError, QueryFailed
from collectord.query.moments import microseconds_of
from collectord.query.span import Span
from collectord.testing.store import Fault, MemoryStore, StoredBlob
from collectord.upload.schemas import blob_of, document
from collectord.upload.store import Blocked, Unknown
from tests.query.asking import ask, ask_sql, asked, line, put, rows

BASE = "s/g/w/my-service/model/1/inputs"
OURS = "00000000-0000-0000-0000-000000000001,2026-11-21T{hour:02}:00:00.000000,1440,s/g/w,my-service,model,1,r,0"


def schema(**columns: ColumnType) -> Schema:
    named = tuple(Column(name, kind) for name, kind in columns.items())
    return Schema(bytes([len(named)] * 16), b"", Stream(), named, False, IdLayout.UUID, IdLayout.UUID, False)


def put_rows(
    store: MemoryStore, name: str, of: Schema, *values: str, hour: int = 3, codec: str = "zstd", documented: bool = True
) -> None:
    """A blob with a frame for each row."""
    encoder, header = FrameEncoder(codec), header_of(of)
    content = bytearray(encoder.header_frame(header))
    for number, value in enumerate(values):
        text = f"{value},{OURS.format(hour=hour)}\n".encode()
        content += encoder.data_frame(text, FrameTag(bytes(16), number, 1))
    store.blobs[name + encoder.suffix] = StoredBlob(content)
    if documented:
        store.blobs[blob_of(of, header)] = StoredBlob(bytearray(document(of, header)))


@pytest.mark.parametrize("codec", ["zstd", "gzip", "none"])
def test_a_stream_is_a_table_with_the_types_of_its_schema(codec: str) -> None:
    """By its name in brackets, or spelled with underscores; null and the empty text, line ends and quotes are what they were."""
    store = MemoryStore()
    of = schema(
        x=ColumnType.FLOAT64,
        n=ColumnType.INT64,
        t=ColumnType.STRING,
        b=ColumnType.BOOL,
        at=ColumnType.TIMESTAMP_UTC,
        u=ColumnType.UINT64,
    )
    put_rows(
        store, f"{BASE}/2026/11/21/data.csv", of, '1.5,7,"a,""b""\n",true,2026-11-21T01:00:00.000000Z,18446744073709551615',
        'NaN,,"",,,', "-Inf,-1,,false,,5", codec=codec,
    )  # fmt: skip
    found = ask(
        store,
        "my_service_model_inputs | project timestamp, x, n, t, b, at, u, ['$aml_dc_row'] | order by n asc nulls first",
    )
    time = "2026-11-21T03:00:00.000000Z"
    assert found == [
        {"timestamp": time, "x": "NaN", "n": None, "t": "", "b": None, "at": None, "u": None, "$aml_dc_row": 0},
        {"timestamp": time, "x": "-Infinity", "n": -1, "t": "", "b": False, "at": None, "u": 5.0, "$aml_dc_row": 0},
        {"timestamp": time, "x": 1.5, "n": 7, "t": 'a,"b"\n', "b": True, "at": "2026-11-21T01:00:00.000000Z", "u": 18446744073709551616.0, "$aml_dc_row": 0},
    ]  # fmt: skip
    (sql,) = ask_sql(store, 'SELECT count(*) AS n, count(t) AS texts, max(u) AS u FROM "my-service/model/inputs"')
    assert sql == {"n": 3, "texts": 2, "u": 18446744073709551615}


@pytest.mark.parametrize("layout", ["documented", "{designation}/{model}/{yyyy}/{mm}/{dd}/data.csv"])
def test_other_streams_with_the_same_header_do_not_change_the_types(layout: str) -> None:
    """Two services call a column `score`; of one it is a text. Where names of blobs do not tell them apart, both types count."""
    store = MemoryStore()
    for number, (service, kind, value) in enumerate(
        [("a", ColumnType.FLOAT64, "0.5"), ("b", ColumnType.STRING, "high")]
    ):
        of = replace(
            schema(score=kind), id=bytes([number] * 16), stream=Stream("s", "g", "w", service, "m", "1", "inputs")
        )
        base = f"s/g/w/{service}/m/1/inputs" if layout == "documented" else "inputs/m"
        put_rows(store, f"{base}/2026/11/2{number}/data.csv", of, value)
    if layout == "documented":
        assert ask(store, "['a/m/inputs'] | where score > 0.1 | project score") == [{"score": 0.5}]
        assert ask(store, "['b/m/inputs'] | project score") == [{"score": "high"}]
    else:
        found = ask(store, "['default/m/inputs'] | project score | order by score asc", layout=layout)
        assert found == [{"score": "0.5"}, {"score": "high"}]


def test_documents_that_name_no_stream_count_for_all() -> None:
    """Older daemons wrote them so, and what is written stays."""
    store = MemoryStore()
    of = replace(schema(score=ColumnType.FLOAT64), stream=Stream("s", "g", "w", "my-service", "model", "1", "inputs"))
    put_rows(store, f"{BASE}/2026/11/20/data.csv", of, "0.5")
    older = replace(schema(score=ColumnType.STRING), id=bytes(16))
    put_rows(store, f"{BASE}/2026/11/21/data.csv", older, "high")
    content = store.blobs[blob_of(older, header_of(older))].content
    fields = json.loads(bytes(content))
    del fields["stream"]
    content[:] = json.dumps(fields).encode()
    found = ask(store, "my_service_model_inputs | project score | order by score asc")
    assert found == [{"score": "0.5"}, {"score": "high"}]


def test_columns_that_differ_in_case_are_told_of_in_sql() -> None:
    """There the second one's name gives the first one's values; KQL knows both."""
    store = MemoryStore()
    put_rows(store, f"{BASE}/2026/11/21/data.csv", schema(Age=ColumnType.INT64, age=ColumnType.INT64), "1,2")
    assert ask(store, "my_service_model_inputs | project Age, age") == [{"Age": 1, "age": 2}]
    with asked(store) as questions:
        assert rows(questions.sql("SELECT count(*) AS n FROM my_service_model_inputs")) == [{"n": 1}]
        (note,) = (one for one in questions.effort.notes if "case" in one)
    assert note.startswith('SQL takes no notice of case: "age" is "Age" of "my-service/model/inputs"')


def test_a_nan_is_neither_more_nor_less_nor_equal() -> None:
    """As in Kusto and pandas, and as in the conditions of a recipe; DuckDB's is more than all numbers."""
    store = MemoryStore()
    of = schema(x=ColumnType.FLOAT64, y=ColumnType.FLOAT64)
    put_rows(store, f"{BASE}/2026/11/21/data.csv", of, "NaN,NaN", "1.0,NaN", "NaN,1.0", "1.0,1.0", ",1.0", "Inf,2.0")
    counts = {
        "x > 0.5": 3, "x >= 0.5": 3, "x < 2": 2, "0.5 < x": 3, "x between (0.5 .. 1e9)": 2, "x > y": 1, "x >= y": 2,
        "x < y": 0, "x <= y": 1, "x == y": 1, "x != y": 5, "not(x > 0.5)": 2, "x == 1": 2, "x != 1": 4,
    }  # fmt: skip
    assert {one: ask(store, f"my_service_model_inputs | where {one} | count")[0]["Count"] for one in counts} == counts


def test_times_finer_than_microseconds_cost_no_rows() -> None:
    """As pandas' times have them. They are cut, to either side of 1970; columns and rows beside them are what they were."""
    store = MemoryStore()
    of = schema(at=ColumnType.TIMESTAMP, zoned=ColumnType.TIMESTAMP_UTC, n=ColumnType.INT64)
    put_rows(
        store, f"{BASE}/2026/11/21/data.csv", of, "2026-11-21T01:00:00.123456789,2026-11-21T01:00:00.000000001Z,1",
        "1969-12-31T23:59:59.999999999,,2", "9999-12-31T23:59:59.999999,2026-11-21T01:00:00.000000Z,3",
    )  # fmt: skip
    found = ask(store, "my_service_model_inputs | project at, zoned, n | order by n asc")
    assert found == [
        {"at": "2026-11-21T01:00:00.123456Z", "zoned": "2026-11-21T01:00:00.000000Z", "n": 1},
        {"at": "1969-12-31T23:59:59.999999Z", "zoned": None, "n": 2},
        {"at": "9999-12-31T23:59:59.999999Z", "zoned": "2026-11-21T01:00:00.000000Z", "n": 3},
    ]


def test_versions_and_schemas_of_a_stream_are_one_table() -> None:
    """Columns by name; of two types the wider one; the hours that are asked for decide what is read."""
    store = MemoryStore()
    put_rows(store, f"{BASE}/2026/11/21/data.csv", schema(a=ColumnType.INT64, b=ColumnType.STRING), "1,x")
    put_rows(store, f"{BASE}/2026/11/21/data.1.csv", schema(b=ColumnType.STRING, c=ColumnType.FLOAT32), "y,0.5")
    put_rows(store, f"{BASE.replace('/1/', '/2/')}/2026/11/22/data.csv", schema(a=ColumnType.FLOAT64), "2.5", hour=4)
    table = "['my-service/model/inputs']"
    assert ask(store, f"{table} | project a, b, c | order by a asc nulls last") == [
        {"a": 1.0, "b": "x", "c": None}, {"a": 2.5, "b": "", "c": None}, {"a": None, "b": "y", "c": 0.5}
    ]  # fmt: skip
    for condition, count in {
        "timestamp >= datetime(2026-11-22)": 0, "timestamp < datetime(2026-11-22)": 3,
        "['$aml_dc_scoring_timestamp'] between (datetime(2026-11-21) .. 1d)": 3, "timestamp > ago(1h) and a > 1": 0,
    }.items():  # fmt: skip
        with asked(store) as questions:
            assert rows(questions.kql(f"{table} | where {condition} | count")) == [{"Count": count}]
    with asked(store) as questions:
        assert rows(questions.kql(f"{table} | where timestamp < datetime(2026-11-21) | project a")) == []
        # Only the headers were read.
        assert questions.effort.bytes < 3000
    until = Span(None, microseconds_of("2026-11-21T02:59:59"))
    assert ask(store, f"{table} | count", span=until) == [{"Count": 0}]
    assert ask_sql(store, 'SELECT count(*) AS n FROM "my-service/model/inputs"', span=until) == [{"n": 0}]


def test_what_tables_there_are_and_what_is_said_of_others() -> None:
    store = MemoryStore()
    of = schema(x=ColumnType.INT64)
    for name in ("a-b/m", "a_b/m", "c/m"):
        put_rows(store, f"s/g/w/{name}/1/inputs/2026/11/21/data.csv", of, "1")
    put_rows(store, "s/g/w/c/m/1/inputs/2026/11/21/data-extra.csv", of, "1", "2")
    with asked(store) as questions:
        assert [(one.name, one.identifier, one.blobs, one.waiting) for one in questions.tables()] == [
            # Of two whose word would be the same neither has it.
            ("a-b/m/inputs", "", 1, False), ("a_b/m/inputs", "", 1, False),
            ("c/m/inputs", "c_m_inputs", 1, False), ("c/m/inputs/extra", "c_m_inputs_extra", 1, False),
        ]  # fmt: skip
        assert rows(questions.kql("c_m_inputs_extra | count")) == [{"Count": 2}]
        assert rows(questions.kql("['a-b/m/inputs'] | count")) == [{"Count": 1}]
        with pytest.raises(KqlError, match=r"may be \['a-b/m/inputs'\] or \['a_b/m/inputs'\]; write one of them"):
            questions.kql("a_b_m_inputs | count")
        with pytest.raises(KqlError, match="there is no table 'c_m_input'; did you mean c_m_inputs"):
            questions.kql("c_m_input | count")
        assert rows(questions.sql("SELECT count(*) AS n FROM TRACES")) == [{"n": 0}]
        with pytest.raises(QueryFailed, match="there is no table 'tracez'; did you mean traces"):
            questions.sql("SELECT * FROM tracez")
    assert ask(store, "traces | take 1") == []


def test_rows_without_a_document_of_their_schema_are_texts_and_it_is_said() -> None:
    store = MemoryStore()
    put_rows(store, f"{BASE}/2026/11/21/data.csv", schema(x=ColumnType.INT64), "5", documented=False)
    with asked(store) as questions:
        assert rows(questions.kql("my_service_model_inputs | where todouble(x) > 4 | project x, ['$aml_dc_row']")) == [
            {"x": "5", "$aml_dc_row": 0}
        ]
        assert "no schema document" in questions.effort.notes[0]


def test_broken_lines_are_counted_and_the_others_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the blocks that are read end; twice where a table is read twice."""
    monkeypatch.setattr(landed, "READ_BYTES", 64)
    monkeypatch.setattr(landed, "MAX_LINE", 500)
    store = MemoryStore()
    lines = [line(itemId=str(number), message="é" * number) for number in range(20)]
    bad = [
        b"{broken\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b"\n",
        b"null\n",
        b'{"itemId":"' + b"x" * 1000 + b'"}\n',
        b'{"a":1} {"b":2}\n',
    ]
    name = put(store, "traces", [*lines[:10], *bad, *lines[10:], b'{"itemId":"last"}'])
    put(store, "traces", [line(itemId="other")], writer="w1")
    with asked(store) as questions:
        found = rows(questions.kql("traces | project itemId, n = strlen(message)"))
        assert {row["itemId"]: row["n"] for row in found} == {
            **{str(number): number for number in range(20)}, "last": 0, "other": 0,
        }  # fmt: skip
        assert (questions.effort.broken, questions.effort.broken_in) == (len(bad), name)
        assert rows(questions.kql("traces | join kind=inner traces on itemId | count")) == [{"Count": 22}]
        assert questions.effort.broken == len(bad)


def test_hostile_values_of_lines_are_null_and_break_nothing() -> None:
    store = MemoryStore()
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    put(store, "requests", [
        line(itemId=1, timestamp=5, duration="x", success="maybe", name={"a": 1}, customDimensions=[1, {"k": None}]),
        line(timestamp="2026-11-21T17:00:00Z", duration=1.5, customDimensions={"": 1, "a": deep, "é\0": "\x00"}),
        b'{"timestamp":"2026-11-21T17:00:00Z","timestamp":"2027-01-01T00:00:00Z","duration":1e999}\n',
        b'{"customDimensions":"text","message":"x","duration":123456789012345678901234567890}\n',
    ])  # fmt: skip
    with asked(store) as questions:
        found = rows(questions.kql("requests | project itemId, timestamp, duration, success, name, customDimensions"))
        assert len(found) + questions.effort.broken == 4
        assert {"itemId": "1", "timestamp": None, "duration": None, "success": None, "name": '{"a":1}',
                "customDimensions": [1, {"k": None}]} in found  # fmt: skip
        assert rows(questions.kql("requests | where customDimensions[''] == 1 | count")) == [{"Count": 1}]
        assert rows(questions.kql("requests | where customDimensions contains 'TEXT' | count")) == [{"Count": 1}]


def test_a_damaged_blob_is_read_up_to_there() -> None:
    store = MemoryStore()
    put_rows(store, f"{BASE}/2026/11/21/data.csv", schema(x=ColumnType.INT64), "1", "2")
    (name,) = [name for name in store.blobs if name.endswith(".zst")]
    store.blobs[name].content[-20:] = b""
    put_rows(store, f"{BASE}/2026/11/22/data.csv", schema(x=ColumnType.INT64), "3", "no number")
    store.blobs[f"{BASE}/2026/11/23/data.csv"] = StoredBlob(bytearray(b"no header of any kind"))
    with asked(store) as questions:
        assert rows(questions.kql("my_service_model_inputs | summarize sum(x)")) == [{"sum_x": 4}]
        assert len(questions.effort.notes) == 3
        assert any("damaged" in note for note in questions.effort.notes)
        assert any("1 rows were left out" in note for note in questions.effort.notes)


@pytest.mark.parametrize(
    "answer, error", [(Unknown("it times out"), TryAgain), (Blocked("forbidden", "no"), CallHuman)]
)
def test_a_store_that_fails_is_told_as_such(answer: object, error: type[Exception]) -> None:
    """Not as what DuckDB makes of it."""
    store = MemoryStore()
    put(store, "traces", [line(itemId="1")])
    store.plan("read", Fault(answer))
    with asked(store) as questions, pytest.raises(error, match=r"abc|w0\.jsonl"):
        rows(questions.kql("traces | take 1"))


def test_a_stream_without_rows_that_can_be_asked_is_said_to_be_one() -> None:
    store = MemoryStore()
    store.blobs["modelDataCollector/svc/m/inputs/2026/11/21/05/ab.jsonl"] = StoredBlob(bytearray(b"{}\n"))
    how = r"written for Azure ML's model monitoring .*; `collectord cat modelDataCollector/svc/m/inputs` prints them"
    with pytest.raises(KqlError, match=how):
        ask(store, "svc_m_inputs | count")
    with asked(store) as questions:
        assert questions.tables() == []
        assert [note.split(":")[0] for note in questions.effort.notes] == ["['svc/m/inputs'] is no table"]
    with pytest.raises(QueryFailed, match="written for Azure ML's model monitoring"):
        ask_sql(store, "SELECT * FROM svc_m_inputs")


def test_rows_that_are_written_for_others_beside_those_that_can_be_asked_are_missed_aloud() -> None:
    """Whoever switches from one form to the other has both of one day."""
    of = schema(x=ColumnType.INT64)
    store = MemoryStore()
    put_rows(store, "s/g/w/svc/m/1/inputs/2026/11/21/data.csv", of, "1")
    store.blobs["modelDataCollector/svc/m/inputs/2026/11/21/05/ab.jsonl"] = StoredBlob(bytearray(b"{}\n"))
    with asked(store) as questions:
        assert rows(questions.kql("svc_m_inputs | count")) == [{"Count": 1}]
        assert [note.split(":")[0] for note in questions.effort.notes] == [
            "some rows of ['svc/m/inputs'] are not in the answer"
        ]


def test_other_layouts_and_a_prefix() -> None:
    of = schema(x=ColumnType.INT64)
    store = MemoryStore()
    put_rows(store, "p/q/model/inputs/20261121/inputs@w.csv", of, "1")
    put(store, "traces", [line(itemId="1")])
    options = {"layout": "{model}/{designation}/{yyyy}{mm}{dd}/{designation}@{writer}.csv", "prefix": "p/q"}
    assert ask(store, "default_model_inputs | where timestamp > datetime(2026-11-21) | count", **options) == [
        {"Count": 1}
    ]
    assert ask(store, "traces | count", **options) == [{"Count": 1}]
    assert ask(store, "['p/q/model/inputs/20261121/inputs@w'] | count") == [{"Count": 1}]
    assert json.loads(document(of, b""))["columns"]
