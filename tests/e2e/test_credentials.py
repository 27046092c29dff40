"""A credential that ends while rows come in: they stay in the log, and land once it has been replaced; nothing is restarted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from collectord_client import Client

from collectord.testing.azurite import ACCOUNT, KEY, Azurite, running
from collectord.testing.tokens import CLIENT, TENANT, issuing
from tests import sas
from tests.authority import Authority
from tests.conftest import ROOT
from tests.e2e import landed, starting
from tests.e2e.conftest import MakeDaemon
from tests.e2e.waiting import eventually


def test_rows_wait_for_a_sas_that_has_ended_and_land_once_its_file_is_replaced(
    make_daemon: MakeDaemon, folder: Path, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    container, tokens = new_container(), [sas.of_account(hours) for hours in (1, -1, 2)]
    file = folder / "sas"
    file.write_text(tokens[0])
    env = {"COLLECTORD_AZURE_ACCOUNT_URL": f"{azurite.url}/{ACCOUNT}", "COLLECTORD_AZURE_SAS_FILE": str(file)}
    daemon = make_daemon(store=f"az://{container}", env=env, flush_interval=0.1, log_level="debug").start()
    client = Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01)
    inputs = client.collector("inputs", feature_names=["n"])
    inputs.collect(np.arange(100).reshape(-1, 1))
    assert client.flush(30)
    daemon.flush()
    assert landed.container(azurite.connection_string(), container)

    file.write_text(tokens[1])
    inputs.collect(np.arange(100, 200).reshape(-1, 1))
    assert client.flush(30), "they are acknowledged all the same"
    trouble = eventually(lambda: daemon.status()["troubles"], "status shows the trouble")[0]
    assert "the SAS ended at" in trouble["detail"] and str(file) in trouble["detail"]
    shown = [str(daemon.status()), *(daemon.cli(command).stdout for command in ("status", "doctor"))]
    assert all("the SAS ended at" in text for text in shown)

    file.write_text(tokens[2])
    daemon.flush()
    client.close()
    assert daemon.terminate() == 0
    blobs = landed.container(azurite.connection_string(), container)
    assert Counter(int(float(row["n"])) for row in landed.rows(blobs)) == Counter(range(200))
    for token in tokens:
        assert not any(sas.signature(token) in text for text in (*shown, daemon.said()))


def test_secrets_are_shown_nowhere(make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]) -> None:
    """Of each kind one that is refused, while everything is asked that people and machines ask, and the log is at its loudest."""
    key, header, hmac = "AAAA" + KEY[4:], "bearer-0123456789abcdef", "columns-0123456789abcdef"
    env = {
        "COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string().replace(KEY, key),
        "COLLECTORD_OTLP_HEADERS": f"authorization={header}",
        "COLLECTORD_COLUMNS_KEY": hmac,
    }  # fmt: skip
    daemon = make_daemon(
        store=f"az://{new_container()}", env=env, flush_interval=0.1, log_level="debug", otlp_endpoint="http://127.0.0.1:9",
        columns="a=hmac", mdc="127.0.0.1:0", drain_deadline=0,
    ).start()  # fmt: skip
    with Client(model="m", endpoint=daemon.endpoint, linger=0.01) as client:
        client.collector("inputs", feature_names=["n"]).collect([[1.0]])
        assert client.flush(30)
    eventually(lambda: any(one["blocked"] for one in daemon.status()["troubles"]), "the key is refused")
    asked = [daemon.http(path)[1] for path in ("/status.json", "/", "/metrics", "/readyz")]
    given = [f"--{name.replace('_', '-')}={value}" for name, value in daemon.settings.items()]
    spool = ["--spool", str(daemon.spool)]
    commands = (["config", "print", *given], ["doctor", *given], ["status", *spool], ["logs", "default", *spool])
    cases = [{"arguments": command, "env": {}, "uid": -1} for command in commands]
    asked += [one["said"] for one in starting.run(cases, daemon.env)]
    assert all(asked)
    assert daemon.terminate() == 0
    asked += [daemon.said(), (daemon.spool / "messages.jsonl").read_text()]
    assert "replace azure_connection_string" in asked[0] and "**********" in asked[4]
    for text in asked:
        for secret in (key, header, hmac):
            assert secret not in text


def test_rows_wait_while_tokens_are_refused_and_land_when_they_are_good_again(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Workload identity over https, as on AKS: a token that has expired, and an issuer that gives none. Nothing is restarted."""
    authority = Authority(tmp_path)
    files = authority.files("azure", ("127.0.0.1",))
    assertion = tmp_path / "assertion"
    assertion.write_text("assertion-0123456789")
    with running(ROOT, certificate=(files.cert, files.key)) as azure, issuing((files.cert, files.key)) as issuer:
        issuer.lasts = 0
        env = {
            "REQUESTS_CA_BUNDLE": str(authority.ca), "AZURE_AUTHORITY_HOST": issuer.url, "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(assertion),
        }  # fmt: skip
        daemon = make_daemon(
            store="az://modeldata", azure_account_url=f"{azure.url}/{ACCOUNT}", azure_credential="workload", env=env,
            flush_interval=0.1, claim_interval=0.3, switches_interval=0.3, log_level="debug",
        ).start()  # fmt: skip
        shown = []
        with Client(model="m", endpoint=daemon.endpoint, linger=0.01) as client:
            inputs = client.collector("inputs", feature_names=["n"])
            for row, (claims, refusal, says) in enumerate((
                ({"exp": -60}, None, "the token has expired: a fresh one is asked for"),
                ({}, (400, "AADSTS700024: not within its valid time range."), "its federated credential must name"),
            )):  # fmt: skip
                issuer.claims, issuer.refusal = claims, refusal
                eventually(lambda says=says: says in daemon.http("/status.json")[1], says)  # type: ignore[misc]
                shown.append(daemon.http("/status.json")[1])
                inputs.collect([[row]])
                assert client.flush(30), "they are acknowledged all the same"
                assert says in daemon.said(), "the log says it too"
                issuer.claims, issuer.refusal = {}, None
                daemon.flush()
        assert [book.landed for book in daemon.books().values()] == [2]
        token = issuer.token().split(".")[1][:40]
        assert not any(secret in text for secret in ("assertion-0", token) for text in (*shown, daemon.said()))
        assert daemon.terminate() == 0
