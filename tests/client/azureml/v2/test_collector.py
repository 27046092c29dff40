"""What scripts for the v2 SDK call, and what becomes of it."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import types
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Request
from collectord_client._pb import collector_pb2 as pb
from collectord_client.azureml.v2 import BasicCorrelationContext, CorrelationContext
from collectord_client.azureml.v2 import collector as module

from tests.client.azureml.conftest import Landed, MakeV2, keys
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.waiting import eventually

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})


def test_the_script_of_its_documentation(make_v2: MakeV2, landed: Landed) -> None:
    """The context of the inputs joins the outputs: same id, time and rows."""
    inputs, outputs = make_v2("model_inputs"), make_v2("model_outputs")
    context = inputs.collect(FRAME)
    assert outputs.collect(pd.DataFrame({"p": [0.5, 0.25]}), context) is context
    assert keys(landed("model_inputs")) == keys(landed("model_outputs"))
    assert [row.correlation for row in landed("model_inputs")] == [context.get_id()] * 2
    assert inputs.stats()["notes"] == {}


def test_the_streams_levels_are_those_of_the_deployment(
    make_v2: MakeV2, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_NAME", "endpoint")
    monkeypatch.setenv("AZUREML_MODEL_DIR", "/var/azureml-app/azureml-models/best_model/7")
    make_v2().collect(FRAME)
    assert {row.stream for row in landed("model_inputs")} == {"default/default/default/endpoint/best_model/7"}


def test_outputs_without_a_context_take_the_inputs_of_their_request(make_v2: MakeV2, landed: Landed) -> None:
    """Once; where there are none, they get an id of their own, which is counted."""
    inputs, outputs = make_v2(), make_v2("model_outputs")
    for _ in range(2):
        with Request("r"):
            told = inputs.collect(FRAME)
            assert outputs.collect(FRAME).get_id() == told.get_id()
            assert outputs.collect(FRAME).get_id() != told.get_id()
    with Request("s"):
        outputs.collect(FRAME)
    rows = landed("model_outputs")
    assert keys(landed("model_inputs")) == keys(rows[0:2] + rows[4:6])
    assert [row.request for row in rows] == ["r"] * 8 + ["s"] * 2
    assert inputs.stats()["notes"] == {"uncorrelated": 3}


def test_outputs_do_not_take_the_inputs_before_those_that_were_refused(make_v2: MakeV2, landed: Landed) -> None:
    inputs, outputs = make_v2(), make_v2("model_outputs")
    first = inputs.collect(FRAME)
    second = inputs.collect(b"image")
    assert outputs.collect(FRAME).get_id() == second.get_id() != first.get_id()
    # What a context was passed to is not taken a second time.
    third = inputs.collect(FRAME)
    outputs.collect(FRAME, third)
    assert outputs.collect(FRAME).get_id() not in (first.get_id(), second.get_id(), third.get_id())


def test_a_request_that_fails_between_inputs_and_outputs_is_stored(make_v2: MakeV2, landed: Landed) -> None:
    """Of one that fails after its outputs, however they got their context, nothing is."""
    inputs, outputs = make_v2(), make_v2("model_outputs")
    for outputs_come in (False, True):
        with pytest.raises(ZeroDivisionError), Request("r"):
            context = inputs.collect(FRAME)
            if outputs_come:
                outputs.collect(FRAME, context)
            raise ZeroDivisionError
    errors = landed("errors")
    assert keys(errors) == keys(landed("model_inputs"))[:2]
    assert [row.values[0] for row in errors] == ["ZeroDivisionError"] * 2


def test_a_context_is_passed_to_another_thread(make_v2: MakeV2, landed: Landed) -> None:
    with Request("r"):
        context = make_v2().collect(FRAME)
    thread = threading.Thread(target=lambda: make_v2("model_outputs").collect(FRAME, context))
    thread.start()
    thread.join()
    assert keys(landed("model_outputs")) == keys(landed("model_inputs"))
    assert [row.request for row in landed("model_outputs")] == ["r"] * 2


KINDS: dict[str, Any] = {
    "array": np.array([[1.0], [2.0]]),
    "rows": [[1.0], [2.0]],
    "records": [{"a": 1.0}, {"a": 2.0}],
    "columns": {"a": [1.0, 2.0]},
    "series": pd.Series([1.0, 2.0]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_frames_is_collected(make_v2: MakeV2, landed: Landed, kind: str) -> None:
    make_v2().collect(KINDS[kind])
    assert [row.values for row in landed("model_inputs")] == [(1.0,), (2.0,)]


def test_cells_that_hold_lists_and_dictionaries_are_json(make_v2: MakeV2, landed: Landed) -> None:
    """The v2 SDK sends such frames: tokens, embeddings, conversations."""
    inputs = make_v2()
    inputs.collect(pd.DataFrame({"e": [[0.5, None], np.array([1, 2])], "m": [{"role": "user"}, None]}))
    assert [row.values for row in landed("model_inputs")] == [("[0.5,null]", '{"role":"user"}'), ("[1,2]", None)]
    assert inputs.stats()["dropped"] == {}


def test_outputs_in_one_dimension_are_the_rows_of_their_inputs(make_v2: MakeV2, landed: Landed) -> None:
    context = make_v2().collect(FRAME)
    make_v2("model_outputs").collect(np.array([0.5, 0.25]), context)
    make_v2("model_outputs").collect(np.array([0.5, 0.25]), BasicCorrelationContext())
    rows = landed("model_outputs")
    assert [row.values for row in rows] == [(0.5,), (0.25,), (0.5, 0.25)]
    assert keys(rows[:2]) == keys(landed("model_inputs"))


def test_a_spark_frame_is_collected_where_the_host_has_spark(
    make_v2: MakeV2, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DataFrame:
        def toPandas(self) -> pd.DataFrame:
            return FRAME

    sql = types.ModuleType("pyspark.sql")
    sql.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    make_v2().collect(DataFrame())
    assert [row.values for row in landed("model_inputs")] == [(1.0, "x"), (2.0, "y")]


def test_collections_share_a_client(make_v2: MakeV2, configure: Any) -> None:
    """One connection and one bound of memory."""
    configure(model_inputs=True, model_outputs=True)
    for _ in range(20):
        make_v2(), make_v2("model_outputs")
    assert len(module._clients) == 1


# ------------------------------------------------------------------ what is told


def test_debug_mode_tells_what_became_of_the_rows(
    make_v2: MakeV2, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it returns may be passed on like a context, and has the same attributes."""
    monkeypatch.setenv("AZUREML_MDC_DEBUG", "true")
    inputs, outputs = make_v2(), make_v2("model_outputs")
    told: Any = inputs.collect(FRAME)
    again: Any = outputs.collect(FRAME, told)
    assert (told.is_success(), told.get_message()) == (again.is_success(), again.get_message()) == (True, "accepted")
    assert keys(landed("model_inputs")) == keys(landed("model_outputs"))
    assert (told.id, told.timestamp, told.headers) == (told.get_id(), told.get_timestamp(), told.get_headers())
    assert again._context is told._context
    assert str(told) == told.id
    refused: Any = inputs.collect(b"image")
    assert not refused.is_success()
    assert "unsupported_media" in refused.get_message()
    monkeypatch.setenv("AZUREML_MDC_ENABLED", "false")
    off: Any = make_v2().collect(FRAME)
    assert (off.is_success(), off.get_message()) == (False, "custom logging is not enabled, drop the data")


def test_what_the_daemon_switched_off_is_no_error(
    make_v2: MakeV2, landed: Landed, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_MDC_DEBUG", "true")
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    inputs.collect(FRAME)
    assert inputs.flush()
    daemon.settings(services=[pb.ServiceSettings(collect=False)])
    eventually(lambda: inputs.stats()["collecting"] is False, "the client hears of it")
    told: Any = inputs.collect(FRAME)
    assert (told.is_success(), told.get_message()) == (False, "the daemon has switched collecting off")
    assert not errors
    assert len(landed("model_inputs")) == 2


def test_a_rate_of_nothing_collects_nothing(make_v2: MakeV2, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asked for: nobody is told."""
    monkeypatch.setenv("AZUREML_MDC_SAMPLE_RATE", "0")
    monkeypatch.setenv("AZUREML_MDC_DEBUG", "true")
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    told: Any = inputs.collect(FRAME)
    assert told.get_message() == "dropped_sampling"
    assert inputs.stats() | {"enabled": False, "collected": 0, "dropped": {}} == inputs.stats()
    assert not errors


@pytest.mark.parametrize("frame", [FRAME[:0], pd.DataFrame()], ids=["no rows", "nothing"])
def test_an_empty_frame_is_no_error(make_v2: MakeV2, frame: pd.DataFrame) -> None:
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    inputs.collect(frame)
    assert not errors
    assert inputs.stats()["dropped"] == {"no_rows": 1}


def test_a_full_outbox_is_told_and_counted(
    make_v2: MakeV2, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.stop()
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    inputs._client._outbox.limit = 100_000
    for _ in range(20):
        inputs.collect(pd.DataFrame(np.ones((1000, 1))))
    assert {type(error).__name__ for error in errors} == {"CollectError"}
    assert inputs.stats()["dropped"] == {"outbox_full": 1000 * len(errors)}
    daemon.start()


def test_rows_that_are_refused_beside_others_are_counted_once(make_v2: MakeV2, landed: Landed) -> None:
    """One of three is too large; the others arrive, and it is told."""
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    inputs.collect(pd.DataFrame({"a": ["x", "y" * (4 << 20), "z"]}))
    assert [str(error).partition(":")[0] for error in errors] == ["row_too_large"]
    assert inputs.stats()["dropped"] == {"row_too_large": 1}
    assert [row.values for row in landed("model_inputs")] == [("x",), ("z",)]


@pytest.mark.parametrize("bad", ["", "in\nputs", "x" * 300, None, 5])
def test_names_that_cannot_work_do_not_stop_the_script(make_v2: MakeV2, bad: Any) -> None:
    errors: list[Exception] = []
    broken = make_v2(bad, on_error=errors.append)
    assert uuid.UUID(broken.collect(FRAME).get_id())
    assert len(errors) == 2
    assert broken.stats()["dropped"]["bad_name"] == 2
    assert broken.stats()["refused"]


def test_names_that_azure_ml_keeps_are_taken_with_a_warning(
    make_v2: MakeV2, landed: Landed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("collectord_client.notices._last", {})
    make_v2("Request").collect(FRAME)
    assert len(landed("Request")) == 2
    assert "collection Request: Azure ML keeps that name" in caplog.text


def test_an_error_of_ours_does_not_break_scoring(make_v2: MakeV2, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = make_v2()
    monkeypatch.setattr(module, "is_spark", lambda _: 1 / 0)
    assert collector.collect(FRAME).get_id()
    assert collector.stats()["dropped"] == {"internal_error": 1}


def test_an_error_of_on_error_is_not_taken_for_ours(make_v2: MakeV2) -> None:
    collector = make_v2(on_error=lambda error: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        collector.collect(b"image")
    assert collector.stats()["dropped"] == {"unsupported_media": 1}


# ------------------------------------------------------------------ local mode


@pytest.mark.parametrize("how", ["variable", "file"])
def test_local_mode_prints_what_would_be_sent(
    make_v2: MakeV2, daemon: FakeDaemon, configure: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], how: str,
) -> None:  # fmt: skip
    """One line per call, in the v2 SDK's form, with the values as they are; and nothing is sent."""
    if how == "file":
        configure("local", model_inputs=True)
    else:
        monkeypatch.setenv("AZUREML_MDC_LOCAL_CAPTURE", "true")
    given = BasicCorrelationContext("loan-1", 1_700_000_000)
    frame = pd.DataFrame(
        {"a": [1, 2], "é": [0.1234567890123, np.inf], "t": ['"', None], "w": pd.to_datetime(["2018-12-31"] * 2)}
    )
    frame["f"] = [True, False]
    inputs = make_v2()
    assert inputs.collect(frame, given) is given
    [line] = capsys.readouterr().out.splitlines()
    parts = line.split(" | ")
    assert parts[1:6] == ["local.capture", "INFO", "2023-11-14 22:13:20", "model_inputs", "loan-1"]
    assert json.loads(parts[6]) == [
        {"a": 1, "é": 0.1234567890123, "t": '"', "w": "2018-12-31T00:00:00.000000", "f": True},
        {"a": 2, "é": None, "t": None, "w": "2018-12-31T00:00:00.000000", "f": False},
    ]
    inputs.collect(np.ones((2, 2)))
    said = capsys.readouterr().out
    assert json.loads(said.split(" | ")[6]) == [{"column_1": 1.0, "column_2": 1.0}] * 2
    inputs.collect(b"image")
    assert inputs.stats()["dropped"] == {"unsupported_media": 1}
    assert capsys.readouterr().out == ""
    assert inputs.flush()
    assert not daemon.rows


def test_local_mode_prints_where_stdout_has_no_unicode(make_v2: MakeV2, monkeypatch: pytest.MonkeyPatch) -> None:
    """In v2's form the records are ASCII: a console of Windows has a code page of its own."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setenv("AZUREML_MDC_LOCAL_CAPTURE", "true")
    errors: list[Exception] = []
    make_v2(on_error=errors.append).collect(pd.DataFrame({"é": ["漢"]}))
    assert not errors
    assert written.getvalue().endswith(rb'| [{"\u00e9":"\u6f22"}]' + os.linesep.encode())


def test_column_rules_hold_for_what_is_printed_too(
    make_v2: MakeV2, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZUREML_MDC_LOCAL_CAPTURE", "true")
    monkeypatch.setenv("COLLECTORD_COLUMNS", "a=drop,b=mask")
    make_v2().collect(pd.DataFrame({"a": [1], "b": ["x"], "c": [2]}))
    [record] = json.loads(capsys.readouterr().out.split(" | ")[6])
    assert list(record) == ["b", "c"]
    assert record["b"] != "x"


def test_an_environment_that_cannot_work_does_not_stop_the_script(
    make_v2: MakeV2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTORD_SAMPLING", "much")
    errors: list[Exception] = []
    broken = make_v2(on_error=errors.append)
    broken.collect(FRAME)
    assert "COLLECTORD_SAMPLING" in str(errors[0])
    assert broken.stats()["dropped"] == {"bad_name": 2}


def test_nothing_is_printed_otherwise(
    make_v2: MakeV2, landed: Landed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZUREML_MDC_DEBUG", "true")
    for _ in range(50):
        make_v2().collect(FRAME)
    assert len(landed("model_inputs")) == 100
    assert capfd.readouterr() == ("", "")


def test_it_is_found_under_the_old_names() -> None:
    from azureml.ai.monitoring import Collector
    from azureml.ai.monitoring.collector import Collector as collector
    from azureml.ai.monitoring.context import BasicCorrelationContext as basic
    from azureml.ai.monitoring.context import get_context, get_context_wrapper
    from azureml.ai.monitoring.context.context import CorrelationContext as base

    assert Collector is collector is module.Collector
    assert (basic, base) == (BasicCorrelationContext, CorrelationContext)
    assert get_context_wrapper(get_context(), True, "x").get_message() == "x"
