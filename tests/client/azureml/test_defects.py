"""The twenty defects of azureml-monitoring 0.1.0a21 that requirements §2.1 lists, and what happens here instead."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import collectord_client
import numpy as np
import pandas as pd
import pytest
from collectord_client import Request

from collectord.model import Partition, Stream
from collectord.upload.naming import Layout
from tests.client import hosts
from tests.client.azureml.conftest import Landed, Make, keys
from tests.client.fakedaemon import FakeDaemon

ROOT = Path(__file__).resolve().parents[3]


def test_d1_predictions_in_one_dimension_are_a_row_each(make: Make, landed: Landed) -> None:
    """Not one row with three columns under a header of one."""
    make().collect(np.arange(12.0).reshape(3, 4))
    make("predictions", ["p"]).collect(np.array([0.1, 0.2, 0.3]))
    rows = landed("predictions")
    assert [(row.names, row.values) for row in rows] == [(("p",), (value,)) for value in (0.1, 0.2, 0.3)]
    assert keys(rows) == keys(landed("inputs"))


def test_d2_correlations_are_added_to_predictions_in_one_dimension(make: Make, landed: Landed) -> None:
    """No ValueError in the scoring call, and the numbers stay numbers."""
    inputs, predictions = make(), make("predictions", ["p"])
    correlations = inputs.collect(np.ones((3, 4)))
    augmented = predictions.add_correlations(np.array([0.1, 0.2, 0.3]), correlations)
    predictions.collect(augmented)
    assert [row.values for row in landed("predictions")] == [(0.1,), (0.2,), (0.3,)]
    assert keys(landed("predictions")) == keys(landed("inputs"))


def test_d3_predictions_as_the_documentation_collects_them_carry_ids(make: Make, landed: Landed) -> None:
    """Two lines, no arguments: the same ids as the inputs, which the return value tells too."""
    first = make().collect(np.ones((2, 4)))
    second = make("predictions", ["p1", "p2"]).collect(np.ones((2, 2)))
    assert keys(landed("predictions")) == keys(landed("inputs"))
    assert dict(second) == dict(first)
    assert {row.correlation for row in landed("predictions")} == {second["$aml_dc_correlation_id"]}


def test_d4_the_rows_of_a_batch_can_be_joined(make: Make, landed: Landed) -> None:
    """Id and index name one row of inputs and one of predictions."""
    inputs, predictions = make(), make("predictions", ["double"])
    for batch in (np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [5.0]])):
        inputs.collect(batch)
        predictions.collect(2 * batch)
    said = {(row.correlation, row.row): row.values[0] for row in landed("predictions")}
    assert len(said) == 5
    assert all(said[row.correlation, row.row] == 2 * row.values[0] for row in landed("inputs"))


def test_d5_a_frame_with_other_columns_does_not_come_under_the_old_header(make: Make, landed: Landed) -> None:
    """Each value stands under its own name, whatever the frame before looked like."""
    inputs = make()
    for frame in ({"f1": [1], "f2": [2]}, {"f2": [4], "f1": [3]}, {"f1": [5], "f2": [6], "f3": [7]}):
        inputs.collect(pd.DataFrame(frame))
    assert [dict(zip(row.names, row.values, strict=True)) for row in landed("inputs")] == [
        {"f1": 1, "f2": 2}, {"f1": 3, "f2": 4}, {"f1": 5, "f2": 6, "f3": 7},
    ]  # fmt: skip


def test_d6_line_ends_are_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever kind of data it was: LF, in what is printed as in the blobs, which tests/e2e reads."""
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    inputs = make(names=["a"])
    for data in ([1.5], np.array([[2.5]]), pd.DataFrame({"a": [3.5]})):
        inputs.collect(data)
    said = capsys.readouterr().out
    assert said.count("\n") == 4
    assert "\r" not in said


def test_d7_a_list_of_lists_is_as_many_rows(make: Make, landed: Landed) -> None:
    """Not one row with the text of two lists."""
    make(names=["a", "b"]).collect([[1, 2], [3, 4]])
    assert [row.values for row in landed("inputs")] == [(1, 2), (3, 4)]


def test_d8_a_bad_designation_does_not_break_scoring(make: Make, landed: Landed) -> None:
    """An unknown one is taken as it is; with an unusable one every call is counted as dropped."""
    make("Raw Data").collect([1.0])
    assert [row.values for row in landed("Raw Data")] == [(1.0,)]
    broken = make("in\nputs")
    assert broken.collect(np.ones((3, 2)))["$aml_dc_correlation_id"]
    assert broken.stats()["dropped"] == {"bad_name": 3}
    assert "control characters" in broken.stats()["unusable"]


def test_d9_it_needs_no_library_of_the_system() -> None:
    """Nothing compiled lies in the package but the core, which needs the C library alone; without it all works as well,
    and importing it loads nothing but Python's own."""
    package = Path(collectord_client.__file__).parent
    compiled = [path for path in package.rglob("*") if path.suffix in (".so", ".dll", ".dylib")]
    assert {path.name.partition(".")[0] for path in compiled} <= {"_core"}
    if compiled and shutil.which("ldd"):
        shown = subprocess.run(["ldd", compiled[0]], capture_output=True, text=True, check=True).stdout
        needed = {line.split()[0].rpartition("/")[2].partition(".")[0] for line in shown.splitlines()}
        assert needed <= {"linux-vdso", "libc", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}, needed
    code = "import sys; before = set(sys.modules); import collectord_client.azureml; print(*{n.split('.')[0] for n in set(sys.modules) - before})"
    for pure in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**hosts.environment(True), "COLLECTORD_CLIENT_PURE": pure},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        loaded = set(done.stdout.split()) - sys.stdlib_module_names
        # Cython notes under a name of its own which version of it is loaded.
        assert {name for name in loaded if not name.startswith(("_cython_", "cython_runtime"))} == {"collectord_client"}


def test_d10_no_signal_handler_is_installed(make: Make) -> None:
    """So gunicorn's graceful stop stays its own, and a collector may be made on any thread."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(make().collect([1.0])))
    thread.start()
    thread.join()
    assert made
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def test_d11_predictions_cost_no_python_per_row(make: Make) -> None:
    """About as many calls of Python functions for 1,000 rows as for 4,000, for arrays and for frames of numbers."""

    def calls(collector: Any, data: Any) -> int:
        count = 0

        def profile(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal count
            count += event == "call"

        counts = []
        for _ in range(8):
            count = 0
            sys.setprofile(profile)
            try:
                collector.collect(data)
            finally:
                sys.setprofile(None)
            counts.append(count)
        # Some of them begin a page, or are interrupted by what other libraries do now and then.
        return min(counts)

    for build in (np.ones, lambda shape: pd.DataFrame(np.ones(shape), columns=["p1", "p2"])):
        predictions = make("predictions", ["p1", "p2"])
        few, many = calls(predictions, build((1000, 2))), calls(predictions, build((4000, 2)))
        assert few > 0
        assert abs(many - few) < 10


def test_d12_a_bad_timestamp_is_no_error(make: Make, landed: Landed) -> None:
    """The time is then taken from the id; where that has none, it is the present, and counted."""
    labels = make("labels", ["y"])
    with Request():
        correlations = make().collect([1.0])
    [source] = landed("inputs")
    labels.collect([1], correlations=dict(correlations, **{"$aml_dc_scoring_timestamp": "yesterday"}))
    labels.collect([2], correlations={"$aml_dc_correlation_id": "loan-1", "$aml_dc_scoring_timestamp": None})
    first, second = landed("labels")
    assert first.time_ns == source.time_ns // 1_000_000 * 1_000_000
    assert abs(second.time_ns - time.time_ns()) < 60e9
    assert labels.stats()["notes"] == {"undated": 1}
    assert labels.stats()["dropped"] == {}


def test_d13_a_model_that_is_not_in_the_config_map_is_no_error(make: Make, landed: Landed, deployment: Path) -> None:
    """Nor is a map without the parts that one expects."""
    path = deployment / "model_config_map.json"
    for known in (
        {"modelsInfo": {"other": {"3": {}}}},
        {"modelsInfo": None},
        {},
        [],
        {"modelsInfo": {"best_model": 5}},
    ):
        path.write_text(json.dumps(known))
        make().collect([1.0])
    path.write_text("{")
    make().collect([1.0])
    assert {row.stream for row in landed("inputs")} == {"default/default/default/default/best_model/default"}
    assert len(landed("inputs")) == 6


def test_d14_debug_mode_prints_all_designations(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    for designation in ("inputs", "predictions", "labels", "signals", "general"):
        collector = make(designation, [f"{designation}_column"])
        collector.collect([7.25])
        header, row = capsys.readouterr().out.splitlines()
        assert header.startswith(f"{designation}_column,$aml_dc_correlation_id,")
        assert row.startswith("7.25,")


def test_d15_nothing_is_printed_and_nobody_else_is_told(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """No INFO lines on stdout, not even after a hundred calls, and no logger of Microsoft's."""
    loggers = set(logging.root.manager.loggerDict)
    inputs = make()
    for _ in range(250):
        inputs.collect([1.0])
    assert inputs.flush()
    assert capfd.readouterr() == ("", "")
    assert not {
        name for name in set(logging.root.manager.loggerDict) - loggers if "azure" in name and "collectord" not in name
    }


def test_d16_a_single_row_arrives_by_itself(make: Make, daemon: FakeDaemon) -> None:
    """Within the linger of the client, with no more data to push it; the daemon lands it within its flush interval."""
    make().collect([1.0])
    assert daemon.wait(lambda: daemon.rows, 10)


def test_d17_the_path_is_the_documented_one_whatever_was_registered(
    make: Make, landed: Landed, deployment: Path
) -> None:
    """The version is always a level of the path, and a registered storage path does not make another."""
    make().collect([1.0])
    info = {"internalId": "x", "dataCollectorStoragePath": "/modeldata/elsewhere/{webservice_name}/best_model/"}
    (deployment / "model_config_map.json").write_text(
        json.dumps({"modelsInfo": {"best_model": {"9": info, "10": info}}})
    )
    make(webservice_name="svc", workspace="sub/group/space").collect([1.0])
    rows = landed("inputs")
    assert [row.stream for row in rows] == [
        "default/default/default/default/best_model/default", "sub/group/space/svc/best_model/10",
    ]  # fmt: skip
    stream = Stream(
        subscription="sub", resource_group="group", workspace="space", webservice="svc", model="best_model",
        version="10", designation="inputs",
    )  # fmt: skip
    name = Layout(suffix="").base(stream, Partition(b"", 0, 1440))
    assert name == "sub/group/space/svc/best_model/10/inputs/1970/01/01/data.csv"


def test_d18_feature_names_come_from_the_data_and_their_number_is_checked(
    make: Make, landed: Landed, caplog: pytest.LogCaptureFixture
) -> None:
    """A frame needs none; with too few or too many, the header still fits the row, and it is counted and told once."""
    make().collect(pd.DataFrame({"age": [1.0], "income": [2.0]}))
    assert landed("inputs")[0].names == ("age", "income")
    inputs = make(names=["a", "b"], model="other")
    inputs.collect([[1.0, 2.0, 3.0]])
    inputs.collect([[1.0]])
    assert [row.names for row in landed("inputs")[1:]] == [("a", "b", "column_3"), ("a",)]
    assert inputs.stats()["notes"] == {"more_values_than_names": 1, "fewer_values_than_names": 1}
    assert "more_values_than_names" in caplog.text


def test_d19_an_image_without_the_package_is_found_out_when_it_is_built(tmp_path: Path) -> None:
    """A command for the Dockerfile fails while the names that scripts import are not there."""
    command = [sys.executable, "-m", "collectord_client.azureml", "best_model"]
    variables = hosts.environment(True)
    # -S: what this environment has installed is not there.
    bare = subprocess.run([command[0], "-S", *command[1:]], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert bare.returncode == 1
    assert "azureml.monitoring: missing: pip install collectord-azureml" in bare.stdout
    variables["PYTHONPATH"] += f":{ROOT / 'clients' / 'azureml'}"
    whole = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert "azureml.monitoring: collectord's" in whole.stdout


def test_d20_why_nothing_arrives_can_be_asked(make: Make, monkeypatch: pytest.MonkeyPatch, daemon: FakeDaemon) -> None:
    """A switch in the environment, a daemon that is not there, data that cannot be taken: `stats()` tells which it is."""
    inputs = make()
    inputs.collect(b"an image")
    assert inputs.stats()["dropped"] == {"unsupported_media": 1}
    inputs.collect([1.0])
    assert inputs.flush()
    assert inputs.stats() | {"connected": True, "acknowledged": 1, "enabled": True, "unusable": ""} == inputs.stats()
    daemon.stop()
    inputs.collect([2.0])
    assert not inputs.flush(0.3)
    assert inputs.stats()["waiting"] == 1
    monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", "false")
    off = make()
    off.collect([1.0])
    assert off.stats() | {"enabled": False, "collecting": False, "collected": 0} == off.stats()
    assert uuid.UUID(off.collect([1.0])["$aml_dc_correlation_id"]).version == 7


def test_there_are_twenty() -> None:
    """If this fails, a defect has lost its test."""
    module = importlib.import_module(__name__)
    numbers = [int(name.split("_")[1][1:]) for name in vars(module) if name.startswith("test_d")]
    assert sorted(numbers) == list(range(1, 21))
