"""The chart renders what Kubernetes accepts and a daemon understands, and refuses what could not work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from collectord.config import load
from collectord.reloading import Reloading
from collectord.settings import AT_ONCE, Settings
from tests.deploy.chart import CASES, CHART, containers, documents, notes, of_kind, pods, values

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
        (AZ | {"config": {"store": "az://c", "flush_interval": "soon"}}, "flush_interval"),
        (AZ | {"config": {"store": "az://c", "codec": "lz4"}}, "codec"),
        (AZ | {"config": {"store": "az://c", "uploads": 65}}, "uploads"),
        (AZ | {"prometheusRule": {"runbookUrl": "docs/operations.md"}}, "runbookUrl"),
        (AZ | {"mode": "daemon"}, "mode"),
        (AZ | {"replicas": 3}, "replicas"),
        (AZ | {"transport": {"socket": {"mode": "666x"}}}, "mode"),
        (AZ | {"transport": {"socket": {"enabled": False}}}, "transport"),
        (AZ | {"transport": {"service": {"enabled": True}}}, "tlsSecret"),
        (AZ | {"terminationGracePeriodSeconds": 55}, "terminationGracePeriodSeconds"),
        (AZ | {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}, "maxSurge"),
        (AZ | {"updateStrategy": {"rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}}, "maxSurge"),
        (AZ | {"securityContext": {"runAsUser": 0, "runAsGroup": 0}}, "runAsUser"),
    ],
)
def test_what_could_not_work_is_refused_and_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(helm_python.HelmError) as error:
        documents(given)
    assert says in str(error.value)


# ---------------------------------------------------------------- settings that change


def daemonset(given: dict[str, Any]) -> dict[str, Any]:
    (found,) = of_kind("DaemonSet", documents(given))
    return found


def with_setting(name: str, value: object) -> dict[str, Any]:
    return {"config": {**AZ["config"], name: value}, "terminationGracePeriodSeconds": 90}


@pytest.mark.parametrize(
    ("name", "value"),
    [("flush_interval", 7), ("flush_bytes", "2MiB"), ("drain_deadline", 40), ("late_days", 3), ("early_days", 3), ("collect_default", False),
     ("collect_on", ["a/*/*"]), ("telemetry_default", True), ("log_level", "debug")],
)  # fmt: skip
def test_a_setting_that_a_running_daemon_takes_replaces_no_pod(name: str, value: object) -> None:
    assert daemonset(with_setting(name, value)) == daemonset(AZ | {"terminationGracePeriodSeconds": 90})
    (before,), (after,) = (of_kind("ConfigMap", documents(given)) for given in (AZ, with_setting(name, value)))
    assert before["data"] != after["data"]
    assert name in AT_ONCE


@pytest.mark.parametrize(
    ("name", "value"), [("codec", "gzip"), ("uploads", 5), ("spool_budget", "9GiB"), ("mdc", "127.0.0.1:50011")]
)
def test_a_setting_that_waits_for_a_restart_replaces_them(name: str, value: object) -> None:
    before, after = daemonset(AZ | {"terminationGracePeriodSeconds": 90}), daemonset(with_setting(name, value))
    assert before != after
    for each in (before, after):
        del each["spec"]["template"]["metadata"]["annotations"]["checksum/restart-settings"]
    assert before == after


def text_of(given: dict[str, Any]) -> str:
    (config,) = of_kind("ConfigMap", documents(given))
    return str(config["data"]["collectord.toml"])


@pytest.mark.parametrize(
    ("name", "value"), [("flush_interval", 7), ("log_level", "debug"), ("codec", "gzip"), ("uploads", 5)]
)
def test_pods_are_replaced_where_a_running_daemon_would_wait_for_it(name: str, value: object, tmp_path: Path) -> None:
    """The chart's ConfigMap before and after, swapped as the kubelet does it."""
    given = AZ | {"terminationGracePeriodSeconds": 90}, with_setting(name, value)
    for folder, one in zip(("before", "after"), given, strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "collectord.toml").write_text(text_of(one), encoding="utf-8")
    (tmp_path / "..data").symlink_to("before")
    file = tmp_path / "collectord.toml"
    file.symlink_to("..data/collectord.toml")
    taken: list[Settings] = []
    reloading = Reloading(file, lambda: load(file), load(file), taken.append)
    (tmp_path / "..new").symlink_to("after")
    (tmp_path / "..new").replace(tmp_path / "..data")
    reloading.look()
    replaced = daemonset(given[0]) != daemonset(given[1])
    assert (bool(taken), bool(reloading.pending)) == (not replaced, replaced)


def test_a_longer_drain_replaces_pods_whose_time_to_end_follows_from_it() -> None:
    longer = {"config": {**AZ["config"], "drain_deadline": 100}}
    assert daemonset(longer)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 115
    assert "drain_deadline" not in notes(longer)
    assert "drain_deadline" in notes(longer | {"terminationGracePeriodSeconds": 120})


def test_the_file_of_settings_is_a_directory_of_the_pod() -> None:
    """One that is mounted by its name (subPath) would never change."""
    for _, pod in pods(documents(AZ)):
        for container in containers(pod):
            for mount in container["volumeMounts"]:
                assert "subPath" not in mount
                assert mount["name"] != "config" or mount["mountPath"] == "/etc/collectord"


# ---------------------------------------------------------------- identity, network, monitors


def credential(given: dict[str, Any]) -> dict[str, str | None]:
    """What each of our containers is told of it."""
    return {
        container["name"]: next(
            (one["value"] for one in container.get("env", []) if one["name"] == "COLLECTORD_AZURE_CREDENTIAL"), None
        )
        for _, pod in pods(documents(given))
        for container in containers(pod)
    }


def test_a_workload_identity_is_the_only_one_that_is_tried() -> None:
    identity = {"workloadIdentity": {"clientId": "0000"}}
    assert credential(AZ | identity) == {"directories": None, "collectord": "workload", "doctor": "workload"}
    assert credential(AZ) == {"directories": None, "collectord": None, "doctor": None}
    own = {"config": {**AZ["config"], "azure_credential": "default"}}
    assert credential(own | identity)["collectord"] is None


@pytest.mark.parametrize(("client", "ports"), [("0000", {53, 443}), ("", {53, 443, 80})])
def test_tokens_of_a_nodes_identity_are_let_through_where_it_is_needed(client: str, ports: set[int]) -> None:
    given = AZ | {"networkPolicy": {"enabled": True}, "workloadIdentity": {"clientId": client}}
    (policy,) = of_kind("NetworkPolicy", documents(given))
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == ports


def test_all_pods_of_the_chart_can_pull_and_the_test_has_what_the_daemon_has() -> None:
    found = documents(values("everything"))
    assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for _, pod in pods(found))
    (daemon,) = [one for name, pod in pods(found) if name == "collector" for one in pod["containers"][:1]]
    (doctor,) = [one for name, pod in pods(found) if name == "collector-chain" for one in pod["containers"]]
    assert doctor["envFrom"] == daemon["envFrom"]
    assert {"name": "more", "mountPath": "/more"} in doctor["volumeMounts"]


def test_where_the_admin_port_speaks_tls_whoever_asks_it_does() -> None:
    tls = {
        "transport": {"service": {"enabled": True, "tlsSecret": "t", "tenantsSecret": "t"}},
        "podMonitor": {"enabled": True},
    }
    for speaks in (False, True):
        found = documents(tls | {"config": {**AZ["config"], "admin_tls": speaks}})
        (daemon,) = of_kind("DaemonSet", found)
        (container,) = daemon["spec"]["template"]["spec"]["containers"]
        probes = [container[f"{name}Probe"]["httpGet"].get("scheme") for name in ("startup", "liveness", "readiness")]
        assert probes == (["HTTPS"] * 3 if speaks else [None] * 3)
        (monitor,) = of_kind("PodMonitor", found)
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert (endpoint.get("scheme") == "https") is speaks
        assert ("prometheus.io/scheme" in daemon["spec"]["template"]["metadata"]["annotations"]) is speaks


def test_a_rule_of_ones_own_is_added() -> None:
    rule = {"ports": [{"port": 4318, "protocol": "TCP"}]}
    (policy,) = of_kind("NetworkPolicy", documents(AZ | {"networkPolicy": {"enabled": True, "extraEgress": [rule]}}))
    assert policy["spec"]["egress"][-1] == rule


@pytest.mark.parametrize("group", ["monitoring.coreos.com", "azmonitoring.coreos.com"])
@pytest.mark.parametrize("mode", ["daemonset", "sidecar"])
def test_the_monitor_finds_the_pods_that_have_a_daemon(group: str, mode: str) -> None:
    given = AZ | {"mode": mode, "podMonitor": {"enabled": True, "apiGroup": group}, "example": {"enabled": True}}
    found = documents(given)
    (monitor,) = of_kind("PodMonitor", found)
    assert monitor["apiVersion"] == f"{group}/v1"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    matched = [
        document["spec"]["template"]["spec"] for document in found
        if "template" in document.get("spec", {}) and wanted <= document["spec"]["template"]["metadata"]["labels"].items()
    ]  # fmt: skip
    assert len(matched) == 1
    ports = {port["name"] for one in containers(matched[0]) for port in one.get("ports", [])}
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports


@pytest.mark.parametrize("case", CASES)
def test_the_notes_say_who_may_see_names_and_what_acts_at_once(case: str) -> None:
    said = notes(values(case))
    assert "flush_interval" in said
    if values(case).get("mode") != "sidecar":
        assert "names of streams" in said
        assert ("networkPolicy.enabled" in said) is not bool(values(case).get("networkPolicy"))


def test_alerts_have_a_link_where_there_is_a_page_and_none_that_leads_nowhere() -> None:
    for url, expected in (("", False), ("https://example.com/x", True)):
        (rule,) = of_kind("PrometheusRule", documents(AZ | {"prometheusRule": {"enabled": True, "runbookUrl": url}}))
        for alert in rule["spec"]["groups"][0]["rules"]:
            assert ("runbook_url" in alert["annotations"]) is expected
            assert alert["annotations"]["description"]


def test_every_value_is_in_the_schema_and_every_object_of_ours_is_closed() -> None:
    """A name that is mistyped anywhere is refused."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    default = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def look(said: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
        if said.get("additionalProperties") is not False:
            return [path]
        assert value.keys() <= said["properties"].keys(), path
        return [
            wrong
            for name, inner in value.items()
            if isinstance(inner, dict) and "properties" in said["properties"][name]
            for wrong in look(said["properties"][name], inner, f"{path}.{name}")
        ]

    assert look(schema, default, "values") == ["values.securityContext"]  # Kubernetes' own, checked by it


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
