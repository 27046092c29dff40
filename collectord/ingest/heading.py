"""The headers of a payload of the v2 SDK: whose rows they are, when they were scored, and under which ids. Pure.

`azureml-ai-monitoring` sends CloudEvents in binary mode: what is known of the rows stands in headers that begin with
`ce-`, those of the caller's context included. docs/mdc.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from collectord.ingest.payload import BadPayload
from collectord.model import Stream

MAX_TRACE = 256
"""Characters of a trace id."""
TYPE_PREFIX: Final = "azureml.inference."
COMPACT_TYPE: Final = "application/octet-stream"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOMENT: Final = re.compile(r"([0-9-]{10}[Tt ][0-9:]{8})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_SECONDS: Final = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,9})[0-9]*)?")
_SOURCE: Final = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.MachineLearningServices"
    r"/workspaces/([^/]+)(?:/onlineEndpoints/([^/]+)(?:/deployments/([^/]+))?)?/?",
    re.IGNORECASE,
)
_SOURCE_PARTS: Final = ("subscription", "resource_group", "workspace", "webservice", "model")
_NAMES: Final = {
    "ce-subscription": "subscription",
    "ce-resource-group": "resource_group",
    "ce-workspace": "workspace",
    "ce-webservice": "webservice",
    "ce-model": "model",
}
"""Headers that name a part of the stream; a caller gives them in his context's headers, without the `ce-`."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the headers say."""

    stream: Stream
    time_ns: int
    correlation_id: str
    """Empty: none was sent."""
    trace: str
    """Empty: none was sent."""


def read_heading(headers: Mapping[str, str], defaults: Stream) -> Heading:
    """The heading of a request.

    Args:
        headers: of the request, looked up without regard to case.
        defaults: the names of a stream whose payloads do not say them.

    Raises:
        BadPayload: one is missing, is not what it should be, or asks for what is not done.
    """
    _check_format(headers)
    kind = _text(headers, "ce-type")
    collection = kind[len(TYPE_PREFIX) :]
    if not kind.lower().startswith(TYPE_PREFIX) or not collection:
        found = f"is {kind[:100]!r}" if kind else "is missing"
        raise BadPayload(f"header ce-type {found}; {TYPE_PREFIX}NAME names the collection")
    trace = _text(headers, "trace-id")
    if len(trace) > MAX_TRACE:
        raise BadPayload(f"header trace-id has {len(trace)} characters; {MAX_TRACE} are allowed")
    return Heading(
        stream=_stream(headers, replace(defaults, designation=collection)),
        time_ns=_time(_text(headers, "ce-time")),
        correlation_id=_text(headers, "ce-x-request-id"),
        trace=trace,
    )


def _check_format(headers: Mapping[str, str]) -> None:
    content_type, *parameters = [part.strip().lower() for part in headers.get("Content-Type", "").split(";")]
    if content_type == COMPACT_TYPE:
        raise BadPayload(
            "this is the compact format (DataFrame.to_string), whose values cannot be read back; "
            "unset AZUREML_MDC_FORMAT_COMPACT where the payloads come from",
            status=415,
        )
    charset = next((part[8:].strip('"') for part in parameters if part.startswith("charset=")), "utf-8")
    if content_type != "application/json" or charset not in ("utf-8", "utf8", "us-ascii"):
        said = headers.get("Content-Type", "")
        raise BadPayload(f"Content-Type is {said[:100]!r}; application/json in UTF-8 is read here", status=415)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadPayload("Content-Encoding is set; send the body as it is", status=415)


def _stream(headers: Mapping[str, str], stream: Stream) -> Stream:
    parts: dict[str, Any] = {}
    source = _SOURCE.fullmatch(_text(headers, "ce-source"))
    if source is not None:
        parts.update((part, text) for part, text in zip(_SOURCE_PARTS, source.groups(), strict=True) if text)
    for header, part in _NAMES.items():
        if text := _text(headers, header):
            parts[part] = text
    version = _text(headers, "ce-model-version")
    if version and version != "default":
        parts["version"] = version
    return replace(stream, **parts) if parts else stream


def _time(text: str) -> int:
    """Nanoseconds since 1970, from seconds or RFC 3339."""
    time_ns = _nanoseconds(text)
    if time_ns is None or not 0 <= time_ns < 1 << 63:
        said = f"is {text[:100]!r}" if text else "is missing"
        raise BadPayload(f"header ce-time {said}; seconds since 1970 or a time as in RFC 3339 are wanted")
    return time_ns


def _nanoseconds(text: str) -> int | None:
    seconds = _SECONDS.fullmatch(text)
    if seconds is not None:
        return int(seconds[1]) * 1_000_000_000 + int((seconds[2] or "").ljust(9, "0"))
    # datetime of Python 3.10 knows neither Z nor other than three or six decimals.
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(found[1].upper() + ("+00:00" if found[3] in "Zz" else found[3]))
        whole = (moment - _EPOCH) // timedelta(seconds=1)
        return whole * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))
    except ValueError:  # no such day or hour
        return None


def _text(headers: Mapping[str, str], name: str) -> str:
    """A header's value, empty if it is missing. Bytes that are not UTF-8 are Latin-1: Python's http.client sends that."""
    text = headers.get(name, "").strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text
