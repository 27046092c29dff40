"""One `service set` reaches the clients of every node, and nothing that was acknowledged before is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collectord_client import Client, Request
from collectord_client.azureml import AksWebservice, Webservice

from collectord.errors import CallHuman
from collectord.switches import DOCUMENT
from collectord.testing.azurite import Azurite
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, collectord
from tests.e2e.waiting import eventually


def client_of(daemon: Daemon, webservice: str = "svc", **options: Any) -> Client:
    return Client("m", "1", webservice, endpoint=daemon.endpoint, linger=0.05, **options)


def collects(client: Client) -> Callable[[], bool]:
    return lambda: bool(client.stats()["collecting"])


def switch(*words: str, env: dict[str, str] | None = None) -> str:
    done = collectord("service", "set", "svc", *words, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("where", ["directory", "azurite"])
def test_a_switch_reaches_every_node_without_a_restart(
    make_daemon: MakeDaemon, folder: Path, request: pytest.FixtureRequest, where: str
) -> None:
    settings: dict[str, Any] = {"store": folder / "store", "switches_interval": 0.5, "flush_interval": 3600}
    if where == "azurite":
        azurite: Azurite = request.getfixturevalue("azurite")
        container = request.getfixturevalue("new_container")()
        settings |= {
            "store": f"az://{container}",
            "env": {"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()},
        }
    near, far = make_daemon(**settings).start(), make_daemon(**settings).start()
    here, there, other = client_of(near), client_of(far), client_of(far, "other")
    for client in (here, there, other):
        client.collect([[1.0]])
        assert client.flush(30)
    told = switch("--collect-model-data=false", "--sampling", "inputs=0.5", "--spool", str(near.spool))
    assert told == 'svc: {"collect_model_data": false, "sampling": {"inputs": 0.5}} (version 1)\n'
    for client in (here, there):
        eventually(lambda: not collects(client)(), "its clients hear of it")  # noqa: B023
        client.collect([[2.0]])
    assert collects(other)()
    near.kill9()
    near.start()
    with near.control() as control:
        assert control.switches()["version"] == 1
    switch("--collect-model-data=default", "--sampling", "inputs=default", "--spool", str(far.spool))
    for client in (here, there):
        eventually(collects(client), "its clients hear of it")
        client.collect([[3.0]])
        assert client.flush(20)
        client.close()
    other.close()
    for daemon in (near, far):
        daemon.flush()
    rows = landed.rows(
        landed.container(azurite.connection_string(), container)
        if where == "azurite"
        else landed.directory(folder / "store")
    )
    values = sorted(row["column_1"] for row in rows)
    assert values == ["1.0", "1.0", "1.0", "3.0", "3.0"]


def test_without_a_daemon_the_store_is_written_to(
    make_daemon: MakeDaemon, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line and by `Webservice`, who lose nothing of each other's changes."""
    store, nobody = folder / "store", ("--spool", str(folder / "nobody"))
    switch("--enable-app-insights=true", "--store", str(store), *nobody)
    for name, value in (("STORE", store), ("SPOOL", folder / "nobody")):
        monkeypatch.setenv(f"COLLECTORD_{name}", str(value))
    service = Webservice(object(), "svc")
    service.update(collect_model_data=False)
    service.update(sampling={"inputs": 0.5, "labels": None})
    document = json.loads((store / DOCUMENT).read_bytes())
    assert document["services"] == {
        "svc": {"collect_model_data": False, "enable_app_insights": True, "sampling": {"inputs": 0.5}}
    }
    assert document["version"] == 3
    daemon = make_daemon(store=store).start()
    client = client_of(daemon)
    client.collect([[1.0]])
    assert client.flush(30)
    assert client.stats()["dropped"] == {"switched_off": 1}
    monkeypatch.setenv("COLLECTORD_SPOOL", str(daemon.spool))
    AksWebservice.deploy_configuration(collect_model_data=True, cpu_cores=1).apply(None, "svc")
    eventually(collects(client), "the daemon was asked, and tells its clients at once")
    client.close()
    with pytest.raises(CallHuman, match="fraction between 0 and 1"):
        Webservice(None, "svc").update(sampling={"inputs": 7})
    assert "collect_model_data" in collectord("service", "show", "svc", "--spool", str(daemon.spool)).stdout


def test_the_switch_for_events_is_told_to_clients_and_shown(make_daemon: MakeDaemon, folder: Path) -> None:
    daemon = make_daemon(store=folder / "store", telemetry_default="true").start()
    client = client_of(daemon)
    client.collect([[1.0]])
    assert client.flush(30)
    assert client._outbox.board.switches.sends_events("svc", None)
    switch("--enable-app-insights=false", "--spool", str(daemon.spool))
    eventually(lambda: not client._outbox.board.switches.sends_events("svc", True), "its client hears of it")
    shown = collectord("service", "show", "--spool", str(daemon.spool)).stdout.splitlines()
    assert shown == [
        'svc: {"enable_app_insights": false} (events off for all of its pods)',
        "where neither a service nor its pods say so: collecting on, events on",
        "version 1",
    ]
    with daemon.control() as control:
        assert control.status()["switches"]["telemetry_default"] is True
    client.close()


def test_a_recipe_reaches_clients_and_what_it_selects_lands(make_daemon: MakeDaemon, folder: Path) -> None:
    """Where collecting is off, for a request that its prediction selects, and for one that fails."""
    daemon = make_daemon(store=folder / "store", collect_default="false", flush_interval=3600).start()
    spool = ("--spool", str(daemon.spool))
    client = client_of(daemon)
    client.collect([[0.0]])
    assert client.flush(30)

    def holds(id: str) -> Callable[[], bool]:
        def told() -> bool:
            recipe = client.stats()["recipe"]
            return recipe is not None and recipe["id"] != id and recipe["holds"]

        return told

    def capture(*words: str, env: dict[str, str] | None = None) -> Any:
        return collectord("service", "capture", "svc", *words, *spool, env=env)

    def score(value: float, prediction: float) -> None:
        with Request():
            client.collect([[value]])
            if prediction < 0:
                raise ValueError("no")
            client.collect([[prediction]], "predictions", ["score"])

    told = capture("--where", "score > 0.9", "--requests", "2", "--for", "2h")
    assert "each client collects 2 requests" in told.stderr
    said = json.loads(told.stdout.removeprefix("svc: ").partition(" (")[0])["capture"]
    assert (said["where"], said["requests"]) == ("score > 0.9", 2)
    eventually(holds(""), "its client hears of it")
    for value, prediction in (1.0, 0.5), (2.0, 0.95), (3.0, 0.1), (4.0, 0.99), (5.0, 0.99):
        score(value, prediction)
    assert not client.stats()["collecting"]
    first = client.stats()["recipe"]["id"]
    assert capture("--failed").returncode == 0
    eventually(holds(first), "its client hears of it")
    score(6.0, 0.99)
    with pytest.raises(ValueError, match="no"):
        score(7.0, -1.0)
    capture("--stop")
    eventually(lambda: client.stats()["recipe"] is None, "its client hears of it")
    score(8.0, 0.99)
    assert client.flush(30)
    client.close()
    daemon.flush()
    rows = landed.rows(landed.directory(folder / "store"))
    assert sorted(row["column_1"] for row in rows if "column_1" in row) == ["2.0", "4.0", "7.0"]
    assert sorted(row["score"] for row in rows if "score" in row) == ["0.95", "0.99"]
    assert [row["error_type"] for row in rows if "error_type" in row] == ["ValueError"]
    assert len(rows) == 6
    for words, why in [
        (("--where", "score >> 1"), "'>>' at character 7 is not a comparison"),
        (("--requests", "5", "--until", "2020-01-01T00:00:00Z"), "lies in the past"),
        (("--requests", "-5"), "-5"),
        (("--stop", "--failed"), "or --stop alone"),
        (("--failed", "--for", "soon"), "'soon' is no time such as"),
        (("--failed", "--for", "999999999d"), "'999999999d' is no time such as"),
        ((), "give --requests, --where or --failed"),
    ]:
        refused = capture(*words)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr


def test_a_switch_for_one_node_needs_its_daemon(make_daemon: MakeDaemon, folder: Path) -> None:
    near, far = (make_daemon(store=folder / "store").start() for _ in range(2))
    here, there = client_of(near), client_of(far)
    for client in (here, there):
        client.collect([[1.0]])
        assert client.flush(30)
    switch("--collect-model-data=false", "--here", "--spool", str(near.spool))
    eventually(lambda: not collects(here)(), "its client hears of it")
    assert not (folder / "store" / DOCUMENT).exists()
    assert collects(there)()
    for client in (here, there):
        client.close()
    refused = collectord("service", "set", "svc", "--collect-model-data=false", "--here", "--spool", str(folder))
    assert refused.returncode == 2
    assert "only a daemon can be told so" in refused.stderr


def test_what_is_not_allowed_is_rejected_also_from_clients_that_do_not_ask(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(collect_only="svc/m/labels").start()
    client = client_of(daemon)
    inputs, labels = client.collector("inputs"), client.collector("labels")
    context = inputs.collect([[1.0]])
    labels.collect([[1.0]], context=context)
    assert client.flush(30)
    assert client.stats()["dropped"] == {"switched_off": 1}
    assert client.stats()["acknowledged"] == 1
    assert not inputs.collecting
    client.close()
