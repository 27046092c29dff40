"""What a client does to rows before they leave it, seen in the blobs that landed."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import datetime

import numpy as np
import pytest
from collectord_client import Client, Request

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon

KEY = b"a key of the tests"


def taken(id: str, fraction: float) -> bool:
    return int.from_bytes(hashlib.sha256(uuid.UUID(id).bytes).digest()[:8], "big") < int(fraction * 2**64)


def hashed(text: str) -> str:
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


def test_sampling_rules_and_errors_in_the_blobs(make_daemon: MakeDaemon) -> None:
    """Half of the requests, each with its inputs and either its predictions or its error; labels of another client; the
    fraction beside each row; nothing of what a rule names. The same rows without rules give the texts that were hashed."""
    daemon = make_daemon(flush_interval=0.2, codec="none").start()
    rules = {"ssn": "drop", "email": "mask", "customer": "hmac", "born": "hmac"}
    asked: list[str] = []
    with (
        Client("m", endpoint=daemon.endpoint, strict=True, sampling=0.5, columns=rules, columns_key=KEY) as client,
        Client("m", endpoint=daemon.endpoint, strict=True, sampling=0.5) as later,
        Client("plain", endpoint=daemon.endpoint, strict=True) as plain,
    ):
        for at in range(60):
            rows = [
                {"x": at + row / 8, "ssn": f"secret-{at}", "email": f"secret@{at}", "customer": at if row else None,
                 "born": datetime(1970 + at, 1, 2, 3, 4, 5, at)}
                for row in range(2)
            ]  # fmt: skip
            try:
                with Request():
                    asked.append(str(client.collect(rows).correlation))
                    if at % 3 == 0:
                        raise ArithmeticError(f"broken at {at}")
                    client.collect(np.array([1.0, 2.0]) * at, "predictions", ["p"])
            except ArithmeticError:
                assert at % 3 == 0
            plain.collect(rows, correlation_id=asked[-1])
            later.collect([[at]], "labels", ["l"], correlation_id=asked[-1])
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    assert not any(b"secret" in data for name, data in blobs.items() if "/plain/" not in name)
    tables = {name: landed.rows(blobs, f"/m/default/{name}/") for name in ("inputs", "predictions", "labels", "errors")}
    want = [(at, id) for at, id in enumerate(asked) if taken(id, 0.5)]
    assert 10 < len(want) < 50
    ids = {name: [row["$aml_dc_correlation_id"] for row in table] for name, table in tables.items()}
    assert ids["inputs"] == [id for _, id in want for _ in range(2)]
    assert ids["predictions"] == [id for at, id in want if at % 3 for _ in range(2)]
    assert ids["errors"] == [id for at, id in want if at % 3 == 0 for _ in range(2)]
    assert ids["labels"] == [id for _, id in want]
    assert {row["$aml_dc_sampling"] for table in tables.values() for row in table} == {"0.5"}
    assert [(row["error_type"], row["error_message"], row["$aml_dc_row"]) for row in tables["errors"]] == [
        ("ArithmeticError", f"broken at {at}", str(row)) for at, _ in want if at % 3 == 0 for row in range(2)
    ]
    whole = {(row["$aml_dc_correlation_id"], row["$aml_dc_row"]): row for row in landed.rows(blobs, "/plain/")}
    assert len(whole) == 120
    for row in tables["inputs"]:
        same = whole[row["$aml_dc_correlation_id"], row["$aml_dc_row"]]
        assert "ssn" not in row
        assert (row["x"], row["email"]) == (same["x"], "***")
        assert row["customer"] == (hashed(same["customer"]) if same["customer"] else "")
        assert row["born"] == hashed(same["born"])
    header = next(data for name, data in blobs.items() if "/m/default/inputs/" in name).splitlines()[0].decode()
    assert header.startswith("x,email,customer,born,$aml_dc_correlation_id,")
    assert header.endswith(",$aml_dc_row,$aml_dc_sampling")


@pytest.mark.parametrize("columns", [{"value": "hmac"}])
def test_every_type_is_hashed_as_the_daemon_writes_it(make_daemon: MakeDaemon, columns: dict[str, str]) -> None:
    """The text in the CSV of a client without rules is what the hash of a client with rules was made of."""
    daemon = make_daemon(flush_interval=0.2, codec="none").start()
    generator = np.random.default_rng(7)
    arrays = {
        dtype: generator.integers(0, 256, 200 * np.dtype(dtype).itemsize, dtype="u1").view(dtype).reshape(-1, 1)
        for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    } | {
        "bool": generator.integers(0, 2, (200, 1)).astype("?"),
        "time": generator.integers(-(2**62), 2**62, (200, 1)).view("M8[ns]"),
        "text": np.array([f'{at}, "ä"' * (at % 3) for at in range(200)], dtype=object).reshape(-1, 1),
    }
    with (
        Client("plain", endpoint=daemon.endpoint, strict=True) as plain,
        Client("ruled", endpoint=daemon.endpoint, strict=True, columns=columns, columns_key=KEY) as ruled,
    ):
        for name, values in arrays.items():
            for client in (plain, ruled):
                client.collect(values, name, ["value"], correlation_id=name)
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    for name in arrays:
        texts = [row["value"] for row in landed.rows(blobs, f"/plain/default/{name}/")]
        assert len(texts) == 200
        assert [row["value"] for row in landed.rows(blobs, f"/ruled/default/{name}/")] == list(map(hashed, texts)), name
