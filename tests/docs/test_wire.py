"""docs/formats/wire.md says what the code does."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.batch import WIDTHS, Rules, check, find
from collectord.buffer.assemble import assemble
from collectord.ingest.status import TABLE
from collectord.model import ColumnType, Reason
from collectord.schema import parse_schema

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats" / "wire.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """From a heading to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title}"
    return found[1]


def words(text: str) -> list[str]:
    """What stands in backquotes in the first cell of each row of a table."""
    return [word for cell in re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE) for word in re.findall(r"`(\w+)`", cell)]


def test_the_table_of_reject_reasons_is_complete() -> None:
    assert sorted(words(section(PAGE, "Reject reasons"))) == sorted(map(str, Reason))


def test_a_table_that_lacks_a_reason_would_be_noticed() -> None:
    page = PAGE.replace("| `no_rows` |", "| |")
    assert sorted(words(section(page, "Reject reasons"))) != sorted(map(str, Reason))


@pytest.mark.parametrize("message", ["Batch", "Requests", "ColumnData"])
def test_the_fields_of_a_message_have_the_names_and_numbers_of_the_proto(message: str) -> None:
    rows = re.findall(r"^\| (`[^|]*) \| ([\d, ]+) \|", section(PAGE, message), re.MULTILINE)
    listed = {
        name: int(number)
        for names, numbers in rows
        for name, number in zip(re.findall(r"`(\w+)`", names), numbers.split(","), strict=True)
    }
    assert listed == {field.name: field.number for field in pb.DESCRIPTOR.message_types_by_name[message].fields}


def test_who_says_what_lists_every_message_of_the_stream() -> None:
    def camel(name: str) -> str:
        return name.capitalize()

    spoken = [
        camel(f.name)
        for kind in ("ClientMessage", "ServerMessage")
        for f in pb.DESCRIPTOR.message_types_by_name[kind].fields
    ]
    assert sorted(words(section(PAGE, "Who says what"))) == sorted(spoken)


def test_the_widths_of_the_types_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([A-Z][A-Z0-9_, ]+) \| (\d|UTF-8)", section(PAGE, "ColumnData"), re.MULTILINE)
    listed = {kind: 0 if width == "UTF-8" else int(width) for kinds, width in rows for kind in kinds.split(", ")}
    assert listed == {kind.name: width for kind, width in WIDTHS.items()}


def test_every_status_of_the_page_is_one_that_the_code_answers_or_grpc_does() -> None:
    listed = set(re.findall(r"^\| ([A-Z_]+) \|", section(PAGE, "How a stream ends"), re.MULTILINE))
    answered = {status.name for status in TABLE.values()}
    assert {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "ABORTED"} <= listed & answered
    assert listed <= answered | {"OK"}


def test_the_example_of_a_column_is_accepted_and_means_what_the_page_says() -> None:
    lines = re.findall(
        r"^(validity|offsets|data) +([0-9a-f ]+?)(?:  +binary.*)?$", section(PAGE, "ColumnData"), re.MULTILINE
    )
    column = {name: bytes.fromhex(text) for name, text in lines}
    assert len(column) == 3
    raw = pb.Schema(
        columns=[pb.Column(name="text", type=ColumnType.STRING)],
        layout=pb.LAYOUT_COLUMNS,
        correlation=pb.ID_LAYOUT_UUID,
    ).SerializeToString()
    schema = parse_schema(raw)
    requests = pb.Requests(times=struct.pack("<3q", 1, 2, 3), correlation_ids=bytes(48))
    batch = pb.Batch(sequence=1, schema_id=schema.id, rows=3, requests=requests, columns=[pb.ColumnData(**column)])
    payload = batch.SerializeToString()
    assert check(payload, find(payload), Rules.of(schema), 0, 1 << 62) == 1
    assert assemble(schema, [(payload, 0, 3)]).column(0).to_pylist() == ["ab", None, ""]
