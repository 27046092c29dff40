"""The spool and the store that version 0.1.0 left behind when it was killed: `python -m tests.e2e.golden` makes what is missing.

What lies under `tests/golden/spool/` is what a released version wrote; it is never made again. In it, rows 0 to 99 of the stream
`landed` are in its blob and 50 more wait in the log; of the stream `on-its-way` 50 rows are in a frame whose append had failed;
`wire` is the client's id of both.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from pathlib import Path

import zstandard

from tests.e2e import wire
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

VERSION = "0.1.0"
FILE = Path(__file__).parents[1] / "golden" / "spool" / f"{VERSION}.tar.zst"
CLIENT = b"a golden client!"
LANDED, ON_ITS_WAY = wire.schema("landed"), wire.schema("on-its-way")
BATCHES = ((LANDED, range(100)), (ON_ITS_WAY, range(50)), (LANDED, range(100, 150)))
NOON = 1_795_262_400 * 1_000_000_000
"""2026-11-21T12:00:00Z."""


def make(folder: Path) -> None:
    """Runs a daemon until its spool is as above, and kills it."""
    obstacle = folder / "store" / "default" / "default" / "default" / "default" / "on-its-way"
    daemon = Daemon(folder, flush_interval=3600, segment_bytes=16 << 20, claim_interval=0.2).start()
    try:
        with wire.WireClient(daemon.endpoint, CLIENT) as client:
            for schema in (LANDED, ON_ITS_WAY):
                client.declare(schema)
            client.send(LANDED, range(100), NOON)
            client.wait_acknowledged()
            daemon.flush()
            obstacle.touch()
            client.send(ON_ITS_WAY, range(50), NOON)
            client.wait_acknowledged()
            with daemon.control() as control:
                assert not control.flush(1).complete
            eventually(lambda: daemon.status()["troubles"], "the frame is refused")
            client.send(LANDED, range(100, 150), NOON)
            client.wait_acknowledged()
    finally:
        daemon.kill9()
    obstacle.unlink()


def pack(folder: Path, target: Path) -> None:
    """Spool and store as one file; sockets, locks and the reserve are not worth keeping."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in ("spool", "store"):
            tar.add(
                folder / name, name,
                filter=lambda info: None if info.name in ("spool/admin.sock", "spool/reserve") else info,
            )  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(zstandard.ZstdCompressor(level=19).compress(plain.getvalue()))


def unpack(folder: Path) -> None:
    """Lays spool and store into `folder`."""
    plain = zstandard.ZstdDecompressor().decompress(FILE.read_bytes(), max_output_size=256 << 20)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        tar.extractall(folder, filter="data")


if __name__ == "__main__":
    if not FILE.exists():
        with tempfile.TemporaryDirectory(prefix="cd-") as name:
            began = time.monotonic()
            make(Path(name))
            pack(Path(name), FILE)
            print(f"{FILE}: {FILE.stat().st_size:,} bytes in {time.monotonic() - began:.1f} s")
