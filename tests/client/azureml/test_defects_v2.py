"""The eleven defects of azureml-ai-monitoring 1.0.0 that requirements §2.2 lists, and what happens here instead."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client.azureml import Collector
from collectord_client.azureml.v2 import BasicCorrelationContext

from tests.client import hosts
from tests.client.azureml.conftest import Landed, Make, MakeV2, keys
from tests.client.fakedaemon import FakeDaemon

SCRIPT = Path(__file__).with_name("forking_v2.py")


def test_e1_a_frame_is_collected_as_it_was(make_v2: MakeV2, landed: Landed, daemon: FakeDaemon) -> None:
    """What the script does to it afterwards does not matter, also while nobody takes it."""
    daemon.stop()
    inputs = make_v2()
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    inputs.collect(frame)
    frame.iloc[0, 0] = 99.0
    frame["b"] = "gone"
    del frame["a"]
    daemon.start()
    assert [dict(zip(row.names, row.values, strict=True)) for row in landed("model_inputs")] == [
        {"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"},
    ]  # fmt: skip


def test_e2_nothing_is_dropped_at_a_thousand_frames_a_second(
    make_v2: MakeV2, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seconds' worth of 100 rows and 10 columns at once: twice what the v2 SDK's queue holds. One connection takes them."""
    seen: list[int] = []
    monkeypatch.setattr("tests.client.fakedaemon.decode", lambda _client, _schema, batch: seen.append(batch.rows) or [])
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    frame = pd.DataFrame(np.arange(1000.0).reshape(100, 10), columns=[f"f{at}" for at in range(10)])
    for _ in range(3000):
        inputs.collect(frame)
    assert inputs.flush(60)
    told = inputs.stats()
    assert told | {"collected": 300_000, "acknowledged": 300_000, "dropped": {}, "lost": 0} == told
    assert sum(seen) == 300_000
    assert not errors
    assert len(daemon.hellos) == 1


def test_e3_nothing_is_raised_into_scoring(
    make_v2: MakeV2, configure: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Switched off, not enabled, without a name, of a wrong type: the script goes on, and `stats()` and the log tell. Whoever
    asks with `on_error` is told at each call, as before."""
    monkeypatch.setattr("collectord_client.notices._last", {})
    frame = pd.DataFrame({"a": [1]})
    for name, value, said in (
        ("model_inputs", "false", "custom logging is not enabled, drop the data"),
        ("", "true", "collection name is not provided"),
    ):
        monkeypatch.setenv("AZUREML_MDC_ENABLED", value)
        context = make_v2(name).collect(frame)
        assert uuid.UUID(context.get_id())
        errors: list[Exception] = []
        asked = make_v2(name, on_error=errors.append)
        asked.collect(frame)
        assert [str(error) for error in errors] == [said] * 2
        assert asked.stats()["refused"] == said
        assert said in caplog.text
    errors = []
    collector = make_v2(on_error=errors.append)
    for data in (b"image", object()):
        collector.collect(data)
        make_v2().collect(data)
    assert [type(error) for error in errors] == [TypeError] * 2
    assert collector.stats()["dropped"] == {"unsupported_media": 2, "unsupported_type": 2}
    configure(model_inputs=True, other=False)
    errors = []
    make_v2("other", on_error=errors.append).collect(frame)
    assert [str(error) for error in errors] == ["collection other is not enabled, drop the data"] * 2


def test_e3_whoever_wants_to_be_raised_at_says_so(make_v2: MakeV2) -> None:
    def fail(error: Exception) -> None:
        raise error

    collector = make_v2(on_error=fail)
    with pytest.raises(TypeError, match="unsupported_media"):
        collector.collect(b"image")


def test_e4_one_odd_frame_and_a_failing_daemon_cost_nothing_else(
    make_v2: MakeV2, landed: Landed, daemon: FakeDaemon
) -> None:
    """Columns called alike are told apart, and what comes after them arrives; so does what a daemon did not answer."""
    daemon.break_every = 2
    inputs = make_v2()
    inputs.collect(pd.DataFrame([[1, 2, 3]], columns=["x", "x", "x"]))
    for number in range(3):
        inputs.collect(pd.DataFrame({"x": [number]}))
        assert inputs.flush()
        if number == 1:
            daemon.stop()
            inputs.collect(pd.DataFrame({"x": [10]}))
            daemon.start()
    rows = landed("model_inputs")
    assert rows[0].names == ("x", "x.1", "x.2")
    assert rows[0].values == (1, 2, 3)
    assert [row.values for row in rows[1:]] == [(0,), (1,), (10,), (2,)]
    assert inputs.stats()["notes"] == {"renamed": 1}


def test_e5_children_of_a_fork_send_theirs_and_nothing_is_lost_at_the_end(daemon: FakeDaemon, tmp_path: Path) -> None:
    """Made before the fork, as under `gunicorn --preload`, with and without use before it; and no process flushes."""
    for used in ("unused", "used"):
        daemon.rows.clear()
        variables = hosts.environment(True) | {"COLLECTORD_ENDPOINT": daemon.endpoint}
        done = subprocess.run(
            [sys.executable, SCRIPT, used], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        expected = Counter((who, number) for who in range(4) for number in range(20))
        expected += Counter((-1, number) for number in range(20 if used == "used" else 0))
        assert Counter(row.values for row in daemon.rows) == expected
        pids = {
            who: {daemon.clients[row.client].pid for row in daemon.rows if row.values[0] == who} for who in range(4)
        }
        assert all(len(one) == 1 for one in pids.values())
        assert len(set.union(*pids.values())) == 4


def test_e6_names_of_collections_are_compared_in_any_case(make_v2: MakeV2, landed: Landed, configure: Any) -> None:
    """Rows are filed under the name that the deployment has."""
    configure(Model_Inputs=True)
    errors: list[Exception] = []
    for number, name in enumerate(("Model_Inputs", "model_inputs", "MODEL_INPUTS")):
        make_v2(name, on_error=errors.append).collect(pd.DataFrame({"a": [number]}))
    assert [row.values for row in landed("Model_Inputs")] == [(0,), (1,), (2,)]
    assert not errors


def test_e7_the_version_is_that_of_the_deployment(
    make_v2: MakeV2, landed: Landed, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its model's folder, or from its model_config_map.json; or what was said."""
    frame = pd.DataFrame({"a": [1]})
    make_v2().collect(frame)
    (deployment / "model_config_map.json").write_text(json.dumps({"modelsInfo": {"credit": {"9": {}, "10": {}}}}))
    make_v2().collect(frame)
    monkeypatch.setenv("AZUREML_MODEL_DIR", "/var/azureml-app/azureml-models/best_model/7")
    make_v2().collect(frame)
    monkeypatch.setenv("COLLECTORD_MODEL_VERSION", "8-rc")
    make_v2().collect(frame)
    assert [row.stream.split("/")[-2:] for row in sorted(landed("model_inputs"), key=lambda row: row.time_ns)] == [
        ["default", "default"], ["credit", "10"], ["best_model", "7"], ["best_model", "8-rc"],
    ]  # fmt: skip


def test_e8_inputs_and_outputs_are_sampled_alike(make_v2: MakeV2, landed: Landed, configure: Any) -> None:
    """By the correlation id: an output is kept where its input is, and with another rate, only where it is."""
    configure(model_inputs=50, model_outputs=50, details=20)
    errors: list[Exception] = []
    inputs, outputs, details = (
        make_v2(name, on_error=errors.append) for name in ("model_inputs", "model_outputs", "details")
    )
    for number in range(400):
        context = inputs.collect(pd.DataFrame({"a": [number]}))
        outputs.collect(pd.DataFrame({"p": [number]}), context)
        details.collect(pd.DataFrame({"d": [number]}), context)
    kept = keys(landed("model_inputs"))
    assert 120 < len(kept) < 280
    assert keys(landed("model_outputs")) == kept
    less = keys(landed("details"))
    assert 30 < len(less) < 130
    assert set(less) < set(kept)
    # It was asked for: nobody is told, and nothing counts as dropped.
    assert not errors
    assert inputs.stats()["dropped"] == {}


def test_e9_times_are_kept_to_the_nanosecond(make_v2: MakeV2, landed: Landed) -> None:
    """While `timestamp` stays in whole seconds, for the scripts that read it."""
    before = time.time_ns()
    context = make_v2().collect(pd.DataFrame({"a": [1]}))
    after = time.time_ns()
    make_v2("model_outputs").collect(pd.DataFrame({"p": [1]}), context)
    [row] = landed("model_inputs")
    assert before <= row.time_ns <= after
    assert row.time_ns % 1_000_000_000
    assert keys(landed("model_outputs")) == [keys([row])[0]]
    assert context.get_timestamp() == row.time_ns // 1_000_000_000
    given = BasicCorrelationContext("loan-1", timestamp=1_700_000_000_123_456_789)
    make_v2("exact").collect(pd.DataFrame({"a": [1]}), given)
    assert landed("exact")[0].time_ns == 1_700_000_000_123_456_789


def test_e10_values_keep_their_types(make_v2: MakeV2, landed: Landed) -> None:
    """The numbers that JSON rounds or flattens arrive as they were, each column under its own type."""
    frame = pd.DataFrame(
        {
            "double": [0.1234567890123, 1e-12], "large": np.array([2**63 - 1, -1]), "single": np.array([0.1, 2], "f4"),
            "flag": [True, False], "text": ["é", "1"], "when": pd.to_datetime(["2018-12-31", "2019-01-01"]),
            "missing": [float("nan"), float("inf")], 7: [1, 2],
        }
    )  # fmt: skip
    make_v2().collect(frame)
    rows = landed("model_inputs")
    assert rows[0].names == ("double", "large", "single", "flag", "text", "when", "missing", "7")
    assert rows[0].types == (12, 5, 11, 1, 13, 14, 12, 5)
    assert [row.values[0] for row in rows] == [0.1234567890123, 1e-12]
    assert [row.values[1] for row in rows] == [2**63 - 1, -1]
    assert rows[0].values[2] == float(np.float32(0.1))
    assert [row.values[3:5] for row in rows] == [(True, "é"), (False, "1")]
    assert rows[0].values[5] == pd.Timestamp("2018-12-31").value
    assert np.isnan(rows[0].values[6])
    assert rows[1].values[6] == float("inf")


def test_e11_the_switch_is_found(
    make: Make, make_v2: MakeV2, landed: Landed, configure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is none to find: where nobody says otherwise, both SDKs' scripts collect on either kind of endpoint. The v1 variable
    counts for both; and what decided is told by `stats()` and by a command."""
    frame = pd.DataFrame({"a": [1]})
    make_v2().collect(frame)
    assert make_v2().stats()["switch"] == "the daemon"
    configure(model_inputs=True)
    make("inputs").collect(frame)
    assert len(landed("model_inputs")) == len(landed("inputs")) == 1
    monkeypatch.delenv("AZUREML_MDC_CONFIG_PATH")
    monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", "false")
    off = make_v2()
    off.collect(frame)
    told = off.stats()
    assert told | {"enabled": False, "switch": "AML_MODEL_DC_STORAGE_ENABLED=false", "collected": 0} == told
    variables = hosts.environment(True)
    variables["PYTHONPATH"] += f":{hosts.CLIENT.parent / 'azureml-ai'}"
    command = [sys.executable, "-m", "collectord_client.azureml", "--collection", "model_inputs"]
    said = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "azureml.ai.monitoring: collectord's" in said
    assert "not enabled, drop the data; what decides is AML_MODEL_DC_STORAGE_ENABLED=false" in said


def test_the_signature_is_the_old_one() -> None:
    import inspect

    assert [
        (name, one.kind, one.default is inspect.Parameter.empty)
        for name, one in inspect.signature(Collector).parameters.items()
    ] == [("name", inspect.Parameter.KEYWORD_ONLY, True), ("on_error", inspect.Parameter.KEYWORD_ONLY, False)]
    assert list(inspect.signature(Collector.collect).parameters) == ["self", "data", "correlation_context"]


def test_there_are_eleven() -> None:
    """If this fails, a defect has lost its test."""
    module = importlib.import_module(__name__)
    numbers = {int(name.split("_")[1][1:]) for name in vars(module) if name.startswith("test_e")}
    assert sorted(numbers) == list(range(1, 12))
