"""What the column rules leave of a value."""

from __future__ import annotations

import hashlib
import hmac
import json
from itertools import pairwise

import pytest

from collectord.ingest.columns import covers, ids
from collectord.ingest.payload import BadPayload
from collectord.ingest.records import Packed, read
from collectord.model import ColumnType

KEY = b"a key"
BODY = b"""[{"ssn": "1", "email": "a@b", "customer": "x"}, {"ssn": null, "email": null, "customer": null},
            {"ssn": "3", "email": "c@d", "customer": "\\u00e9"}]"""


def texts(column: Packed) -> list[str]:
    offsets = memoryview(column.offsets).cast("i")
    return [column.data[start:end].decode() for start, end in pairwise(offsets)]


def digest(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def test_drop_mask_and_hmac() -> None:
    email, customer = read(BODY, covers({"ssn": "drop", "email": "mask", "customer": "hmac"}, KEY))[1]
    assert (email.name, customer.name) == ("email", "customer")
    assert texts(email) == ["***", "", "***"]
    assert texts(customer) == [digest("x"), "", digest("é")]
    assert email.validity == customer.validity == b"\x05"


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ("1, 20", ["1", "20"]),
        ("1.5, 2", ["1.5", "2.0"]),
        ("true, false", ["true", "false"]),
        ("1e16, 0.1", ["1e+16", "0.1"]),
        ('[1, "a"], {"b": null}', ['[1,"a"]', '{"b":null}']),
        ('"a,b", 7', ["a,b", "7"]),
    ],
)
def test_the_hmac_is_that_of_the_text_in_the_csv(values: str, kept: list[str]) -> None:
    """Without quotes. So it does not depend on the way by which a value came."""
    body = b"[" + b",".join(b'{"x": %s}' % value.encode() for value in _split(values)) + b"]"
    (column,) = read(body, covers({"x": "hmac"}, KEY))[1]
    assert column.type is ColumnType.STRING
    assert texts(column) == [digest(text) for text in kept]


def _split(values: str) -> list[str]:
    return [json.dumps(value) for value in json.loads(f"[{values}]")]


GENERATED = "0190f5a0-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("rules", "given", "kept"),
    [
        ({}, "loan-7", ("loan-7", "loan-7")),
        ({"loan-7": "hmac", "email": "mask"}, "loan-7", ("loan-7", "loan-7")),
        ({"$aml_dc_correlation_id": "hmac"}, "loan-7", (digest("loan-7"), "loan-7")),
        ({"$aml_request_id": "hmac"}, "loan-7", ("loan-7", digest("loan-7"))),
        ({"$aml_request_id": "drop"}, "loan-7", ("loan-7", "")),
        (
            {"$aml_dc_correlation_id": "hmac", "$aml_request_id": "hmac"},
            GENERATED,
            (GENERATED, digest(GENERATED)),
        ),
    ],
)
def test_ids_have_rules_by_our_columns(rules: dict[str, str], given: str, kept: tuple[str, str]) -> None:
    """As in the clients, where a UUIDv7 stays as the correlation id."""
    assert ids(given, covers(rules, KEY)) == kept


def test_a_rule_for_a_column_that_is_not_there_does_nothing() -> None:
    assert [column.name for column in read(BODY, covers({"age": "drop"}, b""))[1]] == ["ssn", "email", "customer"]


def test_where_every_column_is_dropped_there_is_nothing_to_keep() -> None:
    with pytest.raises(BadPayload, match="the column rules drop"):
        read(b'[{"ssn": 1}]', covers({"ssn": "drop"}, b""))[1]
