"""What an answer of Azure Blob Storage means for the store, by status and error code; in doubt it is `Unknown`.

Messages and addresses of the SDK may hold signatures and go nowhere. What a person should do about a refusal is said behind it
(remedies.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from collectord.upload.azureaccount import NoToken
from collectord.upload.store import (
    Absent,
    AlreadyExists,
    Blocked,
    Failure,
    NoContainer,
    NotAppendable,
    Unknown,
    WrongPosition,
)

OUTCOMES: Mapping[
    tuple[int, str | None], type[Absent | NoContainer | AlreadyExists | WrongPosition] | NotAppendable | str
] = {
    (404, "BlobNotFound"): Absent,
    (404, "ContainerNotFound"): NoContainer,
    (409, "BlobAlreadyExists"): AlreadyExists,
    (409, "ContainerAlreadyExists"): AlreadyExists,
    (409, "BlockCountExceedsLimit"): NotAppendable("block_limit"),
    (409, "BlobIsSealed"): NotAppendable("sealed"),
    (409, "InvalidBlobType"): NotAppendable("wrong_type"),
    # Lease, position, ETag, and an answer whose code got lost: the length of the blob tells them apart.
    (412, None): WrongPosition,
    # From here on the words of `Blocked`.
    (400, "InvalidAuthenticationInfo"): "forbidden",
    (400, None): "bad_request",
    (401, None): "forbidden",
    (403, "UnauthorizedBlobOverwrite"): AlreadyExists,
    (403, None): "forbidden",
    (404, "ResourceNotFound"): "bad_request",
    (405, None): "bad_request",
    (409, "BlobImmutableDueToPolicy"): "immutable",
    (409, "BlobImmutableDueToLegalHold"): "immutable",
    (409, "BlobArchived"): "immutable",
    (409, "BlobBeingRehydrated"): "immutable",
    (409, "PublicAccessNotPermitted"): "forbidden",
    (409, "FeatureNotSupported"): "bad_request",
    (411, None): "bad_request",
    (413, None): "too_large",
}
"""Status, error code (None: any other, or none at all) to what it means. A status that is not listed is unknown."""

Meaning = Absent | NoContainer | AlreadyExists | WrongPosition | NotAppendable | Blocked | Unknown

_SECRET = re.compile(
    r"(?i)(sig|accountkey|sharedaccesssignature|authorization|access_token|client_assertion|client_secret)"
    r"(['\"]?[=:]\s*['\"]?(?:bearer\s|sharedkey\s)?)[^&;\s'\"]+"
)
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w.-]+")
_URL = re.compile(r"(?i)\burl:\s*\S+|https?://\S+")


def judge(error: Exception) -> Meaning:
    """What an exception of the SDK says about the request, by status and code; in doubt `Unknown`."""
    if not isinstance(error, HttpResponseError) or error.status_code is None:
        # No answer at all. An identity that cannot be had is a refusal, and says so before anything is sent.
        if isinstance(error, NoToken | ClientAuthenticationError):
            return Blocked("credential", redact(str(error)))
        return Unknown(f"{type(error).__name__}: {redact(str(error))}")
    status, code = error.status_code, code_of(error)
    detail = f"{status} {code or 'without a code'}"
    meaning = OUTCOMES.get((status, code)) or OUTCOMES.get((status, None))
    match meaning:
        case None:
            return Unknown(detail, _retry_after(error))
        case str(reason):
            return Blocked(reason, detail)
        case NotAppendable():
            return meaning
        case _:
            return WrongPosition(detail) if meaning is WrongPosition else meaning()


def unless_leased(name: str, meaning: Meaning) -> Meaning:
    """Of a request whose only condition is a tag. A lease refuses with the same status, and would be taken for a conflict:
    whoever meets one reads the tag, finds it as it was, and tries again at once, for ever."""
    if isinstance(meaning, WrongPosition) and "LeaseId" in meaning.detail:
        return Blocked("leased", f"{name}: {meaning.detail}: break the lease that somebody has on it")
    return meaning


def redact(text: str) -> str:
    """A message of the SDK in one line of at most 300 characters, without addresses, signatures, keys and tokens."""
    return _SECRET.sub(r"\1\2***", _TOKEN.sub("***", _URL.sub("…", " ".join(text.split()))))[:300]


def absent_or_failure(meaning: Meaning) -> Failure | None:
    """Of a read: None if there is nothing to be read."""
    match meaning:
        case Absent() | NoContainer():
            return None
        case Blocked() | Unknown():
            return meaning
        case _:
            # A lease or a condition that was never set: an answer that does not belong to a read.
            return Unknown(f"an answer that does not belong to a read: {type(meaning).__name__}")


def code_of(error: HttpResponseError) -> str | None:
    """The service's word for what is wrong, if the answer has one."""
    headers = getattr(error.response, "headers", None) or {}
    code = headers.get("x-ms-error-code") or getattr(error, "error_code", None)
    return str(getattr(code, "value", code)) if code else None


def _retry_after(error: HttpResponseError) -> float | None:
    """Seconds. The form with a date is not taken: it would need a clock that agrees with the store's."""
    headers = getattr(error.response, "headers", None) or {}
    try:
        if (milliseconds := headers.get("x-ms-retry-after-ms")) is not None:
            return float(milliseconds) / 1000
        return float(headers["Retry-After"]) if "Retry-After" in headers else None
    except ValueError:
        return None
