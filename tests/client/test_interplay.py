"""What was made side by side holds together: refused and switched off calls, sampling, budgets, errors, and the two cores."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Client, CollectError, Request
from collectord_client.azureml import v2
from collectord_client.azureml.clients import Clients
from collectord_client.azureml.v2 import collector as v2_collector
from collectord_client.context import Recalled, Refused, Thinned, left_of
from collectord_client.core import CORE, Context, Correlations, describe
from collectord_client.request import current

from tests.client.fakedaemon import FakeDaemon, Row

SCORED = 1_700_000_000_000_000_000


def rows(client: Client, daemon: FakeDaemon, designation: str) -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == designation]


class Broken:
    """An accident: what no table can be made of, with an error that nobody foresaw."""

    @property
    def __array__(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize("data", [b"an image", Broken()], ids=["refused", "accident"])
def test_refused_inputs_keep_the_ids_that_they_were_given(make: Any, daemon: FakeDaemon, data: Any) -> None:
    client = make()
    inputs = client.collect(data, correlation_id="loan-7", request_id="r-7", timestamp=SCORED)
    assert (inputs.correlation, inputs.request_id, inputs.time_ns, inputs.rows) == ("loan-7", "r-7", SCORED, 0)
    client.collect([[0.5]], "predictions")
    (prediction,) = rows(client, daemon, "predictions")
    assert (prediction.correlation, prediction.request, prediction.time_ns) == ("loan-7", "r-7", SCORED)
    assert client.stats()["notes"] == {}


def test_a_refused_prediction_has_the_ids_of_its_inputs(make: Any) -> None:
    client = make()
    inputs = client.collect([[1.0]])
    assert client.collect(b"a picture", "predictions").correlation == inputs.correlation


def test_refused_inputs_with_an_id_each_keep_them(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect(np.zeros((2, 4, 4)), correlation_id=["a", "b"])
    client.collect(np.array([0.5, 0.25]), "predictions")
    assert [row.correlation for row in rows(client, daemon, "predictions")] == ["a", "b"]


@pytest.mark.parametrize("offers", [True, False], ids=["inputs", "labels"])
def test_contexts_are_as_ever_while_nothing_is_collected(make: Any, offers: bool) -> None:
    client = make(enabled=False)
    made = client.collect(
        [[1.0]], "inputs" if offers else "labels", correlation_id="loan-7", request_id="r-7", timestamp=SCORED
    )
    assert (made.correlation, made.request_id, made.time_ns) == ("loan-7", "r-7", SCORED)
    assert client.collect([[1.0]], correlation_id="", request_id=1.5).rows == 0
    assert client.stats()["dropped"] == {}


def test_images_are_sampled_once(make: Any, daemon: FakeDaemon) -> None:
    """The inputs' id decides, also where they are refused: else half of a half of the predictions would count for two."""
    client = make(sampling=0.5)
    ids = [f"loan-{at}" for at in range(200)]
    for id in ids:
        client.collect(b"an image", correlation_id=id)
        client.collect([[0.5]], "predictions")
    for _ in range(200):
        with Request():
            client.collect(b"an image")
            client.collect([[0.5]], "predictions")
    found = rows(client, daemon, "predictions")
    stats = client.stats()
    assert len(found) == stats["dropped"]["unsupported_media"] == stats["collected"]
    assert 150 < len(found) < 250
    assert {row.correlation for row in found} & set(ids)


def test_a_list_of_arrays_counts_its_rows(make: Any, daemon: FakeDaemon) -> None:
    """Predictions of inputs that were left out have as many rows as those of inputs that were taken."""
    table = [np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])]
    client = make(sampling={"inputs": 1e-12})
    client.collect(table)
    client.collect(np.array([0.5, 0.25]), "predictions")
    assert [row.values for row in rows(client, daemon, "predictions")] == [(0.5,), (0.25,)]
    assert client.stats()["sampled_out"] == 2


def test_a_strict_client_counts_what_it_raises_once(make: Any) -> None:
    client = make(strict=True, page_bytes=1 << 20 >> 1)
    huge = pd.DataFrame({"a": ["x", "y" * (4 << 20)]})
    with pytest.raises(CollectError, match="row_too_large"):
        client.collect(huge)
    assert client.stats()["dropped"] == {"row_too_large": 1}
    client.close()
    with pytest.raises(CollectError, match="closed"):
        client.collect([["text"]])
    assert client.stats()["dropped"] == {"row_too_large": 1, "closed": 1}


# ------------------------------------------------------------------ the v2 face


def test_the_budget_holds_for_the_v2_collector_as_well(monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon) -> None:
    """A request is decided on once, by its inputs, whether the script made its context or not."""
    monkeypatch.setattr(v2_collector, "_clients", Clients(v2_collector.Telling))
    monkeypatch.setenv("COLLECTORD_ENDPOINT", daemon.endpoint)
    monkeypatch.setenv("COLLECTORD_MODEL", "budget")
    monkeypatch.setenv("COLLECTORD_MAX_US_PER_CALL", "1e9")
    inputs, outputs = v2.Collector(name="model_inputs"), v2.Collector(name="model_outputs")
    client = inputs._client
    assert client._budget is not None
    client._budget.factor = 0.25
    for at in range(200):
        context = inputs.collect([[1.0]], None if at % 2 else v2.BasicCorrelationContext())
        # What was decided stays, also when there is time again.
        client._budget.factor = 1.0
        outputs.collect([[2.0]], pickle.loads(pickle.dumps(context)))
        client._budget.factor = 0.25
    taken = [{row.correlation for row in rows(client, daemon, name)} for name in ("model_inputs", "model_outputs")]
    assert taken[0] == taken[1]
    assert 20 < len(taken[0]) < 90
    assert client.stats()["thinned_out"] == 400 - 2 * len(taken[0])
    client.close()


# ------------------------------------------------------------------ failed requests


def test_errors_are_not_given_to_a_client_that_takes_nothing(make: Any, daemon: FakeDaemon) -> None:
    make(enabled=False)
    client = make()
    with pytest.raises(ZeroDivisionError), Request():
        client.collect([[1.0]])
        raise ZeroDivisionError
    assert [row.values for row in rows(client, daemon, "errors")] == [("ZeroDivisionError", "")]


class Answered(Exception):
    """As clients of other services raise one: with what was answered."""

    status_code = 404
    response = object()


@pytest.mark.parametrize("error", [urllib.error.HTTPError("http://features", 404, "?", Message(), None), Answered()])
def test_what_another_service_answered_is_a_failure_here(make: Any, daemon: FakeDaemon, error: Exception) -> None:
    client = make()
    with pytest.raises(type(error)), Request():
        client.collect([[1.0]])
        raise error
    assert len(rows(client, daemon, "errors")) == 1


class Odd(Exception):
    """Its attributes cannot be asked."""

    @property
    def code(self) -> int:
        raise RuntimeError


def test_an_odd_error_stays_what_it_is_and_the_request_ends(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    with pytest.raises(Odd), Request():
        client.collect([[1.0]])
        raise Odd
    assert current() is None
    assert len(rows(client, daemon, "errors")) == 1


def test_a_request_ends_where_a_strict_client_raises(make: Any) -> None:
    client = make(strict=True, columns={"error_type": "drop", "error_message": "drop"})
    with pytest.raises(CollectError, match="no_columns"), Request():
        client.collect([[1.0]])
        raise ValueError
    assert current() is None


# ------------------------------------------------------------------ contexts of the other core

HELD: list[Any] = [
    Context(bytes(range(16)), 5, 2, b"r" * 16),
    Thinned("a", 5, 2, None, ("a", "b"), 0.5),
    Refused("a", 5, 7, None, None, 0.25),
    Recalled("a", 5),
    describe(Thinned("a", 5, 2, None, None, 0.5), {"x": 1}),
]


def told(one: Any) -> object:
    if isinstance(one, Correlations):
        return dict(one), told(one.context)
    return type(one).__name__, repr(one), one._request_rows, one.correlations, one.request_id, one._taken, left_of(one)


@pytest.mark.parametrize("one", HELD, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("other", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_are_the_same(one: Any, other: Any) -> None:
    assert told(other(one)) == told(one)
    assert type(other(one)) is type(one)


def test_either_core_reads_what_the_other_has_pickled(tmp_path: Path) -> None:
    """A service with the compiled one, a job with labels on a machine without it: or the other way round."""
    HELD[0]._taken = True
    (tmp_path / "there").write_bytes(pickle.dumps(HELD))
    code = (
        "import pickle, sys; from tests.client.test_interplay import CORE, told; from pathlib import Path\n"
        "found = pickle.loads((Path(sys.argv[1]) / 'there').read_bytes())\n"
        "(Path(sys.argv[1]) / 'back').write_bytes(pickle.dumps(found))\n"
        "print(CORE, list(map(told, found)))"
    )
    environ = os.environ | {"COLLECTORD_CLIENT_PURE": "1" if CORE == "compiled" else ""}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], env=environ, capture_output=True, text=True, check=True
    )
    core, _, said = done.stdout.strip().partition(" ")
    assert core in ("pure", "compiled")
    assert said == str(list(map(told, HELD)))
    back = pickle.loads((tmp_path / "back").read_bytes())
    assert list(map(told, back)) == list(map(told, HELD))
    assert isinstance(back[0], Context)
