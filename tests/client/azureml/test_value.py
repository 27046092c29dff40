"""What `ModelDataCollector.collect` returns is its receiver's: the compiled core fills what he has dropped, and nothing else."""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from collectord_client.core import CORE, Correlations, describe

ROW = np.arange(6.0).reshape(1, 6)
ID, TIME = "$aml_dc_correlation_id", "$aml_dc_scoring_timestamp"

CHANGES: dict[str, Callable[[Any], object]] = {
    "a value": lambda found: found.__setitem__("$aml_model_name", "another"),
    "one key more": lambda found: found.__setitem__("more", 1),
    "one key less": lambda found: found.__delitem__(TIME),
    "one for another": lambda found: found.update(more=found.pop("$aml_model_name")),
    "|=": lambda found: found.__ior__({"$aml_model_name": "another"}),
    "update": lambda found: found.update({"$aml_model_name": "another"}),
    "setdefault": lambda found: found.setdefault("more", 1),
    "popitem": lambda found: found.popitem(),
    "clear": lambda found: found.clear(),
    "made again": lambda found: found.__init__({"$aml_model_name": "another"}),
    "no context": lambda found: setattr(found, "context", None),
    "behind its back": lambda found: dict.__setitem__(found, "more", 1),
}


@pytest.fixture
def collector(make: Any) -> Any:
    made = make()
    # From here on by the short way.
    made.collect(ROW)
    return made


def expected(collector: Any, found: Correlations) -> dict[str, Any]:
    known = dict(collector._constants)
    known[ID] = str(found.context.correlation)
    known[TIME] = describe(found.context, {})[TIME]
    return known


def test_what_somebody_keeps_is_not_written_to(collector: Any) -> None:
    """Whatever else is dropped meanwhile, and also where he keeps it indirectly."""
    chance = random.Random(5)
    kept: list[tuple[Any, str]] = []
    for _ in range(2000):
        found = collector.collect(ROW)
        assert list(found.items()) == list(expected(collector, found).items())
        keeper: Any = chance.choice([None, None, found, found.items(), iter(found), [found]])
        if keeper is not None:
            kept.append((keeper, json.dumps(found)))
            if len(kept) > 20:
                kept.pop(chance.randrange(20))
        for keeper, text in kept:
            if type(keeper) is Correlations:
                assert json.dumps(keeper) == text
            elif isinstance(keeper, list):
                assert json.dumps(keeper[0]) == text
            elif not hasattr(keeper, "__next__"):
                assert json.dumps(dict(keeper)) == text


def test_ids_and_times_that_are_kept_stay_what_they_are(collector: Any) -> None:
    seen = [(found[ID], found[TIME]) for found in (collector.collect(ROW) for _ in range(500))]
    assert len({id for id, _ in seen}) == 500
    copied = json.dumps(seen)
    for _ in range(10):
        collector.collect(ROW)
    assert json.dumps(seen) == copied


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_somebody_has_changed_does_not_come_back(collector: Any, change: Callable[[Any], object]) -> None:
    for _ in range(4):
        found = collector.collect(ROW)
        change(found)
        del found
        for _ in range(3):
            found = collector.collect(ROW)
            assert list(found.items()) == list(expected(collector, found).items())
            assert found.context.rows == 1
            del found


def test_of_a_request_that_has_an_id_nothing_is_left(collector: Any) -> None:
    from collectord_client import Request

    for number in range(4):
        with Request(f"request {number}"):
            assert collector.collect(ROW)["$aml_request_id"] == f"request {number}"
        for _ in range(3):
            found = collector.collect(ROW)
            assert list(found.items()) == list(expected(collector, found).items())


def test_the_compiled_core_fills_what_was_dropped(collector: Any) -> None:
    """Else none of this would test anything."""
    gc.disable()
    try:
        found = {id(collector.collect(ROW)) for _ in range(50)}
        held = collector.collect(ROW)
        beside = {id(collector.collect(ROW)) for _ in range(50)}
    finally:
        gc.enable()
    assert CORE == "pure" or len(found) <= 2
    assert id(held) not in beside


def test_rows_and_results_belong_together(make: Any, daemon: Any) -> None:
    """Filled again, a result still says the id of its own rows."""
    collector = make()
    ids = []
    for number in range(100):
        ids.append(collector.collect(ROW + number)[ID])
    assert collector._client.flush(10)
    assert [(row.correlation, row.values[0]) for row in daemon.rows] == [
        (id, float(number)) for number, id in enumerate(ids)
    ]
