"""Sampling decides by the correlation id alone: the rows of a request are collected together or not at all."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Client, CollectError
from collectord_client.context import Refused
from collectord_client.sampling import Sampler, place

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon, Row


def rows(client: Client, daemon: FakeDaemon, designation: str) -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == designation]


def oracle(id: str, fraction: float) -> bool:
    """The decision as docs/formats/wire.md has it."""
    try:
        hashed = uuid.UUID(id).bytes if str(uuid.UUID(id)) == id else id.encode()
    except ValueError:
        hashed = id.encode()
    return int.from_bytes(hashlib.sha256(hashed).digest()[:8], "big") < int(fraction * 2**64)


def test_the_ids_of_the_document() -> None:
    """docs/formats/wire.md has them for other languages to be tested with."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "formats" / "wire.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| `([0-9a-f]{16})` \| (yes|no) \|$", text, re.MULTILINE)
    assert len(rows) == 2
    for id, first, taken in rows:
        assert f"{place(id):016x}" == first
        assert oracle(id, 0.25) == (taken == "yes")
        if len(id) == 36:
            assert place(uuid.UUID(id).bytes) == place(id)


@pytest.mark.parametrize(
    "id", ["loan-7", "Ärger", "x" * 36, str(uuid.UUID(int=5)), str(uuid.UUID(int=5)).upper() + "A"]
)
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1e-9, 1.0])
def test_the_decision_is_that_of_the_document(id: str, fraction: float) -> None:
    assert Sampler(fraction, None).takes(id, 1.0)[0] == oracle(id, fraction)


def test_a_smaller_fraction_takes_a_part_of_what_a_larger_one_takes() -> None:
    ids = [f"loan-{at}" for at in range(5000)]
    taken = {fraction: set(filter(lambda id: oracle(id, fraction), ids)) for fraction in (0.05, 0.1, 0.5)}
    assert taken[0.05] < taken[0.1] < taken[0.5]
    for fraction, some in taken.items():
        assert some == {id for id in ids if Sampler(fraction, None).takes(id, 1.0)[0]}
        # Five standard deviations.
        assert abs(len(some) - fraction * 5000) < 5 * (5000 * fraction * (1 - fraction)) ** 0.5


def test_inputs_predictions_and_labels_of_a_request_share_their_fate(make: Any, daemon: FakeDaemon) -> None:
    """Labels come from a client of another process, by ids as texts, one per row."""
    client = make(strict=True, sampling=0.3)
    inputs, predictions = client.collector("inputs", ["a", "b"]), client.collector("predictions", ["p"])
    asked = []
    for at in range(200):
        context = inputs.collect(np.full((1 + at % 3, 2), float(at)))
        predictions.collect(np.full(1 + at % 3, float(at)))
        asked += [(str(context.correlation), row) for row in range(1 + at % 3)]
    later = make(strict=True, sampling=0.3)
    labels = later.collector("labels", ["defaulted"])
    labels.collect(
        [[at] for at in range(len(asked))], correlation_id=[id for id, _ in asked], row=[row for _, row in asked]
    )
    got = [{(r.correlation, r.row) for r in rows(one, daemon, what)} for one, what in
           [(client, "inputs"), (client, "predictions"), (later, "labels")]]  # fmt: skip
    assert got[0] == got[1] == got[2] == {(id, row) for id, row in asked if oracle(id, 0.3)}
    assert 20 < len({id for id, _ in got[0]}) < 110
    assert {row.sampling for row in daemon.rows} == {0.3}
    out = len(asked) - len(got[0])
    assert client.stats()["sampled_out"] == 2 * out
    assert later.stats()["sampled_out"] == out
    assert client.stats()["dropped"] == client.stats()["notes"] == later.stats()["dropped"] == {}
    assert client.stats()["thinned_out"] == 0
    # The values stayed beside their ids.
    numbers = {(r.correlation, r.row): r.values[0] for r in daemon.rows if r.designation == "labels"}
    assert numbers == {pair: at for at, pair in enumerate(asked) if oracle(pair[0], 0.3)}


def test_another_process_decides_alike(tmp_path: Any) -> None:
    script = (
        "import sys; from collectord_client.sampling import Sampler;"
        "print([Sampler(0.5, None).takes(id, 1.0)[0] for id in sys.argv[1:]])"
    )
    ids = [f"id-{at}" for at in range(50)]
    done = subprocess.run(
        [sys.executable, "-c", script, *ids], env=hosts.environment(True) | {"PYTHONHASHSEED": "7"}, cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == str([oracle(id, 0.5) for id in ids])


def test_a_fraction_per_designation(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, sampling={"inputs": 0.25})
    for _ in range(100):
        client.collect([[1.0]])
        client.collect([[2.0]], "predictions", ["p"])
    inputs, predictions = rows(client, daemon, "inputs"), rows(client, daemon, "predictions")
    assert len(predictions) == 100
    assert {row.sampling for row in predictions} == {None}
    assert {row.sampling for row in inputs} == {0.25}
    assert {r.correlation for r in inputs} == {r.correlation for r in predictions if oracle(r.correlation, 0.25)}


def left_out(client: Client) -> str:
    """An id that is left out."""
    return next(id for id in (f"id-{at}" for at in range(1000)) if not oracle(id, 0.1))


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


@pytest.mark.parametrize(
    ("data", "names", "count"),
    [
        (np.ones((4, 2)), None, 4),
        (np.ones(4), None, 1),
        (np.ones(4), ["p"], 4),
        ([[1, 2], [3, 4]], None, 2),
        ([1, 2, 3], None, 1),
        ([1, 2, 3], ["p"], 3),
        ([{"a": 1}, {"a": 2}], None, 2),
        ({"a": 1, "b": 2}, None, 1),
        ({"a": [1, 2, 3], "b": [4, 5, 6]}, None, 3),
        (FRAME, None, 3),
        (FRAME["a"], ["p"], 3),
        (7, None, 1),
        ("text", None, 1),
        (None, None, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_left_out_is_counted_and_not_looked_at(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, data: Any, names: Any, count: int
) -> None:
    client = make(strict=True, sampling=0.1)
    whole = make(strict=True).collect(data, "inputs", names)

    def looked(*_: object) -> None:
        raise AssertionError("it was copied")

    monkeypatch.setattr("collectord_client.collector.tabulate", looked)
    context = client.collect(data, "inputs", names, correlation_id=left_out(client))
    assert isinstance(context, Refused)
    assert context.rows == 0
    assert context._request_rows == whole.rows == count
    assert client.stats()["sampled_out"] == count
    assert client.stats()["collected"] == 0


def test_predictions_follow_inputs_that_were_left_out(make: Any, daemon: FakeDaemon) -> None:
    """By the context and by themselves; where all predictions are wanted, they know how many rows there were."""
    client = make(strict=True, sampling={"inputs": 0.1})
    id = left_out(client)
    inputs = client.collect(np.ones((3, 2)), correlation_id=id, request_id="r")
    context = client.collect(np.ones(3), "predictions")
    assert (context.correlation, context.rows, context.request_id) == (id, 3, "r")
    assert [row.row for row in rows(client, daemon, "predictions")] == [0, 1, 2]
    assert inputs.time_ns == context.time_ns
    both = make(strict=True, sampling=0.1)
    both.collect(np.ones((3, 2)), correlation_id=id)
    assert both.collect(np.ones(3), "predictions").correlation == id
    assert both.stats()["sampled_out"] == 6
    assert both.stats()["notes"] == {}


@pytest.mark.parametrize(
    "data", [np.arange(40.0).reshape(20, 2), FRAME.iloc[[0, 1, 2] * 7].head(20), [[None, "t"]] * 20]
)
def test_rows_with_an_id_each(make: Any, daemon: FakeDaemon, data: Any) -> None:
    """Each goes its own way, with its own values, time, request and index; also over several hours and pages."""
    keys = [f"key-{at}" for at in range(20)]
    times = [3_600_000_000_000 * (400_000 + at // 7) + at for at in range(20)]
    requests = [f"r{at}" for at in range(20)]
    for fraction in (1.0, 0.5):
        client = make(strict=True, sampling=fraction, page_bytes=1024)
        client.collect(data, correlation_id=keys, timestamp=times, request_id=requests)
        assert client.flush(10)
    half = [row for row in daemon.rows if row.sampling == 0.5]
    whole = [row for row in daemon.rows if row.sampling is None]
    assert len(whole) == 20
    assert 3 < len(half) < 17
    seen = [(r.correlation, r.row, r.time_ns, r.request, r.values) for r in half]
    assert seen == [(r.correlation, r.row, r.time_ns, r.request, r.values) for r in whole if oracle(r.correlation, 0.5)]


def test_rows_with_an_id_each_of_a_frame_whose_columns_are_counted(make: Any, daemon: FakeDaemon) -> None:
    client = make(sampling=0.5)
    ids = [f"id-{number}" for number in range(64)]
    frame = pd.DataFrame(np.arange(128.0).reshape(64, 2))
    client.collector("inputs", ["a"]).collect(frame, correlation_id=ids)
    assert {row.names for row in rows(client, daemon, "inputs")} == {("a", "column_2")}
    assert client.stats()["notes"] == {"more_values_than_names": 1}


def test_predictions_of_inputs_with_an_id_each(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, sampling=0.5)
    keys = [f"key-{at}" for at in range(30)]
    context = client.collect(np.ones((30, 2)), correlation_id=keys)
    client.collect(np.arange(30.0), "predictions", ["p"], context=context)
    inputs, predictions = rows(client, daemon, "inputs"), rows(client, daemon, "predictions")
    assert [(r.correlation, r.row) for r in inputs] == [(r.correlation, r.row) for r in predictions]
    assert [r.values for r in predictions] == [(float(r.row),) for r in inputs]
    assert [r.correlation for r in inputs] == [key for key in keys if oracle(key, 0.5)]


def test_all_rows_with_an_id_each_left_out(make: Any) -> None:
    client = make(strict=True, sampling=1e-12)
    context = client.collect(np.ones((3, 2)), correlation_id=["a", "b", "c"])
    assert (context.rows, context.correlations) == (0, ("a", "b", "c"))
    assert client.stats()["sampled_out"] == 3


def test_a_page_that_is_split_keeps_the_fractions(make: Any, daemon: FakeDaemon) -> None:
    daemon.max_message = 16 << 10
    client = make(strict=True, sampling=0.999999, page_bytes=200_000)
    for at in range(40):
        client.collect(np.full((10, 8), float(at)))
    assert client.flush(10)
    assert len(daemon.rows) == 400
    assert {row.sampling for row in daemon.rows} == {0.999999}


def test_a_fork_counts_anew(make: Any) -> None:
    client = make(strict=True, sampling=1e-12)
    client.collect([[1.0]])
    client._outbox.after_fork()
    assert client.stats()["sampled_out"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "enabled=False"),
        (-0.1, "above 0 and up to 1"),
        (1.5, "not 1.5"),
        (float("nan"), "sampling is a fraction"),
        (True, "not True"),
        ("0.1", "not '0.1'"),
        ({"inputs": 2}, "sampling of 'inputs'"),
        ({7: 0.5}, "not 7"),
    ],
)
def test_arguments_that_cannot_work(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Client(model="m", sampling=given)


@pytest.mark.parametrize(
    ("told", "fractions"),
    [("0.1", 0.1), (" 0.5 ", 0.5), ("inputs=0.1,predictions=0.2", {"inputs": 0.1, "predictions": 0.2}), ("", None)],
)
def test_the_environment_says_it(monkeypatch: pytest.MonkeyPatch, told: str, fractions: Any) -> None:
    monkeypatch.setenv("COLLECTORD_SAMPLING", told)
    assert Client(model="m")._fractions == fractions
    assert Client(model="m", sampling=1.0)._fractions == 1.0


@pytest.mark.parametrize("told", ["much", "inputs=all", "2", "inputs=0"])
def test_an_environment_that_cannot_work(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("COLLECTORD_SAMPLING", told)
    with pytest.raises(ValueError, match="COLLECTORD_SAMPLING"):
        Client(model="m")


def test_a_bad_id_is_refused_as_ever(make: Any) -> None:
    client = make(strict=True, sampling=0.5)
    with pytest.raises(CollectError, match="bad_id"):
        client.collect([[1.0]], correlation_id=b"raw")
    with pytest.raises(CollectError, match="bad_id"):
        client.collect([[1.0]], correlation_id=["one", "two"])
