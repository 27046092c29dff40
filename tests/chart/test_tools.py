"""What the chart makes, given to the tools that will read it."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from collectord_client import Client

from tests.deploy.chart import CHART, DEPLOY, documents, of_kind, values
from tests.e2e.conftest import folder, make_daemon  # noqa: F401
from tests.e2e.process import Daemon, free_port
from tests.e2e.waiting import eventually

import dashboard  # isort: skip  (deploy/ is on the path since tests.deploy.chart)

ALERTS: list[dict[str, str]] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))["alerts"]
SPOKEN = {
    "$__rate_interval": "4s",
    '{node=~"$node"}': '{node=~".*"}',
    "$write_price": "0.065",
    "$storage_price": "0.0184",
}
"""What Grafana puts into a query."""


def test_kustomize_builds_the_plain_manifests() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "manifests")], capture_output=True, text=True, check=True
    )
    kinds = sorted(document["kind"] for document in yaml.safe_load_all(built.stdout))
    assert kinds == ["ConfigMap", "DaemonSet", "Deployment", "Namespace", "ServiceAccount"]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (rule,) = of_kind("PrometheusRule", documents(values("everything")))
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout


Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:  # noqa: F811
    return make_daemon(flush_interval=1).start()


@pytest.fixture
def ask(folder: Path, daemon: Daemon) -> Iterator[Query]:  # noqa: F811
    """What a Prometheus answers that watches a daemon at work."""
    port, config = free_port(), folder / "prometheus.yaml"
    scrape = {
        "job_name": "production/collectord",
        "static_configs": [{"targets": [f"127.0.0.1:{daemon.admin_port}"], "labels": {"node": "aks-1"}}],
    }
    config.write_text(
        yaml.safe_dump({"global": {"scrape_interval": "500ms"}, "scrape_configs": [scrape]}), encoding="utf-8"
    )
    prometheus = subprocess.Popen(
        [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def query(text: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(text)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise ConnectionError("Prometheus is not ready") from None
            raise AssertionError(f"{text}: {error.read().decode()}") from None
        assert found["status"] == "success"
        return list(found["data"]["result"])

    try:
        with Client(model="m", endpoint=daemon.endpoint) as client:
            inputs = client.collector("inputs", feature_names=["a", "b"])

            def works() -> bool:
                inputs.collect([[1.0, 2.0]])
                client.flush()
                try:
                    return bool(query("rate(collectord_frames_landed_total[4s]) > 0"))
                except (urllib.error.URLError, ConnectionError):
                    return False

            eventually(works, "Prometheus sees frames land", 60)
        yield query
    finally:
        prometheus.terminate()
        prometheus.wait()


def test_prometheus_evaluates_every_query(ask: Query) -> None:
    empty = []
    for query in dashboard.queries():
        for grafanas, plain in SPOKEN.items():
            query = query.replace(grafanas, plain)
        if not ask(query):
            empty.append(query)
    # What has never happened has no series by its label yet.
    assert all("sum by (" in query for query in empty), empty
    assert len(empty) <= 5
    for alert in ALERTS:
        assert ask(alert["expr"]) == [], f"{alert['alert']} would wake somebody though all is well"


def test_an_alert_wakes_somebody(ask: Query, daemon: Daemon) -> None:
    (down,) = [alert for alert in ALERTS if alert["alert"] == "CollectordDown"]
    daemon.kill9()
    eventually(lambda: bool(ask(down["expr"])), "Prometheus sees that the daemon is down", 30)
