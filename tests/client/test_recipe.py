"""Capture recipes: which requests a client collects while one holds, what it holds meanwhile, and what comes after."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client, Request
from collectord_client._pb import collector_pb2 as pb
from collectord_client.azureml.v2 import Collector as V2Collector
from collectord_client.core import NO_SHAPE
from collectord_client.recipe import MOST_CHOSEN, MOST_HELD, Recipe
from collectord_client.switches import Switches

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.waiting import eventually

FAR = 1 << 62


@pytest.fixture
def follow(daemon: FakeDaemon) -> Any:
    """Has a client hear of a recipe, as its sender would, and from now on of no other."""

    def do(client: Client, collect: bool = False, id: str = "r", until: int = FAR, **recipe: Any) -> None:
        said = pb.ServiceSettings(webservice="", collect=collect, recipe=pb.Recipe(id=id, until=until, **recipe))
        daemon.told = pb.Settings(collect=True, services=[said])
        client._outbox.board.told = True
        client._outbox.board.obey(Switches.of(daemon.told))

    return do


def told(client: Client) -> dict[str, Any]:
    found = client.stats()["recipe"]
    assert isinstance(found, dict)
    return found


def landed(client: Client, daemon: FakeDaemon) -> list[tuple[str, Any]]:
    """Designation and first value of each row, in the order in which a request has them."""
    assert client.flush(10)
    assert client.stats()["waiting"] == 0
    return sorted((row.designation, row.values[0]) for row in daemon.rows)


def score(client: Client, value: float, prediction: float, rows: int = 1) -> None:
    client.collect(np.full((rows, 2), value), "inputs")
    client.collect(np.full((rows, 1), prediction), "predictions", ["score"])


def test_the_next_requests_are_collected_and_then_the_switch_counts_again(
    make: Any, daemon: FakeDaemon, follow: Any
) -> None:
    for collect, after in (False, []), (True, [("inputs", 3.0), ("predictions", 3.0)]):
        daemon.rows.clear()
        client = make()
        follow(client, collect, requests=2)
        assert client.stats()["collecting"]
        for value in (1.0, 2.0, 3.0):
            score(client, value, value)
        first = [(name, value) for name in ("inputs", "predictions") for value in (1.0, 2.0)]
        assert landed(client, daemon) == sorted([*first, *after])
        assert (told(client)["selected"], told(client)["holds"]) == (2, False)
        assert client.stats()["collecting"] is collect
        # Another change of the settings, or a connection that is made again, tells the same recipe again.
        follow(client, collect, requests=2)
        assert told(client)["holds"] is False
        follow(client, collect, id="another", requests=1)
        assert told(client)["holds"] is True
        client.close()


def test_where_selects_requests_by_their_predictions(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    for at, prediction in enumerate((0.1, 0.95, 0.9, 0.99)):
        score(client, float(at), prediction, rows=2)
    assert [value for name, value in landed(client, daemon) if name == "inputs"] == [1.0, 1.0, 3.0, 3.0]
    rows = daemon.rows
    for prediction in (row for row in rows if row.designation == "predictions"):
        twins = [row for row in rows if row.designation == "inputs" and row.correlation == prediction.correlation]
        assert [(one.time_ns, one.row) for one in twins] == [(prediction.time_ns, 0), (prediction.time_ns, 1)]
    assert (told(client)["selected"], told(client)["not_selected"], told(client)["undecided"]) == (2, 2, 0)
    assert client.stats()["dropped"] == {}


def test_a_request_that_is_known_is_decided_by_any_of_its_predictions(
    make: Any, daemon: FakeDaemon, follow: Any
) -> None:
    client = make()
    follow(client, collect=True, where="score > 0.9", requests=1)
    for predictions in (0.1, 0.2), (0.1, 0.95), (0.99,):
        with Request():
            context = client.collect([[predictions[0]]], "inputs")
            for prediction in predictions:
                client.collect([[prediction]], "predictions", ["score"], context=context)
            client.collect([[7.0]], "shap", context=context)
        del context
    found = landed(client, daemon)
    # The third came after the only one that was wanted; so it is collected as is switched.
    assert found == [
        ("inputs", 0.1), ("inputs", 0.99), ("predictions", 0.1), ("predictions", 0.95), ("predictions", 0.99),
        ("shap", 7.0), ("shap", 7.0),
    ]  # fmt: skip
    assert told(client)["not_selected"] == 1


def test_only_failed_requests(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, failed=True)
    score(client, 1.0, 1.0)
    with Request():
        score(client, 2.0, 2.0)
    with pytest.raises(KeyError), Request():
        client.collect([[3.0]], "inputs")
        raise KeyError("no")
    context = client.collect([[4.0]], "inputs")
    client.failed("it broke", context)
    with Request() as request:
        score(client, 5.0, 5.0)
        request.answered(503, "Unavailable")
    del request, context
    found = landed(client, daemon)
    assert [one for one in found if one[0] != "errors"] == [
        ("inputs", 3.0), ("inputs", 4.0), ("inputs", 5.0), ("predictions", 5.0),
    ]  # fmt: skip
    assert [value for name, value in found if name == "errors"] == ["KeyError", "it broke"]
    assert (told(client)["selected"], told(client)["not_selected"]) == (3, 2)


def test_failures_select_a_request_also_where_errors_are_not_stored(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make(errors="off")
    follow(client, failed=True)
    with pytest.raises(KeyError), Request():
        client.collect([[3.0]], "inputs")
        raise KeyError("no")
    client.collect([[4.0]], "inputs")
    client.failed("it broke")
    assert landed(client, daemon) == [("inputs", 3.0), ("inputs", 4.0)]


def test_each_condition_that_is_given_must_be_met(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="prediction >= 1", failed=True)
    for prediction, fails in (1.0, False), (0.5, True), (2.0, True):
        with Request() as request:
            score(client, prediction, prediction)
            if fails:
                request.failed("late")
    assert landed(client, daemon) == [("inputs", 2.0), ("predictions", 2.0)]


def test_a_recipe_ends_by_itself(make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, follow: Any) -> None:
    client = make()
    until = time.time_ns() + 3600 * 10**9
    follow(client, until=until, where="score > 0.9")
    held = client.collect([[1.0]], "inputs")
    assert (told(client)["undecided"], client.stats()["outbox_bytes"] > 0) == (1, True)
    monkeypatch.setattr("collectord_client.recipe.time.time_ns", lambda: until)
    client._outbox.board.look_at_recipe()
    assert client.stats()["collecting"] is False
    assert (told(client)["undecided"], told(client)["not_selected"], client.stats()["outbox_bytes"]) == (0, 1, 0)
    client.collect([[1.0]], "predictions", ["score"], context=held)
    client.collect([[2.0]], "inputs")
    assert landed(client, daemon) == []


@pytest.mark.parametrize("collect", [True, False])
@pytest.mark.parametrize("host", [{"enabled": False}, {}])
def test_what_is_forbidden_is_not_selected(make: Any, daemon: FakeDaemon, host: dict[str, Any], collect: bool) -> None:
    """By the host, or by the daemon's `collect_only`, whatever a recipe says. It may select by what is allowed."""
    client = make(**host)
    recipe = pb.Recipe(id="r", until=FAR, where="score > 0.5")
    settings = pb.Settings(collect=True, services=[pb.ServiceSettings(webservice="", collect=collect, recipe=recipe)])
    settings.only.append("default/m/predictions")
    daemon.told, client._outbox.board.told = settings, True
    client._outbox.board.obey(Switches.of(settings))
    score(client, 1.0, 1.0, rows=2)
    score(client, 2.0, 0.0)
    assert landed(client, daemon) == ([("predictions", 1.0)] * 2 if not host else [])


def test_sampling_does_not_touch_what_a_recipe_selects(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make(sampling=2.0**-40)
    follow(client, requests=20)
    for _ in range(20):
        score(client, 1.0, 1.0)
    assert len(landed(client, daemon)) == 40
    assert {row.sampling for row in daemon.rows} == {None}
    score(client, 1.0, 1.0)
    assert len(landed(client, daemon)) == 40


def test_a_recipe_of_a_later_version_is_not_followed_and_told(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, collect=True, where="score ~ 'a.*'")
    score(client, 1.0, 1.0)
    assert len(landed(client, daemon)) == 2
    assert (told(client)["holds"], "'~' at character 7" in told(client)["problem"]) == (False, True)


def test_requests_that_began_before_are_collected_as_is_switched(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    before = client.collect([[1.0]], "inputs")
    follow(client, collect=True, where="score > 0.9")
    client.collect([[0.5]], "predictions", ["score"], context=before)
    left = client.collect([[2.0]], "inputs")
    client.collect([[0.5]], "predictions", ["score"], context=left)
    client._outbox.board.obey(Switches())
    # It was decided that it is not collected; that stays so after the recipe.
    client.collect([[0.7]], "predictions", ["score"], context=left)
    assert landed(client, daemon) == [("inputs", 1.0), ("predictions", 0.5)]


def test_labels_are_collected_of_requests_that_were_selected(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    ids = []
    for prediction in (0.95, 0.5):
        context = client.collect([[prediction]], "inputs")
        client.collect([[prediction]], "predictions", ["score"])
        ids.append(context.correlation)
        client.collect([[prediction]], "labels", context=context)
        client.collect([[prediction]], "labels", correlation_id=context.correlation)
    client.collect([[1.0], [2.0]], "labels", correlation_id=[ids[0], ids[0]])
    client.collect([[1.0], [2.0]], "labels", correlation_id=ids)
    found = [value for name, value in landed(client, daemon) if name == "labels"]
    assert found == [0.95, 0.95, 1.0, 2.0]
    client._outbox.board.selection.remember(map(str, range(MOST_CHOSEN + 5)))
    assert len(client._outbox.board.selection._chosen) == MOST_CHOSEN


def test_what_is_held_is_bounded_and_what_is_pushed_out_is_counted(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make(outbox_bytes=1 << 20)
    follow(client, where="score > 0.9")
    contexts = [client.collect(np.ones((1, 1000)), "inputs") for _ in range(50)]
    stats = client.stats()
    undecided = stats["recipe"]["undecided"]
    assert 0 < stats["recipe"]["held_bytes"] <= (1 << 20) // 10
    assert stats["outbox_bytes"] == stats["recipe"]["held_bytes"]
    assert stats["dropped"] == {"held_full": 50 - undecided}
    for context in contexts:
        client.collect([[0.95]], "predictions", ["score"], context=context)
    assert len(landed(client, daemon)) == 2 * undecided
    huge = client.collect(np.ones((2, 9000)), "inputs")
    client.collect([[0.95]], "predictions", ["score"], context=huge)
    assert client.stats()["dropped"] == {"held_full": 52 - undecided}
    eventually(lambda: sum(sum(one.dropped.values()) for one in daemon.clients.values()) > 0, "the daemon hears of it")


def test_no_more_requests_are_held_than_allowed(make: Any, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    contexts = [client.collect([[1.0]], "inputs") for _ in range(MOST_HELD + 10)]
    assert told(client)["undecided"] == MOST_HELD
    assert client.stats()["dropped"] == {"held_full": 10}
    contexts.clear()
    client.collect([[1.0]], "inputs")
    gc.collect()
    assert (told(client)["undecided"], told(client)["not_selected"]) == (1, MOST_HELD + 10)


def test_a_request_that_nobody_ends_is_freed(make: Any, follow: Any) -> None:
    """A thread that ends, a request of Flask that is dropped, inputs that others replace: nothing is lost with them."""
    client = make(outbox_bytes=256 << 10)
    follow(client, where="score > 0.9")
    kept = client.collect(np.ones((1, 1000)), "inputs")
    for _ in range(19):
        client.collect(np.ones((1, 1000)), "inputs")
    assert client.stats()["dropped"] == {}
    assert (told(client)["undecided"], told(client)["not_selected"]) == (2, 18)
    client.collect([[0.1]], "predictions", ["score"], context=kept)
    with Request():
        client.collect(np.ones((1, 1000)), "inputs")
    assert (told(client)["undecided"], told(client)["not_selected"]) == (1, 20)
    client._outbox.board.obey(Switches())
    assert (client.stats()["recipe"], client.stats()["outbox_bytes"]) == (None, 0)


def test_the_short_way_is_not_taken_while_a_recipe_holds_and_is_again_later(
    make: Any, daemon: FakeDaemon, follow: Any
) -> None:
    client = make()
    bound = client.collector("inputs", ["a", "b"])
    for _ in range(3):
        bound.collect(np.ones((1, 2)))
    assert bound._shape is not NO_SHAPE
    follow(client, requests=1)
    for _ in range(3):
        assert bound._shape is NO_SHAPE
        bound.collect(np.ones((1, 2)))
    follow(client, collect=True, id="over", requests=1, until=1)
    bound.collect(np.ones((1, 2)))
    assert bound._shape is NO_SHAPE, "requests that began while it held may still go on"
    client._outbox.board._careful_until = 0.0
    bound.collect(np.ones((1, 2)))
    assert bound._shape is not NO_SHAPE
    assert len(landed(client, daemon)) == 6


def test_a_recipe_reaches_a_running_client_and_holds_for_its_children_anew(daemon: FakeDaemon, tmp_path: Path) -> None:
    service = pb.ServiceSettings(webservice="", collect=False, recipe=pb.Recipe(id="r", until=FAR, requests=1))
    daemon.settings(services=[service])
    done = hosts.run(Path(sys.executable), "forked.py", daemon.endpoint, "recipe", source=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted((row.designation, row.values[0]) for row in daemon.rows) == [
        (designation, value) for designation in ("inputs", "predictions") for value in (1.0, 3.0)
    ]


def test_a_context_elsewhere_goes_by_what_was_decided(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    chosen, open_ = client.collect([[1.0]], "inputs"), client.collect([[2.0]], "inputs")
    client.collect([[0.95]], "predictions", ["score"], context=chosen)
    assert copy.copy(open_)._trial is open_._trial
    for context, value in (chosen, 5.0), (open_, 6.0):
        client.collect([[value]], "labels", context=pickle.loads(pickle.dumps(context)))
    assert landed(client, daemon) == [("inputs", 1.0), ("labels", 5.0), ("predictions", 0.95)]


def test_rows_of_several_hours_and_with_ids_of_their_own_are_held_whole(
    make: Any, daemon: FakeDaemon, follow: Any
) -> None:
    client = make()
    follow(client, where="score > 0.9")
    hour = 3600 * 10**9
    now = time.time_ns() // hour * hour
    context = client.collect(
        [[1.0], [2.0], [3.0]], "inputs", correlation_id=["a", "b", "c"], timestamp=[now, now + hour, now + 2 * hour]
    )
    client.collect([[0.1], [0.95], [0.2]], "predictions", ["score"], context=context)
    assert client.flush(10)
    inputs = [row for row in daemon.rows if row.designation == "inputs"]
    assert [(row.correlation, row.time_ns - now, row.values[0]) for row in sorted(inputs, key=lambda row: row.time_ns)] == [
        ("a", 0, 1.0), ("b", hour, 2.0), ("c", 2 * hour, 3.0),
    ]  # fmt: skip
    client.collect([[9.0]], "labels", correlation_id="b")
    assert ("labels", 9.0) in landed(client, daemon)


def test_what_leaves_the_process_is_what_conditions_see(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    """A column that the host masks says nothing, not even whether it was large."""
    client = make(columns={"score": "mask"})
    follow(client, where="score > 0.9")
    score(client, 1.0, 0.99)
    assert landed(client, daemon) == []


def test_the_v2_sdk_follows_recipes(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, follow: Any) -> None:
    import pandas as pd

    monkeypatch.setenv("COLLECTORD_ENDPOINT", daemon.endpoint)
    inputs, outputs = V2Collector(name="model_inputs"), V2Collector(name="model_outputs")
    follow(inputs._client, where="score > 0.9")
    for at, score in enumerate((0.5, 0.95)):
        context = inputs.collect(pd.DataFrame({"a": [float(at)]}))
        outputs.collect(pd.DataFrame({"score": [score]}), context)
    assert inputs.flush()
    assert Counter((row.designation, row.values[0]) for row in daemon.rows) == {
        ("model_inputs", 1.0): 1, ("model_outputs", 0.95): 1,
    }  # fmt: skip
    inputs._client.close()


def test_a_condition_need_not_be_followed_to_be_told() -> None:
    assert (
        Recipe.of(pb.Recipe(id="x", where="a >")).problem
        == "'a >' ends where a number, a 'text', true or false should stand"
    )
    assert not Recipe.of(pb.Recipe(id="x", requests=3)).waits


@pytest.mark.parametrize(
    "recipe", [{"where": "score > 0.5"}, {"where": "score > 0.5", "requests": 40}, {"requests": 40}]
)
def test_threads_and_a_recipe_that_comes_and_goes_lose_and_double_nothing(
    make: Any, daemon: FakeDaemon, follow: Any, recipe: dict[str, Any]
) -> None:
    """Of each request all is there or nothing; no more than wanted; and the books are even."""
    client = make()
    follow(client, **recipe)
    ready = threading.Barrier(5)

    def work(thread: int) -> None:
        ready.wait()
        for at in range(50):
            with Request():
                number = thread * 50.0 + at
                client.collect([[number]], "inputs")
                client.collect([[number, (at % 2) * 0.9]], "predictions", ["number", "score"])

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    for at in range(20):
        client._outbox.board.look_at_recipe()
        client.stats()
        if at == 10:
            gc.collect()
    for thread in threads:
        thread.join()
    found = landed(client, daemon)
    inputs, predictions = ([value for name, value in found if name == wanted] for wanted in ("inputs", "predictions"))
    assert inputs == predictions
    assert len(set(inputs)) == len(inputs) == recipe.get("requests", 100)
    stats = told(client)
    assert stats["selected"] == len(inputs)
    assert (stats["undecided"], stats["held_bytes"]) == (0, 0)
    assert stats["selected"] + stats["not_selected"] == 200 if "requests" not in recipe else not stats["holds"]


def test_a_running_client_hears_when_the_time_of_a_recipe_has_come(make: Any, daemon: FakeDaemon) -> None:
    """Though it collects nothing, and its daemon says nothing."""
    recipe = pb.Recipe(id="r", until=time.time_ns() + 300_000_000, requests=5)
    daemon.settings(services=[pb.ServiceSettings(webservice="", collect=False, recipe=recipe)])
    client = make()
    client.collect([[0.0]], "inputs")
    eventually(lambda: client.stats()["recipe"] is not None, "the client hears of it")
    eventually(lambda: not client.stats()["collecting"], "it ends")
    assert not told(client)["holds"]


def test_a_recipe_that_cannot_be_followed_is_said(
    make: Any, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = pb.Recipe(id="r", until=FAR, where="score ~ 1")
    daemon.settings(services=[pb.ServiceSettings(webservice="", collect=True, recipe=recipe)])
    client = make()
    client.collect([[0.0]], "inputs")
    assert client.flush(10)
    assert "a recipe of service default is not followed: 'score ~ 1': '~' at character 7" in caplog.text


def test_of_what_was_held_one_that_fails_costs_no_other(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    with Request():
        context = client.collect([[1.0]], "inputs")
        client.collect([[2.0]], "shap", context=context)
        put, calls = client._outbox.put_block, iter([True, False, False])

        def short_of_memory(*args: Any) -> Any:
            if next(calls):
                raise MemoryError
            return put(*args)

        client._outbox.put_block = short_of_memory
        client.collect([[0.95]], "predictions", ["score"], context=context)
    del client._outbox.put_block
    assert landed(client, daemon) == [("predictions", 0.95), ("shap", 2.0)]
    assert client.stats()["dropped"] == {"internal_error": 1}


def test_where_no_request_is_known_the_first_predictions_decide(make: Any, daemon: FakeDaemon, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    context = client.collect([[1.0]], "inputs")
    client.collect([[0.1]], "predictions", ["score"], context=context)
    assert (told(client)["undecided"], told(client)["not_selected"]) == (0, 1)
    client.collect([[0.95]], "predictions", ["score"], context=context)
    assert landed(client, daemon) == []


def test_what_is_selected_while_the_first_settings_are_followed_is_not_dropped_with_what_came_before(
    make: Any, daemon: FakeDaemon
) -> None:
    recipe = pb.Recipe(id="r", until=FAR, requests=5)
    daemon.settings(services=[pb.ServiceSettings(webservice="", collect=False, recipe=recipe)])
    client = make()
    outbox = client._outbox
    seal = outbox.seal_unwanted

    def meanwhile() -> None:
        score(client, 1.0, 1.0)
        seal()

    outbox.seal_unwanted = meanwhile
    client.collect([[0.0]], "inputs")
    assert client.flush(10)
    # What came before is settled a moment before the recipe is followed.
    eventually(lambda: client.stats()["recipe"] is not None, "the recipe is followed")
    del outbox.seal_unwanted
    score(client, 2.0, 2.0)
    assert landed(client, daemon) == [("inputs", 2.0), ("predictions", 2.0)]
    assert client.stats()["dropped"] == {"switched_off": 1}


def test_a_child_may_be_forked_in_the_middle_of_a_decision(make: Any, follow: Any) -> None:
    client = make()
    follow(client, where="score > 0.9")
    held = client.collect([[1.0]], "inputs")
    with client._outbox.board.selection._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            client.collect([[0.95]], "predictions", ["score"], context=held)
            os._exit(0 if client.stats()["collected"] == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    client.collect([[0.95]], "predictions", ["score"], context=held)
    assert client.stats()["collected"] == 2


def test_what_is_held_and_what_is_collected_have_the_limit_together(make: Any, follow: Any) -> None:
    client = make(outbox_bytes=1 << 20)
    for recipe, most in ({"failed": True}, (1 << 20) - (1 << 20) // 10), ({"requests": 5}, 1 << 20):
        follow(client, id=str(recipe), **recipe)
        assert client._outbox.limit == most
        assert client.stats()["outbox_limit_bytes"] == 1 << 20
