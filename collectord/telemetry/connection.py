"""Which Application Insights resource, where it is, and as whom it is spoken to. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from collectord.address import is_loopback

GLOBAL = "https://dc.services.visualstudio.com"
"""Takes the items of every resource whose connection string is not known, by its instrumentation key."""
TRACK = "/v2.1/track"
CLOUDS = (".applicationinsights.azure.com", ".applicationinsights.azure.us", ".applicationinsights.azure.cn")
"""Where the service may send us on to another of its hosts."""
MAX_REDIRECTS = 5

_KEY = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class BadConnection(ValueError):
    """A connection string that is none. Its text says what is wrong and quotes no part of the key."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where items go."""

    key: str = field(repr=False)
    """The instrumentation key."""
    endpoint: str
    """Without a path of its own at the end."""

    @property
    def url(self) -> str:
        return self.endpoint + TRACK

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc


def of_key(key: str) -> Connection:
    """A bare instrumentation key. Raises BadConnection."""
    return Connection(_key(key, "it"), GLOBAL)


def parse(text: str) -> Connection:
    """`InstrumentationKey=…;IngestionEndpoint=…`, as the portal shows it, in any order; other keys are ignored.

    Raises BadConnection.
    """
    pairs: dict[str, str] = {}
    if text.strip()[:1] in ("'", '"'):
        raise BadConnection("a connection string has no quotation marks around it")
    for part in filter(None, (one.strip() for one in text.split(";"))):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or not name:
            raise BadConnection("a connection string is NAME=VALUE pairs with ; between them")
        if name in pairs:
            raise BadConnection(f"{name} occurs twice")
        pairs[name] = value.strip()
    if pairs.get("authorization", "ikey").lower() != "ikey":
        raise BadConnection("Authorization can only be ikey")
    if "instrumentationkey" not in pairs:
        raise BadConnection("there is no InstrumentationKey= in it; copy it whole from the resource's Overview page")
    endpoint = pairs.get("ingestionendpoint", "")
    if not endpoint and (suffix := pairs.get("endpointsuffix", "")):
        location = pairs.get("location", "")
        endpoint = f"https://{location + '.' if location else ''}dc.{suffix}"
    return Connection(_key(pairs["instrumentationkey"], "InstrumentationKey"), _endpoint(endpoint or GLOBAL))


def redirected(url: str, location: str) -> str | None:
    """Where a redirect of the service may be followed to: another of its own hosts; None: nowhere."""
    try:
        came, goes = urlsplit(url), urlsplit(location)
        host, _ = goes.hostname or "", goes.port
    except ValueError:
        return None
    if goes.scheme != "https" or came.scheme != "https" or goes.username is not None:
        return None
    return location if any(host.endswith(cloud) for cloud in CLOUDS) else None


def _key(text: str, what: str) -> str:
    key = text.strip().lower()
    if not _KEY.fullmatch(key):
        raise BadConnection(f"{what} is no instrumentation key: 8-4-4-4-12 hexadecimal digits")
    return key


def _endpoint(text: str) -> str:
    return check_url(text, "IngestionEndpoint").rstrip("/")


def check_url(text: str, what: str, *, anywhere: bool = False) -> str:
    """An address of HTTP that may carry events: https, or http to this machine (`anywhere`: to any). Raises BadConnection."""
    try:
        address = urlsplit(text)
        host, _ = address.hostname, address.port
    except ValueError:
        raise BadConnection(f"{what} is not the address of a server") from None
    if address.scheme not in ("http", "https") or not host:
        raise BadConnection(f"{what} is not an address such as https://HOST")
    if not text.isprintable() or " " in text:
        raise BadConnection(f"{what} has a blank or a control character in it")
    if address.username is not None or address.password is not None or "?" in text or "#" in text:
        raise BadConnection(f"{what} is an address without user, query and fragment")
    if address.scheme == "http" and not anywhere and not is_loopback(host):
        raise BadConnection(f"{what} must be https: http is allowed to this machine only")
    return text


def parse_headers(text: str) -> dict[str, str]:
    """`NAME=VALUE,NAME=VALUE`. Raises BadConnection, without the values."""
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.isprintable():
            raise BadConnection("headers are NAME=VALUE pairs with commas between them")
        if not value.isascii():
            # Such as the dots of a key that was copied as its page shows it. It could not be sent, and would look like a bad answer.
            raise BadConnection("a header's value has characters that are not ASCII")
        found[name] = value
    return found
