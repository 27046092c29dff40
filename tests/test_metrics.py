"""The table of metrics, and that no client can make it grow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectord import __version__
from collectord.metrics import SECONDS, TABLE, Metric, Metrics
from collectord.model import Reason

SOURCES = [
    path for path in Path(__file__).parent.parent.joinpath("collectord").rglob("*.py") if path.name != "metrics.py"
]
UNITS = ("_bytes", "_seconds", "_records", "_sessions", "_partitions", "_segments", "_depth", "_info", "_failures",
         "_connections", "_payloads", "_version")  # fmt: skip
FLAGS = ("_needed", "_held", "_draining", "_lost", "_problem", "_pending", "_blocked")
"""Gauges that are 0 or 1."""
LABELS = {"version", "reason", "cause", "remedy", "code", "finding", "exporter"}


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_each_metric_is_well_formed(metric: Metric) -> None:
    """Prometheus' own rules: a prefix, a unit, `_total` for what only grows; a sentence of help; known labels."""
    assert re.fullmatch(r"collectord(_[a-z]+)+", metric.name)
    assert metric.kind in ("counter", "gauge", "histogram")
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    if metric.kind == "gauge":
        assert metric.name.endswith(UNITS + FLAGS)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
    assert metric.help.endswith(".")
    assert set(metric.labels) <= LABELS


def test_no_metric_is_declared_twice() -> None:
    assert len({metric.name for metric in TABLE}) == len(TABLE)


def test_every_metric_is_used_and_every_used_one_is_declared() -> None:
    """A name in the table that nothing feeds would show a dead zero for ever."""
    text = "".join(path.read_text() for path in SOURCES)
    used = set(re.findall(r'"(collectord_[a-z_]+)"', text))
    declared = {metric.name for metric in TABLE}
    assert used - declared <= {"collectord_client"}
    assert declared - used == {"collectord_build_info"}


def test_what_is_counted_observed_and_read_is_rendered() -> None:
    metrics = Metrics()
    metrics.count("collectord_records_received_total", 3)
    metrics.count("collectord_records_received_total")
    metrics.count("collectord_records_rejected_total", 2, reason="no_rows")
    metrics.observe("collectord_upload_duration_seconds", 0.3)
    value = 1.0
    metrics.gauge("collectord_sessions", lambda: value)
    value = 7.0
    text = metrics.render().decode()
    for line in (
        "collectord_records_received_total 4.0",
        'collectord_records_rejected_total{reason="no_rows"} 2.0',
        'collectord_upload_duration_seconds_bucket{le="0.5"} 1.0',
        "collectord_sessions 7.0",
        f'collectord_build_info{{version="{__version__}"}} 1.0',
    ):
        assert f"\n{line}\n" in f"\n{text}"
    assert "_created" not in text


def test_each_daemon_has_metrics_of_its_own() -> None:
    first, second = Metrics(), Metrics()
    first.count("collectord_records_received_total")
    assert b"collectord_records_received_total 0.0" in second.render()


def test_the_number_of_series_is_bounded() -> None:
    """All rejections there are, and still it is a page."""
    metrics = Metrics()
    for reason in Reason:
        metrics.count("collectord_records_rejected_total", reason=str(reason))
    assert len(metrics.render().splitlines()) < 300


def test_what_is_not_in_the_table_cannot_be_counted() -> None:
    with pytest.raises(KeyError):
        Metrics().count("collectord_anything_total")
    with pytest.raises(ValueError, match="label"):
        Metrics().count("collectord_records_rejected_total", client="x")


def test_what_was_counted_and_observed_can_be_read_back() -> None:
    """A counter over all its labels; a histogram by bucket, each observation in one."""
    metrics = Metrics()
    metrics.count("collectord_records_rejected_total", 2, reason="no_rows")
    metrics.count("collectord_records_rejected_total", 3, reason="malformed")
    assert metrics.total("collectord_records_rejected_total") == 5
    for seconds in (0.0001, SECONDS[0], 0.0006, 3600.0):
        metrics.observe("collectord_sync_duration_seconds", seconds)
    buckets = metrics.buckets("collectord_sync_duration_seconds")
    assert len(buckets) == len(SECONDS) + 1
    assert (buckets[0], buckets[1], buckets[-1], sum(buckets)) == (2, 1, 1, 4)
