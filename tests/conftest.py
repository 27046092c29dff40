"""Services that several rooms test against."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
AZURITE = ROOT / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
# The account that Azurite has built in; its documentation gives the key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Azurite:
    """A running blob service on the loopback, in memory."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection_string(self, port: int | None = None) -> str:
        """`port`: that of a proxy in front of the service."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port or self.port}/{ACCOUNT};"
        )


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite for the whole session; tests keep apart by using containers of their own."""
    node = shutil.which("node")
    if node is None or not AZURITE.exists():
        pytest.fail(
            "Azurite is not installed: run `make test`, which does `npm ci` (it needs node and npm)", pytrace=False
        )
    options = (
        "--inMemoryPersistence --silent --disableTelemetry --skipApiVersionCheck --blobHost 127.0.0.1 --blobPort 0"
    )
    errors = tmp_path_factory.mktemp("azurite") / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [node, str(AZURITE), *options.split()], cwd=errors.parent, stdout=subprocess.PIPE, stderr=stderr
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(rb"successfully listens on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail(f"Azurite did not start: {errors.read_text()[-2000:]}", pytrace=False)
        yield Azurite(int(found[1]), process.pid)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def new_container() -> Callable[[], str]:
    """Names for containers that no other test uses."""
    return lambda: f"c{uuid.uuid4().hex}"
