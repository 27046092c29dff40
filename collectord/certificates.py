"""The daemon's certificate and key, and the authority of its clients: read again when the files change.

What is broken later does not count: the ones before stay. Safe from any thread: gRPC asks on threads of its own.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from collectord.errors import ConfigError
from collectord.logs import event
from collectord.watch import Seen, seen

MAX_FILE_BYTES = 1 << 20

_log = logging.getLogger("collectord.tls")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, its key, and the authorities of the clients, all as PEM."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    begins: float
    """Seconds since 1970."""
    expires: float
    context: ssl.SSLContext
    """The same for Python's own TLS."""

    def why_not(self, now: float) -> str:
        """Why clients would refuse it now; empty if they would not."""
        if now < self.begins:
            return f"is not valid before {date_of(self.begins)}"
        if now > self.expires:
            return f"expired on {date_of(self.expires)}"
        return ""

    def turns(self, now: float) -> float:
        """When `why_not` says something else next, in seconds since 1970."""
        return next((at for at in (self.begins, self.expires) if now <= at), math.inf)


class Certificates:
    """The pair that counts."""

    def __init__(
        self, cert: Path, key: Path, client_ca: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """Raises ConfigError, which names the setting."""
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._files = [cert, key, *([client_ca] if client_ca is not None else [])]
        self._now = now
        self._lock = threading.Lock()
        self.problem = ""
        """Why the files as they are now do not count."""
        self._seen: Seen = seen(self._files)
        self._pair = _read(cert, key, client_ca)
        why = self._pair.why_not(now())
        self._turns = self._pair.turns(now())
        """When time alone makes another verdict on what was read, in seconds since 1970."""
        if why:
            # Sockets are none the worse for it, so the daemon serves; clients over TLS say the same.
            self.problem = f"tls_cert: {cert} {why}"
            event(_log, logging.ERROR, "the certificate will be refused by clients", why=self.problem)

    @property
    def pair(self) -> Pair:
        """What counts now; looks at the files first."""
        self.look()
        return self._pair

    @property
    def expires(self) -> float:
        """Seconds since 1970."""
        return self._pair.expires

    def look(self) -> None:
        """Reads the files again if they have changed, or if a certificate's time has come or is over since they were read."""
        with self._lock:
            now = seen(self._files)
            if now == self._seen and self._now() < self._turns:
                return
            self._seen, self._turns = now, math.inf
            said = self.problem
            try:
                pair = _read(self._cert, self._key, self._client_ca)
                clock = self._now()
                why = pair.why_not(clock)
                self._turns = min(pair.turns(clock), self._pair.turns(clock))
                if why and not self._pair.why_not(clock):
                    raise ConfigError(f"tls_cert: {self._cert} {why}")
            except ConfigError as error:
                self.problem = str(error)
                event(_log, logging.ERROR, "the certificate cannot be used; the one before stays", why=self.problem)
                return
            self.problem = f"tls_cert: {self._cert} {why}" if why else ""
            if why and why != said:
                event(_log, logging.ERROR, "the certificate will be refused by clients", why=self.problem)
            self._pair = pair
            event(_log, logging.INFO, "the certificate was read again", expires=date_of(pair.expires))

    def context(self) -> ssl.SSLContext:
        """For a server of Python's own that takes one, and asks nobody for a certificate. Each connection gets the pair that counts when
        it comes. Who does ask takes `pair.context` for each: in one that stays, a client whose authority has gone could take up a
        session from before, and nothing would be checked."""

        def latest(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self.pair.context

        made = _context(self._cert, self._key, None)
        made.sni_callback = latest
        return made


def _read(cert: Path, key: Path, client_ca: Path | None) -> Pair:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    chain, secret = _bytes(cert, "tls_cert"), _bytes(key, "tls_key")
    ca = None if client_ca is None else _bytes(client_ca, "tls_client_ca")
    try:
        first = load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise ConfigError(f"tls_cert: {cert} holds no certificate in PEM") from None
    try:
        own = load_pem_private_key(secret, None)
    except TypeError:
        raise ConfigError(f"tls_key: {key} is encrypted; the daemon has no passphrase for it") from None
    except ValueError:
        raise ConfigError(f"tls_key: {key} holds no private key in PEM") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigError(f"tls_key: {key} is not the key of the certificate in {cert}")
    if ca is not None and client_ca is not None:
        try:
            load_pem_x509_certificates(ca)
        except ValueError:
            raise ConfigError(f"tls_client_ca: {client_ca} holds no certificate in PEM") from None
    return Pair(
        chain, secret, ca, first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp(),
        _context(cert, key, client_ca),
    )  # fmt: skip


def _context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key that is encrypted by now would be asked for on a terminal.
        made.load_cert_chain(cert, key, password="")
        if client_ca is not None:
            made.load_verify_locations(client_ca)
            made.verify_mode = ssl.CERT_REQUIRED
            # A certificate is to be judged each time: each session that is taken up would yield a ticket for the next, for ever.
            made.num_tickets = 0
            made.options |= ssl.OP_NO_TICKET
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"tls_cert: {cert} cannot be used: {error.reason if isinstance(error, ssl.SSLError) else error.strerror}") from None  # fmt: skip
    return made


def _bytes(path: Path, field: str) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{field}: {path} cannot be read: {error.strerror}") from None
    if len(found) > MAX_FILE_BYTES:
        raise ConfigError(f"{field}: {path} has more than {MAX_FILE_BYTES} bytes")
    return found


def date_of(seconds: float) -> str:
    """Seconds since 1970, for people."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
