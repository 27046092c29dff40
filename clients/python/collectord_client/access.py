"""What a daemon is shown and shows itself: tokens and certificates. All of them are files or variables that somebody replaces while
the process runs, so they are looked up at each attempt to connect."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .endpoint import TLS, chosen

if TYPE_CHECKING:
    from ssl import SSLCertVerificationError, SSLError

LONGEST_TOKEN = 512
WITHIN = 2.0
"""Seconds for each step of finding out why TLS fails."""
EXPLAINED_EVERY = 10.0
_TOKEN = re.compile(r"[!-~]+")

_EXPIRED, _EARLY = 10, 9
_OTHER_NAME = (62, 64)
_UNKNOWN = (2, 18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_…"""


Path = str | os.PathLike[str] | None


class AccessError(ValueError):
    """A token or a certificate that can never work; the message says which, and never what stands in it."""


class Access(NamedTuple):
    """What a client was given; what it was not, the environment says. Clients with equal ones share a connection."""

    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    name: str = ""
    """The name in the daemon's certificate, where it is not that of the endpoint."""

    def __repr__(self) -> str:
        """Without the token, so that no traceback shows it."""
        return f"Access(token={'…' if self.token else ''!r}, ca={self.ca!r}, cert={self.cert!r}, name={self.name!r})"

    @staticmethod
    def of(token: str, ca: Path, cert: Path, key: Path, name: str) -> Access:
        """Checked as far as that can be done now. Raises ValueError."""
        _check_token(token, "token")
        if bool(cert) != bool(key):
            raise ValueError("tls_cert and tls_key belong together: give both, or neither")
        paths = [os.fspath(path) if path else "" for path in (ca, cert, key)]
        return Access(token, paths[0], paths[1], paths[2], name)

    def token_now(self) -> str:
        """The token to show: the one that was given, else COLLECTORD_TOKEN, else what COLLECTORD_TOKEN_FILE holds. Raises
        AccessError."""
        if self.token:
            return self.token
        token = os.environ.get("COLLECTORD_TOKEN", "").rstrip("\r\n")
        if token:
            return _check_token(token, "COLLECTORD_TOKEN")
        path = os.environ.get("COLLECTORD_TOKEN_FILE")
        if not path:
            return ""
        # A line's end belongs to the file.
        token = _read(path, "COLLECTORD_TOKEN_FILE").decode("latin-1").rstrip("\r\n")
        if not token:
            raise AccessError(f"COLLECTORD_TOKEN_FILE: {path} is empty")
        return _check_token(token, f"COLLECTORD_TOKEN_FILE: {path}")

    def speaks_tls(self, endpoint: str | None) -> bool:
        """Whether a connection to `endpoint` is to be one over TLS: `tls://` says so, or an authority that was named."""
        where = chosen(endpoint)
        return where.startswith(TLS) or (
            bool(self._path("ca")) and not where.startswith(("unix:", "dir:")) and where != ""
        )

    def check_plain(self, target: str, token: str) -> None:
        """Raises AccessError where a token would go to another machine in the clear."""
        host = target.rpartition(":")[0].strip("[]")
        if token and not target.startswith("unix:") and not _is_loopback(host):
            raise AccessError(f"a token is sent to other machines over TLS only: endpoint tls://{target}")

    def credentials(self) -> Any:
        """gRPC's, from the files as they are now. Raises AccessError."""
        import grpc

        ca, cert, key = (self._path(name) for name in ("ca", "cert", "key"))
        if bool(cert) != bool(key):
            raise AccessError("COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY belong together: set both, or neither")
        return grpc.ssl_channel_credentials(
            _pem(ca, "tls_ca") if ca else None,
            _pem(key, "tls_key") if key else None,
            _pem(cert, "tls_cert") if cert else None,
        )

    def server_name(self) -> str:
        return self.name or os.environ.get("COLLECTORD_TLS_NAME", "")

    def why_not(self, target: str) -> str:
        """Why TLS with `target`, `host:port`, fails, in a sentence; empty if it does not, or nobody is there. Connects once."""
        import socket
        import ssl

        host, _, port = target.rpartition(":")
        host = host.strip("[]")
        name = self.server_name() or host
        ca, cert, key = (self._path(one) for one in ("ca", "cert", "key"))
        try:
            context = ssl.create_default_context(cafile=ca or None)
            context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
            context.set_alpn_protocols(["h2"])
            if cert:
                context.load_cert_chain(cert, key, password="")
        except (OSError, ValueError) as error:
            return f"TLS: the files of tls_ca, tls_cert and tls_key cannot be used: {getattr(error, 'reason', None) or error}"
        try:
            with (
                socket.create_connection((host, int(port)), WITHIN) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                # With TLS 1.3, the daemon judges our certificate after the handshake has ended here. gRPC then hangs up, mostly
                # without a word; otherwise it would greet.
                if not secured.recv(1):
                    return _refused(target, bool(cert), "it hangs up")
        except ssl.SSLCertVerificationError as error:
            return f"TLS: the certificate of {target} {_verdict(error, name, ca)}"
        except ssl.SSLError as error:
            return _alert(error, target, bool(cert))
        except OSError:
            pass
        return ""

    def why_not_plain(self, target: str) -> str:
        """Whether TLS is spoken at `target`, `host:port`, to which we came without, in a sentence; empty if not. Connects once."""
        import socket
        import ssl

        host, _, port = target.rpartition(":")
        # Nothing is sent there; whose certificate it is will be looked at once somebody has named its authority.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        try:
            with socket.create_connection((host.strip("[]"), int(port)), WITHIN) as plain, context.wrap_socket(plain):
                pass
        except (OSError, ValueError):
            return ""
        return (
            f"TLS: {target} speaks TLS, and this client does not: name the authority of its certificate with tls_ca "
            f"(COLLECTORD_TLS_CA), or the endpoint tls://{target} if this machine trusts it anyway"
        )

    def _path(self, which: str) -> str:
        return getattr(self, which) or os.environ.get(f"COLLECTORD_TLS_{which.upper()}", "")


class Explainer:
    """Finds out why connections fail, but not each time anew."""

    def __init__(self) -> None:
        self._asked = float("-inf")
        self._said = ""

    def why_not(self, access: Access, target: str, secure: bool) -> str:
        now = time.monotonic()
        if now - self._asked >= EXPLAINED_EVERY:
            self._asked = now
            self._said = access.why_not(target) if secure else access.why_not_plain(target)
        return self._said

    def forget(self) -> None:
        """It has worked."""
        self._asked = float("-inf")


def _verdict(error: SSLCertVerificationError, name: str, ca: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "has expired; renew it where the daemon runs"
    if code == _EARLY:
        return "is not valid yet; is one of the clocks wrong?"
    if code in _OTHER_NAME:
        return f"is for another name than {name!r}; use the name that it is for, or tell it: COLLECTORD_TLS_NAME"
    if code in _UNKNOWN:
        where = f"of {ca}" if ca else "that this machine trusts; name its own with COLLECTORD_TLS_CA"
        return f"is signed by no authority {where}"
    return f"cannot be trusted: {error.verify_message}"


def _alert(error: SSLError, target: str, shown: bool) -> str:
    reason = (error.reason or "").upper()
    if "ALERT" in reason:
        return _refused(target, shown, reason)
    return f"TLS: {target} does not speak TLS ({reason})"


def _refused(target: str, shown: bool, how: str) -> str:
    if shown:
        return f"TLS: {target} refuses the certificate of this client ({how}); has it expired, or another authority?"
    return (
        f"TLS: {target} asks for a certificate of this client ({how}): set COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY"
    )


def _check_token(token: str, what: str) -> str:
    """Raises AccessError, without the token."""
    for named, held in (
        ("a NUL", "\0" in token),
        ("a newline", "\n" in token or "\r" in token),
        (f"more than {LONGEST_TOKEN} characters", len(token) > LONGEST_TOKEN),
        ("a blank, or other characters than printable ASCII", bool(token) and not _TOKEN.fullmatch(token)),
    ):
        if held:
            raise AccessError(f"{what}: the token has {named}; it can be none")
    return token


def _pem(path: str, what: str) -> bytes:
    found = _read(path, what)
    if b"-----BEGIN " not in found:
        raise AccessError(f"{what}: {path} holds nothing in PEM")
    return found


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except (OSError, ValueError) as error:
        raise AccessError(f"{what}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
