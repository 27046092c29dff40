"""What watches a daemon asks for metrics that there are. `make chart-test` has a real Prometheus evaluate it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from collectord.metrics import TABLE
from tests.deploy.chart import CHART, ROOT, documents, of_kind, values

import dashboard  # isort: skip  (deploy/ is on the path since tests.deploy.chart)

SERIES = {metric.name: metric for metric in TABLE}
ALERTS: list[dict[str, str]] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))["alerts"]


ELSEWHERE = ("collectord_upload_failures_total", "collectord_tls_failures_total")
"""They are tried again: what lasts shows in freshness, and at the clients."""


def metric_of(name: str) -> Any:
    """The row of the table that a series belongs to."""
    return SERIES.get(name) or SERIES[re.sub(r"_(bucket|sum|count)$", "", name)]


def names_in(query: str) -> list[str]:
    return re.findall(r"\bcollectord_\w+", query)


@pytest.mark.parametrize(
    "query", [*dashboard.queries(), *(alert["expr"] for alert in ALERTS if "up{" not in alert["expr"])]
)
def test_each_query_asks_for_metrics_and_labels_of_the_table(query: str) -> None:
    names = names_in(query)
    assert names
    for name in names:
        metric = metric_of(name)
        assert (f"rate({name}" in query or f"increase({name}" in query) == (metric.kind != "gauge"), name
        assert name.endswith("_bucket") == (metric.kind == "histogram")
        for by in re.findall(r"\b(?:by|without) \((\w+)\)", query):
            assert by in (*metric.labels, "le"), (by, name)


def test_the_rules_are_the_alerts_and_their_pages_are_there() -> None:
    (rule,) = of_kind("PrometheusRule", documents(values("everything")))
    rules = rule["spec"]["groups"][0]["rules"]
    assert [each["alert"] for each in rules] == [each["alert"] for each in ALERTS]
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for each in rules:
        anchor = each["annotations"]["runbook_url"].rpartition("#")[2]
        assert f'<a id="{anchor}"></a>' in page, anchor


def test_what_means_loss_wakes_somebody() -> None:
    asked = {name for alert in ALERTS for name in names_in(alert["expr"])}
    for metric in TABLE:
        if re.search(r"dropped|rejected|quarantined|lost|failures|blocked|refused_partitions", metric.name):
            assert metric.name in asked or metric.name in ELSEWHERE, metric.name
    assert all(alert["meaning"].endswith(".") and alert["action"].endswith(".") for alert in ALERTS)
