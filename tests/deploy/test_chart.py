"""The chart renders what Kubernetes accepts and a daemon understands, and refuses what could not work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from collectord.config import load
from tests.deploy.chart import CASES, CHART, containers, documents, of_kind, pods, values

VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""Of Kubernetes: the oldest that the chart says, and the newest there is."""
OPERATORS = ("PodMonitor", "PrometheusRule")
"""Kinds that Kubernetes itself does not know."""
AZ = {"config": {"store": "az://modeldata", "azure_account_url": "https://a.blob.core.windows.net"}}


def validate(document: dict[str, Any]) -> None:
    """Raises kubernetes_validate.ValidationError."""
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def test_there_are_cases() -> None:
    assert CASES == ["everything", "service", "sidecar", "socket"]


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_no_fault(case: str) -> None:
    report = helm_python.lint(CHART, values(case), strict=True)
    assert not [message for message in report["messages"] if message["severity"] not in ("INFO", 1)], report


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_accepts_all_documents(case: str) -> None:
    for document in documents(values(case)):
        if document["kind"] not in OPERATORS:
            validate(document)


@pytest.mark.parametrize("case", CASES)
def test_each_name_that_a_pod_needs_is_there_or_is_said_to_be_the_users(case: str) -> None:
    found = documents(values(case))
    made = {document["metadata"]["name"] for document in of_kind("ConfigMap", found)}
    for name, pod in pods(found):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            assert volume.get("configMap", {"name": next(iter(made))})["name"] in made, name
        for container in containers(pod):
            mounts = container.get("volumeMounts", [])
            assert {mount["name"] for mount in mounts} <= volumes, name
            assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


@pytest.mark.parametrize("case", CASES)
def test_a_daemon_understands_its_settings(case: str, tmp_path: Path) -> None:
    found = documents(values(case))
    (text,) = [
        each["data"]["collectord.toml"] for each in of_kind("ConfigMap", found) if "collectord.toml" in each["data"]
    ]
    file = tmp_path / "collectord.toml"
    file.write_text(text, encoding="utf-8")
    settings = load(file)
    for key, value in values(case)["config"].items():
        found_value = getattr(settings, key)
        if isinstance(found_value, SecretStr):
            found_value = found_value.get_secret_value()
        assert found_value == (tuple(value) if isinstance(value, list) else value), key
    assert str(settings.spool) == "/var/lib/collectord/spool"
    grace = [pod.get("terminationGracePeriodSeconds") for _, pod in pods(found)]
    assert max(filter(None, grace)) >= settings.drain_deadline + 10


@pytest.mark.parametrize("case", CASES)
def test_our_containers_have_the_least_rights(case: str) -> None:
    checked = 0
    for name, pod in pods(documents(values(case))):
        assert pod["automountServiceAccountToken"] is False
        assert not pod.get("hostNetwork")
        for container in containers(pod):
            if container["name"] == "more":
                continue
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            if container["name"] == "directories":
                assert context["capabilities"]["add"] == ["CHOWN", "FOWNER"]
            else:
                assert context["runAsNonRoot"] is True
            assert "memory" in container["resources"]["limits"]
            assert "cpu" not in container["resources"]["limits"]
            checked += 1
    assert checked


@pytest.mark.parametrize(("case", "hostpath"), [("socket", True), ("service", False), ("sidecar", False)])
def test_only_over_the_socket_do_scoring_pods_need_a_directory_of_the_node(case: str, hostpath: bool) -> None:
    (example,) = of_kind("Deployment", documents(values(case)))
    volumes = example["spec"]["template"]["spec"]["volumes"]
    assert any("hostPath" in volume for volume in volumes) is hostpath


def test_probes_ask_the_daemon_and_no_store() -> None:
    ((_, pod),) = [each for each in pods(documents(values("socket"))) if each[0] == "collectord"]
    (daemon,) = pod["containers"]
    assert daemon["livenessProbe"]["httpGet"]["path"] == daemon["startupProbe"]["httpGet"]["path"] == "/livez"
    assert daemon["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "config.store"),
        ({"config": {"store": "az://c", "flush_intervall": 3}}, "flush_intervall"),
        ({"config": {"store": "az://c", "azure_sas": "sig=secret"}}, "azure_sas"),
        ({"config": {"store": "az://c", "spool": "/elsewhere"}}, "spool"),
        (AZ | {"mode": "daemon"}, "mode"),
        (AZ | {"replicas": 3}, "replicas"),
        (AZ | {"transport": {"socket": {"mode": "666x"}}}, "mode"),
        (AZ | {"transport": {"socket": {"enabled": False}}}, "transport"),
        (AZ | {"transport": {"service": {"enabled": True}}}, "tlsSecret"),
        (AZ | {"terminationGracePeriodSeconds": 55}, "terminationGracePeriodSeconds"),
        (AZ | {"securityContext": {"runAsUser": 0, "runAsGroup": 0}}, "runAsUser"),
    ],
)
def test_what_could_not_work_is_refused_and_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(helm_python.HelmError) as error:
        documents(given)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("template", "old", "new"),
    [
        ("daemonset.yaml", "minReadySeconds:", "minReadySecond:"),
        ("daemonset.yaml", "terminationGracePeriodSeconds:", "terminationGraceSeconds:"),
        ("_helpers.tpl", "readOnly: true}", 'readOnly: "yes"}'),
        ("service.yaml", "internalTrafficPolicy: Local", "internalTrafficPolicy: [Local]"),
        ("networkpolicy.yaml", "port: 443", "portt: 443"),
        ("configmap.yaml", "nindent 4", "nindent 0"),
    ],
)
def test_a_broken_chart_is_caught(template: str, old: str, new: str, tmp_path: Path) -> None:
    chart = Path(shutil.copytree(CHART, tmp_path / "collectord"))
    path = chart / "templates" / template
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((kubernetes_validate.ValidationError, helm_python.HelmError, yaml.YAMLError)):
        for document in documents(values("everything"), chart):
            if document["kind"] not in OPERATORS:
                validate(document)
