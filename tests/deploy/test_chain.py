"""`helm test`, whose pod is run here: its arguments, its variables and the chart's settings, beside a daemon whose own
directories it does not see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.authority import Authority
from tests.deploy.chart import documents, of_kind, pods, values
from tests.e2e.conftest import folder, make_daemon  # noqa: F401
from tests.e2e.process import Daemon, collectord, environment, free_port

TOKEN = "red-0123456789abcdef"


def doctor(given: dict[str, Any], daemon: Daemon, here: dict[str, str]) -> dict[str, Any]:
    """What the pod's container says of each link, `here` being what its names are called on this machine."""
    found = documents(given)
    ((_, pod),) = [each for each in pods(found) if each[0].endswith("-chain")]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (text,) = [each["data"]["collectord.toml"] for each in of_kind("ConfigMap", found)]

    def called(words: str) -> str:
        for theirs, ours in here.items():
            words = words.replace(theirs, ours)
        return words

    config = daemon.folder / "pod.toml"
    config.write_text(text.replace(given["config"]["store"], str(daemon.folder / "store")), encoding="utf-8")
    arguments = [str(config) if word.endswith(".toml") else word for word in container["args"]]
    variables = {one["name"]: called(one["value"]) for one in container["env"]}
    done = collectord(*arguments, "--json", env=environment(variables))
    links = {link["link"]: link for link in json.loads(done.stdout)}
    assert done.returncode == any(link["ok"] is False for link in links.values()), done.stderr
    return links


def broken(links: dict[str, Any]) -> list[str]:
    return [name for name, link in links.items() if link["ok"] is False]


def test_over_the_socket_it_passes_where_all_is_well_and_fails_where_no_daemon_is(
    make_daemon: Callable[..., Daemon],  # noqa: F811
) -> None:
    daemon = make_daemon().start()
    here = {"/run/collectord/collectord.sock": str(daemon.socket)}
    given = values("socket")
    given.pop("workloadIdentity")  # a directory takes none
    links = doctor(given, daemon, here)
    assert broken(links) == []
    assert links["append"]["ok"] is links["client"]["ok"] is True
    daemon.terminate()
    assert broken(doctor(given, daemon, here)) == ["client"]


def test_over_the_service_it_needs_the_token_of_a_tenant(
    make_daemon: Callable[..., Daemon],  # noqa: F811
    folder: Path,  # noqa: F811
) -> None:
    authority, port = Authority(folder / "pki"), free_port()
    files = authority.files("daemon")
    tenants, token = folder / "tenants.toml", folder / "token"
    tenants.write_text(f'[tenants.red]\ntoken = "{TOKEN}"\n')
    token.write_text(TOKEN)
    daemon = make_daemon(listen=f"0.0.0.0:{port}", tls_cert=files.cert, tls_key=files.key, tenants=tenants).start()
    here = {
        "collectord.production.svc:9807": f"localhost:{port}",
        "/etc/collectord-tls/ca.crt": str(authority.ca),
        "/etc/collectord-token/token": str(token),
    }
    assert broken(doctor(values("service"), daemon, here)) == []
    token.write_text("another-0123456789abcdef")
    assert broken(doctor(values("service"), daemon, here)) == ["client"]
