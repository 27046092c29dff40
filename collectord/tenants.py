"""Who comes in, and what he may write: the file of tenants, and whom a token or a certificate names.

Nothing of a token is kept but its SHA-256, and nothing of it is ever told.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectord.errors import ConfigError, Unauthenticated
from collectord.logs import event
from collectord.model import Stream
from collectord.notation import parse_size
from collectord.patterns import StreamPatterns
from collectord.watch import Seen, seen

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 512
MAX_FILE_BYTES = 1 << 20
MAX_TENANTS = 1000
_TOKEN = re.compile(r"[!-~]*")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_LIMITS = ("bytes_per_second", "rows_per_second", "clients", "partitions")
OF_TENANT = ("token", "token_sha256", "token_file", "certificate", "streams", *_LIMITS)
OF_LISTENER = ("named", "streams", *_LIMITS)

_log = logging.getLogger("collectord.tenants")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose rows they are, and what he may do. A limit of 0 is none."""

    name: str = ""
    """Empty for all who do not say who they are."""
    streams: StreamPatterns | None = None
    """What he may write; None: everything."""
    bytes_per_second: int = 0
    rows_per_second: int = 0
    clients: int = 0
    """Connected at a time."""
    partitions: int = 0
    """Open at a time."""

    def may_write(self, stream: Stream) -> bool:
        return self.streams is None or stream in self.streams

    def why_not(self, stream: Stream) -> str:
        """Why he may not write a stream, for him to read; empty if he may."""
        if self.streams is None or stream in self.streams:
            return ""
        who = f"the tenant {self.name}" if self.name else "who names no tenant here"
        names = "/".join(part or "default" for part in (stream.webservice, stream.model, stream.designation))
        return f"{who} may write {', '.join(self.streams.patterns)}, which {names} is not"

    def may_know(self, webservice: str) -> bool:
        """Whether a service may be one of his."""
        return self.streams is None or bool(self.streams.of_service(webservice))


ANYBODY = Tenant()


@dataclass(frozen=True, slots=True)
class Known:
    """What the file says."""

    tenants: tuple[Tenant, ...] = ()
    tokens: tuple[tuple[bytes, Tenant], ...] = ()
    """By the token's digest."""
    certificates: Mapping[str, Tenant] = field(default_factory=dict)
    """By a name of the client's certificate."""
    anybody: Mapping[str, Tenant] = field(default_factory=dict)
    """By listener what those may do who name nobody."""
    named: frozenset[str] = frozenset()
    """Listeners where everybody has to say who he is."""


class Tenants:
    """The tenants as their file says, read again when it changes. A file that is wrong later changes nothing. Belongs to the
    event loop, but for `problem`."""

    def __init__(self, path: Path | None = None, reachable: Iterable[str] = ()) -> None:
        """`reachable`: listeners that other machines reach; there everybody has to be named, if there is a file.

        Raises:
            ConfigError: the file is wrong.
        """
        self._path = path
        self._reachable = frozenset(reachable)
        self._known = Known()
        self._seen: Seen = ()
        """Of the files before they were read, so that no change of theirs is missed."""
        self._files: tuple[Path, ...] = ()
        """Those of tokens that the file names as it is now, even if it does not count for want of one of them."""
        self.problem = ""
        """Why the file as it is now does not count."""
        if path is not None:
            self._known = read(path)

    @property
    def names(self) -> list[str]:
        return [tenant.name for tenant in self._known.tenants]

    def look(self) -> bool:
        """Reads the file again if it, or a file of tokens, has changed. Returns whether something else counts now."""
        if self._path is None:
            return False
        now = seen((self._path, *self._files))
        if now == self._seen:
            return False
        named: list[Path] = []
        said, self.problem = self.problem, ""
        try:
            known = read(self._path, named)
        except ConfigError as error:
            self.problem = str(error)
        # Files that are named for the first time were not looked at before they were read.
        self._seen = now if self._files == tuple(named) else ()
        self._files = tuple(named)
        if self.problem:
            if self.problem != said:
                event(_log, logging.ERROR, "the tenants' file is wrong; what it said before counts", why=self.problem)
            return False
        if said:
            event(_log, logging.INFO, "the tenants' file is good again")
        changed = known != self._known
        self._known = known
        if changed:
            event(_log, logging.INFO, "the tenants' file was read again", tenants=len(known.tenants))
        return changed

    def digest(self, token: str) -> bytes:
        """What is kept of a token that somebody says; empty where there is none, or none is asked for.

        Raises:
            Unauthenticated: it can be none.
        """
        if not token or self._path is None:
            return b""
        why = _why_no_token(token)
        if why:
            raise Unauthenticated(f"the token {why}; is it the one that you were given?")
        return hashlib.sha256(token.encode()).digest()

    def who(self, listener: str, digest: bytes, certificate: Sequence[str] = ()) -> Tenant:
        """The tenant whose token has this digest, else whom a name of his certificate names, else anybody.

        Raises:
            Unauthenticated: the token is nobody's, or there is none and one is needed.
        """
        known = self._known
        if digest and known.tokens:
            found = None
            # All are compared, whichever it is: the time tells nothing.
            for one, tenant in known.tokens:
                if hmac.compare_digest(one, digest):
                    found = tenant
            if found is None:
                raise Unauthenticated("the token is not known here; it may have been replaced or withdrawn")
            return found
        for name in certificate:
            if name in known.certificates:
                return known.certificates[name]
        if listener in known.named or (self._path is not None and listener in self._reachable):
            raise Unauthenticated(
                "this listener needs a token: set COLLECTORD_TOKEN or COLLECTORD_TOKEN_FILE where the client runs"
            )
        return known.anybody.get(listener, ANYBODY)


def read(path: Path, named: list[Path] | None = None) -> Known:
    """What a file of tenants says. `named` is given the files of tokens that it names, up to one that is wrong. Raises ConfigError,
    which names the place and never a token."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"tenants: {path} has more than {MAX_FILE_BYTES} bytes")
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"tenants: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"tenants: {path} is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # Which line, but not what stands there, as some messages would say.
        place = re.search(r"\(at [^()]*\)$", str(error))
        raise ConfigError(f"tenants: {path} is not TOML {place[0] if place else ''}".rstrip()) from None
    try:
        return _Reader(path, [] if named is None else named).read(document)
    except ValueError as error:
        raise ConfigError(f"tenants: {path}: {error}") from None


class _Reader:
    """One reading of the file. Its methods raise ValueError."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        self._directory = path.absolute().parent
        self._files = files
        self._tokens: dict[bytes, Tenant] = {}
        self._certificates: dict[str, Tenant] = {}

    def read(self, document: dict[str, Any]) -> Known:
        _only(document, ("tenants", "listeners"), "the file")
        tenants = []
        for name, said in _table(document.get("tenants", {}), "tenants").items():
            tenants.append(self._tenant(name, _table(said, f"tenants.{name}")))
        if not document:
            raise ValueError("it is empty; [tenants.NAME] names one")
        if len(tenants) > MAX_TENANTS:
            raise ValueError(f"{len(tenants)} tenants; {MAX_TENANTS} are allowed")
        anybody, named = {}, set()
        for address, said in _table(document.get("listeners", {}), "listeners").items():
            place = f'listeners."{address}"'
            _only(_table(said, place), OF_LISTENER, place)
            if not isinstance(said.get("named", False), bool):
                raise ValueError(f"{place}.named: true or false")
            if said.get("named", False):
                named.add(address)
            anybody[address] = Tenant("", *_rights(said, place))
        return Known(
            tuple(tenants),
            tuple(self._tokens.items()),
            self._certificates,
            anybody,
            frozenset(named),
        )

    def _tenant(self, name: str, said: dict[str, Any]) -> Tenant:
        place = f"tenants.{name}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{place!r}: a tenant's name has 1 to 64 letters, digits, dots, dashes and underscores")
        _only(said, OF_TENANT, place)
        tenant = Tenant(name, *_rights(said, place))
        found = [*self._digests(said, place)]
        certificates = _texts(said.get("certificate", ()), f"{place}.certificate")
        if not found and not certificates:
            raise ValueError(f"{place}: it has neither token, token_sha256, token_file nor certificate")
        for digest in found:
            self._claim(self._tokens, digest, tenant, "a token")
        for one in certificates:
            self._claim(self._certificates, one, tenant, f"the certificate {one!r}")
        return tenant

    @staticmethod
    def _claim(known: dict[Any, Tenant], key: Any, tenant: Tenant, what: str) -> None:
        other = known.setdefault(key, tenant)
        if other.name != tenant.name:
            raise ValueError(f"tenants.{tenant.name}: {what} is also that of tenants.{other.name}")

    def _digests(self, said: dict[str, Any], place: str) -> Iterator[bytes]:
        for token in _texts(said.get("token", ()), f"{place}.token"):
            yield _digest(token, f"{place}.token")
        for digest in _texts(said.get("token_sha256", ()), f"{place}.token_sha256"):
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"{place}.token_sha256: 64 hexadecimal digits, as sha256sum prints them")
            yield bytes.fromhex(digest)
        for name in _texts(said.get("token_file", ()), f"{place}.token_file"):
            path = self._directory / name
            self._files.append(path)
            try:
                with path.open("rb") as file:
                    raw = file.read(LONGEST_TOKEN + 3)
            except OSError as error:
                raise ValueError(f"{place}.token_file: {path} cannot be read: {error.strerror}") from None
            # A line's end belongs to the file and not to the token.
            yield _digest(raw.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1"), f"{place}.token_file: {path}")


def _rights(said: dict[str, Any], place: str) -> tuple[StreamPatterns | None, int, int, int, int]:
    streams = None
    if "streams" in said:
        try:
            streams = StreamPatterns(_texts(said["streams"], f"{place}.streams"))
        except ValueError as error:
            raise ValueError(f"{place}.streams: {error}") from None
        if not streams:
            raise ValueError(f"{place}.streams: name at least one; */*/* for all, which is also what counts without it")
    limits = []
    for name in _LIMITS:
        try:
            value = parse_size(said.get(name, 0))
        except ValueError as error:
            raise ValueError(f"{place}.{name}: {error}") from None
        if not isinstance(value, int) or isinstance(value, bool) or value < (1 if name in said else 0):
            raise ValueError(f"{place}.{name}: a whole number above 0; leave it out for no limit")
        limits.append(value)
    return streams, limits[0], limits[1], limits[2], limits[3]


def _digest(token: str, place: str) -> bytes:
    why = _why_no_token(token)
    if why:
        raise ValueError(f"{place}: it {why}")
    return hashlib.sha256(token.encode()).digest()


def _why_no_token(token: str) -> str:
    if not token:
        return "is empty"
    if len(token) > LONGEST_TOKEN:
        return f"has more than {LONGEST_TOKEN} characters"
    for what, held in (
        ("a NUL", "\0" in token),
        ("a newline", "\n" in token or "\r" in token),
        ("a blank", " " in token),
    ):
        if held:
            return f"holds {what}"
    if not _TOKEN.fullmatch(token):
        return "holds characters other than printable ASCII"
    if len(token) < SHORTEST_TOKEN:
        return f"has fewer than {SHORTEST_TOKEN} characters"
    return ""


def _table(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: a table is needed")
    return value


def _texts(value: object, place: str) -> tuple[str, ...]:
    """A text, or several."""
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, str) for one in several):
        raise ValueError(f"{place}: a text or a list of texts")
    return tuple(several)


def _only(said: Mapping[str, object], allowed: Sequence[str], place: str) -> None:
    for name in said:
        if name not in allowed:
            raise ValueError(f"{place}: there is no {name!r}; there are {', '.join(allowed)}")
