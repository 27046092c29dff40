"""docs/quickstart.md works: on this machine for real, elsewhere as far as what it names exists and is accepted.

`make test-wheels` runs the laptop's section with what is built and nothing else, `make vm-test` that of the VM under systemd.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from collectord.cli.main import main
from collectord.config import load
from tests.deploy.chart import documents, of_kind
from tests.docs import quickstart
from tests.environment import without_settings

ROOT = quickstart.ROOT
MANIFESTS = ROOT / "deploy" / "manifests"


def check_collectord(words: list[str]) -> None:
    """A command with these options is there."""
    assert words[0] == "collectord"
    command = main.commands[words[1]]
    command.make_parser(click.Context(command)).parse_args(words[2:])
    if "--config" in words:
        assert words[words.index("--config") + 1] == "/etc/collectord/collectord.toml"


def settings_of(pairs: dict[str, str]) -> Any:
    """As a daemon with this environment has them."""
    named = {name.removeprefix("COLLECTORD_").lower(): value for name, value in pairs.items()}
    named.pop("endpoint", None)
    return load(overrides=named)


def test_the_laptop_prints_what_the_page_shows() -> None:
    environment = without_settings()
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    said = quickstart.on_a_laptop({**environment, "PATH": path}, has_environment=True)
    quickstart.compare(said, quickstart.blocks(quickstart.first_part("A laptop"), "text"))


SAID = "rows  200\nreceived 100  landed 100\nwaiting 0\n"


def test_what_is_shown_is_found_in_what_was_said() -> None:
    quickstart.compare(SAID, ["rows …\n", "…landed 100\n"])


@pytest.mark.parametrize("shown", ["rows 201", "received 100 landed 99", "waiting 0\nreceived 100"])
def test_other_output_would_be_noticed(shown: str) -> None:
    with pytest.raises(AssertionError):
        quickstart.compare(SAID, [shown])


@pytest.mark.parametrize("title", quickstart.SECTIONS)
def test_each_section_ends_with_what_was_tried(title: str) -> None:
    last = quickstart.section(title).strip().split("\n\n")[-1]
    assert re.match(r"\*Tried\*: .+\. \*Not\s+tried\*: .+\.$", last, re.DOTALL)


# ---------------------------------------------------------------- a VM


def test_the_vm_installs_what_is_there_and_asks_what_can_be_asked(tmp_path: Path) -> None:
    script = "".join(quickstart.blocks(quickstart.first_part("A VM"), "sh")).replace("mkdir scoring && cd scoring", "")
    script = re.sub(r"^(python3 -m venv|venv/bin/).*$", "", script, flags=re.MULTILINE)
    calls = [words[1:] for words in quickstart.recorded(script, tmp_path, ["sudo"])]
    installed = {words[-1]: words[-2] for words in calls if words[0] == "install"}
    assert all((ROOT / source).is_file() for source in installed.values())
    unit = (ROOT / installed["/etc/systemd/system/collectord.service"]).read_text(encoding="utf-8")
    assert "ExecStart=/opt/collectord/bin/collectord serve --config /etc/collectord/collectord.toml\n" in unit
    assert "/etc/collectord/collectord.toml" in installed
    asked = [words for words in calls if words[0] == "collectord"]
    assert len(asked) == 4
    for words in asked:
        check_collectord(words)


def test_the_vms_settings_lie_where_the_unit_lets_them(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "systemd" / "collectord.service").read_text(encoding="utf-8")
    assert {"StateDirectory=collectord", "RuntimeDirectory=collectord"} <= set(unit.splitlines())
    (real,) = quickstart.blocks(quickstart.section("A VM"), "toml")
    file = tmp_path / "collectord.toml"
    for text in ((ROOT / "deploy" / "systemd" / "collectord.toml").read_text(encoding="utf-8"), real):
        file.write_text(text, encoding="utf-8")
        settings = load(file)
        assert str(settings.spool).startswith("/var/lib/collectord/")
        assert settings.listen == ("unix:/run/collectord/collectord.sock",)
        assert settings.store.startswith(("/var/lib/collectord/", "az://"))
        assert settings.admin == "127.0.0.1:9808"
    assert settings.azure_credential == "managed"


# ---------------------------------------------------------------- AKS


def given(words: list[str]) -> dict[str, Any]:
    """The values of `--set`."""
    found: dict[str, Any] = {}
    for flag, pair in itertools.pairwise(words):
        if flag == "--set":
            path, _, value = pair.partition("=")
            *above, name = path.split(".")
            inner = found
            for level in above:
                inner = inner.setdefault(level, {})
            inner[name] = {"true": True, "false": False}.get(value, value)
    return found


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_what_aks_is_given_is_accepted_and_each_name_leads_to_something(tmp_path: Path) -> None:
    script = "".join(quickstart.blocks(quickstart.section("AKS"), "sh")).replace("=…", "=name")
    calls = quickstart.recorded(script, tmp_path, ["az", "docker", "helm", "kubectl"])
    (install,) = [words for words in calls if words[:2] == ["helm", "install"]]
    _, _, release, chart = install[:4]
    assert (ROOT / chart / "Chart.yaml").is_file()
    values = given(install)
    found = documents(values)
    for document in found:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)

    # The chart's names, as the other commands say them.
    namespace = option(install, "--namespace")
    named = {f"{document['kind']}/{document['metadata']['name']}".lower() for document in found}
    for words in (words for words in calls if words[0] == "kubectl"):
        assert option(words, "--namespace") == namespace
        assert {word for word in words if re.match(r"(daemonset|deployment)/", word)} <= named, words
        if "--" in words:
            check_collectord(words[words.index("--") + 1 :])
    assert ["helm", "test", release, "--namespace", namespace] in calls
    (account,) = of_kind("ServiceAccount", found)
    (federated,) = [words for words in calls if words[:3] == ["az", "identity", "federated-credential"]]
    assert option(federated, "--subject") == f"system:serviceaccount:{namespace}:{account['metadata']['name']}"

    # The images, as they were built.
    built = [option(words, "--tag") for words in calls if words[:2] == ["docker", "build"]]
    assert [words[2] for words in calls if words[:2] == ["docker", "push"]] == built
    assert built == [f"{values['image']['repository']}:{values['image']['tag']}", values["example"]["image"]]
    targets = [option(words, "--target") for words in calls if "--target" in words]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert targets
    assert all(re.search(rf"^FROM .* AS {target}$", dockerfile, re.MULTILINE) for target in targets)


def test_the_pod_of_the_page_mounts_the_directory_of_the_chart() -> None:
    (text,) = quickstart.blocks(quickstart.section("AKS"), "yaml")
    pod = yaml.safe_load(text)
    (daemonset,) = of_kind("DaemonSet", documents({"config": {"store": "az://c"}}))
    theirs = {volume["name"]: volume for volume in daemonset["spec"]["template"]["spec"]["volumes"]}
    (volume,) = pod["volumes"]
    assert volume["hostPath"] == theirs["socket"]["hostPath"]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "mountPath": "/run/collectord", "readOnly": True}
    ]


# ---------------------------------------------------------------- Azure Container Instances

KNOWN = {
    "": "apiVersion type location name identity properties tags zones",
    "identity": "type userAssignedIdentities",
    "properties": "containers dnsConfig imageRegistryCredentials initContainers ipAddress osType restartPolicy sku subnetIds volumes",
    "properties.containers": "name properties",
    "properties.containers.properties": "command environmentVariables image livenessProbe ports readinessProbe resources "
    "securityContext volumeMounts",
    "properties.containers.properties.environmentVariables": "name value secureValue",
    "properties.containers.properties.livenessProbe": "exec failureThreshold httpGet initialDelaySeconds periodSeconds "
    "successThreshold timeoutSeconds",
    "properties.containers.properties.livenessProbe.httpGet": "httpHeaders path port scheme",
    "properties.containers.properties.ports": "port protocol",
    "properties.containers.properties.resources": "requests limits",
    "properties.containers.properties.resources.requests": "cpu memoryInGB",
    "properties.containers.properties.volumeMounts": "name mountPath readOnly",
    "properties.ipAddress": "ports type dnsNameLabel",
    "properties.ipAddress.ports": "port protocol",
    "properties.subnetIds": "id name",
    "properties.volumes": "name azureFile emptyDir secret",
    "properties.volumes.azureFile": "shareName storageAccountName storageAccountKey readOnly",
    "properties.volumes.emptyDir": "",
}
"""What the API of 2023-05-01 takes, of what one may want here."""
GROUPS = ("aci.yaml", "aci-sidecar.yaml")


def group_of(name: str) -> dict[str, Any]:
    found = yaml.safe_load((MANIFESTS / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def unknown_keys(found: Any, path: str = "") -> list[str]:
    if isinstance(found, list):
        return [wrong for one in found for wrong in unknown_keys(one, path)]
    if not isinstance(found, dict) or path.endswith("userAssignedIdentities"):
        return []
    wrong = [f"{path}.{name}" for name in found if name not in KNOWN[path].split()]
    return wrong + [
        deeper
        for name, value in found.items()
        if name in KNOWN[path].split()
        for deeper in unknown_keys(value, f"{path}.{name}".lstrip("."))
    ]


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["properties"].get("environmentVariables", [])}


@pytest.mark.parametrize("name", GROUPS)
def test_a_container_group_is_what_the_api_knows(name: str) -> None:
    group = group_of(name)
    assert unknown_keys(group) == []
    assert (group["apiVersion"], group["type"]) == ("2023-05-01", "Microsoft.ContainerInstance/containerGroups")
    body = group["properties"]
    volumes = {volume["name"] for volume in body["volumes"]}
    exposed = {port["port"] for port in body["ipAddress"]["ports"]}
    for container in body["containers"]:
        inside = container["properties"]
        assert {"image", "resources"} <= set(inside)
        assert {mount["name"] for mount in inside["volumeMounts"]} <= volumes
        exposed -= {port["port"] for port in inside.get("ports", [])}
        for variable, value in environment_of(container).items():
            assert isinstance(value, str), f"{variable}: the API takes texts alone"
    assert not exposed


def test_a_key_that_the_api_does_not_know_is_found() -> None:
    group = group_of("aci.yaml")
    group["properties"]["containers"][0]["properties"]["volumeMount"] = []
    assert unknown_keys(group) == ["properties.containers.properties.volumeMount"]


def test_the_daemon_of_a_group_has_settings_that_it_understands_and_shares_its_socket() -> None:
    body = group_of("aci-sidecar.yaml")["properties"]
    scoring, daemon = body["containers"]
    settings = settings_of(environment_of(daemon))
    assert (settings.store, settings.azure_credential, settings.flush_interval) == ("az://modeldata", "managed", 5.0)
    probe = daemon["properties"]["livenessProbe"]["httpGet"]
    assert settings.admin == f"0.0.0.0:{probe['port']}"
    assert probe["path"] == "/livez"
    mounts = [{one["mountPath"]: one for one in each["properties"]["volumeMounts"]} for each in (scoring, daemon)]
    assert mounts[0]["/run/collectord"] == {**mounts[1]["/run/collectord"], "readOnly": True}
    assert "/var/lib/collectord" in mounts[1]


def test_what_azure_container_instances_are_given_is_there(tmp_path: Path) -> None:
    text = quickstart.section("Azure Container Instances")
    calls = quickstart.recorded(
        "GROUP=g ACCOUNT=a\n" + "".join(quickstart.blocks(text, "sh")), tmp_path, ["az", "collectord"]
    )
    groups = {}
    for words in calls:
        if words[0] == "collectord":
            check_collectord(words)
        if words[1:3] == ["container", "create"]:
            group = yaml.safe_load((ROOT / option(words, "--file")).read_text(encoding="utf-8"))
            groups[group["name"]] = [one["name"] for one in group["properties"]["containers"]]
    assert len(groups) == len(GROUPS)
    for words in calls:
        if words[1:3] in (["container", "exec"], ["container", "logs"]):
            assert option(words, "--name") in groups
        if words[1:3] == ["container", "exec"]:
            assert option(words, "--container-name") in groups[option(words, "--name")]


def test_the_script_collects_by_itself_as_a_container_of_the_group_would(tmp_path: Path) -> None:
    """With the environment of aci.yaml, whose directories lie here."""
    (container,) = group_of("aci.yaml")["properties"]["containers"]
    environment = without_settings()
    for name, value in environment_of(container).items():
        environment[name] = value.replace("/data", f"{tmp_path}/data").replace("/var/lib", f"{tmp_path}/lib")
    for folder in ("data", "lib/collectord"):
        (tmp_path / folder).mkdir(parents=True)
    said = quickstart.run(f"{sys.executable} - <<'END'\n{quickstart.SCRIPT}END\n", tmp_path, environment, 60)
    assert said == "durable: True 200 rows\n"
    assert len(list((tmp_path / "data" / "modeldata" / "sub").rglob("data.csv.zst"))) == 2
