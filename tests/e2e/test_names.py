"""Where a row lands: blob names, days and hours."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
from collectord_client import Client

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon

UTC = datetime.timezone.utc
NEW_YEARS_EVE = datetime.datetime(2018, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)


def _client(daemon: Daemon, **names: str) -> Client:
    given = {
        "model": "best_model", "version": "10", "webservice": "aks-w-collv9",
        "workspace": "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myWorkspace", **names,
    }  # fmt: skip
    return Client(**given, endpoint=daemon.endpoint, linger=0.01, strict=True)


def _store(daemon: Daemon) -> dict[str, bytes]:
    daemon.flush()
    return landed.directory(daemon.folder / "store")


def test_the_documented_example_has_its_path_byte_for_byte(make_daemon: MakeDaemon) -> None:
    """A row scored on 2018-12-31 by the service of the documentation, without compression, lies where it says."""
    daemon = make_daemon(codec="none", late_days=10_000).start()
    with _client(daemon) as client:
        client.collect(np.array([[1.5, 2.5]]), feature_names=["feat1", "feat2"], timestamp=NEW_YEARS_EVE)
        assert client.flush()
    blobs = _store(daemon)
    assert list(blobs) == [
        "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myWorkspace/aks-w-collv9/best_model/10/inputs/2018/12/31/data.csv"
    ]
    header, row, end = next(iter(blobs.values())).decode().split("\n")
    assert not end
    assert header == (
        "feat1,feat2,$aml_dc_correlation_id,$aml_dc_scoring_timestamp,$aml_dc_boundary,$aml_workspace,$aml_service_name,"
        "$aml_model_name,$aml_model_version,$aml_request_id,$aml_dc_row"
    )
    values = row.split(",")
    assert values[:2] == ["1.5", "2.5"]
    assert values[3:9] == [
        "2018-12-31T23:59:59.123456", "1440", "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myWorkspace",
        "aks-w-collv9", "best_model", "10",
    ]  # fmt: skip
    assert values[10] == "0"


def test_the_layout_of_the_v1_sdk(make_daemon: MakeDaemon) -> None:
    """The file is called as the designation, the workspace is in lower case, and so is its column."""
    daemon = make_daemon(codec="none", layout="sdk-v1", late_days=10_000).start()
    with _client(daemon) as client:
        for designation in ("inputs", "predictions"):
            client.collect([[1.0]], designation=designation, timestamp=NEW_YEARS_EVE)
        assert client.flush()
    with _client(daemon) as client:
        client.collector("signals").collect([[1.0]], timestamp=NEW_YEARS_EVE)
        assert client.flush()
    blobs = _store(daemon)
    folder = "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myworkspace/aks-w-collv9/best_model/10"
    assert sorted(blobs) == [
        f"{folder}/inputs/2018/12/31/inputs.csv",
        f"{folder}/predictions/2018/12/31/predictions.csv",
        f"{folder}/signals/2018/12/31/default.csv",
    ]
    for row in landed.rows(blobs):
        assert row["$aml_workspace"] == "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myworkspace"


def test_hours_collections_and_nodes_have_names_of_their_own(make_daemon: MakeDaemon) -> None:
    """An hourly boundary adds the hour, a collection is part of the file's name, and a template may name the node; the
    boundary's column says 60."""
    template = "{node}/{model}/{designation}/{yyyy}/{mm}/{dd}/data.csv"
    daemon = make_daemon(codec="gzip", layout=template, boundary="hour", node="node-7", late_days=10_000).start()
    with _client(daemon) as client, _client(daemon, collection="golden") as other:
        for hour in (0, 9, 23):
            client.collect([[float(hour)]], timestamp=NEW_YEARS_EVE.replace(hour=hour))
        other.collect([[-1.0]], timestamp=NEW_YEARS_EVE.replace(hour=9))
        assert client.flush()
        assert other.flush()
    blobs = _store(daemon)
    folder = "node-7/best_model/inputs/2018/12/31"
    assert sorted(blobs) == [
        f"{folder}/00/data.csv.gz",
        f"{folder}/09/data-golden.csv.gz",
        f"{folder}/09/data.csv.gz",
        f"{folder}/23/data.csv.gz",
    ]
    assert {row["$aml_dc_boundary"] for row in landed.rows(blobs)} == {"60"}
    assert [row["column_1"] for row in landed.rows(blobs, "09/data.csv")] == ["9.0"]


def test_rows_around_midnight_go_to_their_days_and_predictions_to_the_day_of_their_inputs(
    make_daemon: MakeDaemon,
) -> None:
    """The date is the scoring time in UTC, whatever the zone of the caller; a prediction that is made after midnight is
    filed with the inputs that were scored before it."""
    daemon = make_daemon(late_days=10_000).start()
    before = datetime.datetime(2020, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    after = datetime.datetime(2020, 3, 1, tzinfo=UTC)
    west = before.astimezone(datetime.timezone(datetime.timedelta(hours=-8)))
    east = after.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    with _client(daemon) as client:
        inputs = client.collector("inputs", ["when"])
        predictions = client.collector("predictions", ["when"])
        contexts = [inputs.collect([[text]], timestamp=when) for text, when in (("before", west), ("after", east))]
        for context, text in zip(contexts, ("before", "after"), strict=True):
            predictions.collect([[text]], context=context)
        predictions.collect([["alone"]], timestamp=after)
        assert client.flush()
    blobs = _store(daemon)

    def rows(designation: str, day: str) -> list[str]:
        return [row["when"] for row in landed.rows(blobs, f"/{designation}/{day}/")]

    assert rows("inputs", "2020/02/29") == rows("predictions", "2020/02/29") == ["before"]
    assert rows("inputs", "2020/03/01") == ["after"]
    assert rows("predictions", "2020/03/01") == ["after", "alone"]
    assert len(blobs) == 4


def test_names_that_would_climb_or_hide_stay_inside_the_store(make_daemon: MakeDaemon) -> None:
    """Slashes, dots and other letters in names neither leave the store nor merge two streams."""
    daemon = make_daemon(codec="none").start()
    models = ["../../../../etc", "a/b", "a", "..", ".hidden", "modèle 模型", "a%2Fb", "_collectord", "b.1"]
    for model in models:
        with _client(daemon, model=model, version="", workspace="") as client:
            client.collect([[model]], feature_names=["model"])
            assert client.flush()
    blobs = _store(daemon)
    assert len(blobs) == len(models)
    assert sorted(row["model"] for row in landed.rows(blobs)) == sorted(models)
    assert sorted(row["$aml_model_name"] for row in landed.rows(blobs)) == sorted(models)
    root = (daemon.folder / "store").resolve()
    assert all(Path(root, name).resolve().is_relative_to(root) for name in blobs)
    assert any("modèle 模型" in name for name in blobs)
