"""A credential that ends while rows come in: they stay in the log, and land once it has been replaced; nothing is restarted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from collectord_client import Client

from collectord.testing.azurite import ACCOUNT, KEY, Azurite
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.waiting import eventually


def _sas(hours: float) -> str:
    end = datetime.now(timezone.utc) + timedelta(hours=hours)
    rights = AccountSasPermissions.from_string("racwl")
    return generate_account_sas(ACCOUNT, KEY, ResourceTypes(container=True, object=True), rights, end)


def test_rows_wait_for_a_sas_that_has_ended_and_land_once_its_file_is_replaced(
    make_daemon: MakeDaemon, folder: Path, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    container, sas = new_container(), [_sas(1), _sas(-1), _sas(2)]
    file = folder / "sas"
    file.write_text(sas[0])
    env = {"COLLECTORD_AZURE_ACCOUNT_URL": f"{azurite.url}/{ACCOUNT}", "COLLECTORD_AZURE_SAS_FILE": str(file)}
    daemon = make_daemon(store=f"az://{container}", env=env, flush_interval=0.1, log_level="debug").start()
    client = Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01)
    inputs = client.collector("inputs", feature_names=["n"])
    inputs.collect(np.arange(100).reshape(-1, 1))
    assert client.flush(30)
    daemon.flush()
    assert landed.container(azurite.connection_string(), container)

    file.write_text(sas[1])
    inputs.collect(np.arange(100, 200).reshape(-1, 1))
    assert client.flush(30), "they are acknowledged all the same"
    trouble = eventually(lambda: daemon.status()["troubles"], "status shows the trouble")[0]
    assert "the SAS ended at" in trouble["detail"] and str(file) in trouble["detail"]
    shown = [str(daemon.status()), *(daemon.cli(command).stdout for command in ("status", "doctor"))]
    assert all("the SAS ended at" in text for text in shown)

    file.write_text(sas[2])
    daemon.flush()
    client.close()
    assert daemon.terminate() == 0
    blobs = landed.container(azurite.connection_string(), container)
    assert Counter(int(float(row["n"])) for row in landed.rows(blobs)) == Counter(range(200))
    for token in sas:
        assert not any(token.partition("sig=")[2] in text for text in (*shown, daemon.said()))
