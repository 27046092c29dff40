"""Azurite, the emulator of Azure Blob Storage, as a child process on the loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collectord.errors import CallHuman
from collectord.testing.child import bound

ENTRY = Path("node_modules/azurite/dist/src/blob/main.js")
# The account that Azurite has built in; its documentation gives the key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_OPTIONS = (
    "--silent", "--disableTelemetry", "--skipApiVersionCheck",
    "--blobHost", "127.0.0.1", "--blobPort", "0",
)  # fmt: skip


@dataclass(frozen=True)
class Azurite:
    """A running blob service."""

    port: int
    pid: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def connection_string(self, port: int | None = None) -> str:
        """`port`: that of a proxy in front of the service."""
        return (
            f"DefaultEndpointsProtocol={self.scheme};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.scheme}://127.0.0.1:{port or self.port}/{ACCOUNT};"
        )


@contextmanager
def running(root: Path, *, in_memory: bool = True, certificate: tuple[Path, Path] | None = None) -> Iterator[Azurite]:
    """Azurite as npm installed it under `root`, until the block is left. What it holds is gone then.

    `in_memory`: not for longer than ten minutes. Then it collects its garbage, one piece for each append that it was ever
    sent, and looks through all of them for each: with tens of thousands it answers nobody for minutes.

    `certificate`: a chain and its key. Then it speaks https, and takes tokens too: it looks at what they say, not at who
    signed them.

    Raises:
        CallHuman: node or Azurite is missing, or it does not start; the message says what to do.
    """
    node, entry = shutil.which("node"), (root / ENTRY).resolve()
    if node is None or not entry.exists():
        raise CallHuman(f"Azurite is not installed in {root}: run `make azurite` there; it needs node and npm")
    with tempfile.TemporaryDirectory(prefix="collectord-azurite-") as folder:
        errors = Path(folder) / "stderr"
        where = ("--inMemoryPersistence",) if in_memory else ("--location", folder)
        secure = (
            ("--cert", str(certificate[0]), "--key", str(certificate[1]), "--oauth", "basic") if certificate else ()
        )
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                bound([node, str(entry), *_OPTIONS, *where, *secure]), cwd=folder, stdout=subprocess.PIPE, stderr=stderr
            )
        assert process.stdout is not None
        try:
            found = None
            for line in process.stdout:
                found = re.search(rb"successfully listens on https?://127\.0\.0\.1:(\d+)", line)
                if found:
                    break
            if not found:
                raise CallHuman(f"Azurite did not start: {errors.read_text()[-2000:]}")
            yield Azurite(int(found[1]), process.pid, "https" if certificate else "http")
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()
