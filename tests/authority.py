"""An authority of a test's own, and what it signs, as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Files:
    """Where a certificate and its key lie."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; its own lies in `ca`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._authority = trustme.CA(organization_name=name, key_type=trustme.KeyType.ECDSA)
        self.ca = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def sign(
        self, *names: str, begins: datetime = NOW - DAY, ends: datetime = NOW + 30 * DAY, common: str | None = None
    ) -> tuple[bytes, bytes]:
        """Chain and key, PEM."""
        leaf = self._authority.issue_cert(
            *names, not_before=begins, not_after=ends, common_name=common, key_type=trustme.KeyType.ECDSA
        )
        return b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes()

    def files(self, name: str, names: Sequence[str] = ("localhost", "127.0.0.1"), **given: datetime) -> Files:
        """The same as files of that name."""
        found = Files(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        self.replace(found, *self.sign(*names, **given))  # type: ignore[arg-type]
        return found

    @staticmethod
    def replace(files: Files, chain: bytes, key: bytes) -> None:
        """As tools do it that renew certificates: one file after the other, each whole."""
        for path, content in ((files.cert, chain), (files.key, key)):
            fresh = path.with_name(path.name + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)
