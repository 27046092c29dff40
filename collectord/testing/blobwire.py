"""The blob service as seen on the wire: what a request asks for, and the refusals that an emulator cannot be made to give.

Statuses and codes are those of the REST reference of Azure Blob Storage ("Blob service error codes").
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

OPERATIONS = ("append", "create", "create_container", "length", "read", "list", "other")
"""The seams at which a fault can be planned: the requests of `BlobStore`, and all others."""

REFUSALS: dict[str, tuple[str, str | None]] = {
    "error": ("500 Internal Server Error", None),
    "busy": ("503 Service Unavailable", "ServerBusy"),
    "throttle": ("429 Too Many Requests", None),
    "timed_out": ("500 Operation Timed Out", "OperationTimedOut"),
    "bad_gateway": ("502 Bad Gateway", None),
    "unauthorized": ("401 Unauthorized", "NoAuthenticationInformation"),
    "forbidden": ("403 Forbidden", "AuthorizationPermissionMismatch"),
    "bad_request": ("400 Bad Request", "InvalidHeaderValue"),
    "too_large": ("413 Request Entity Too Large", "RequestBodyTooLarge"),
    "no_blob": ("404 The specified blob does not exist.", "BlobNotFound"),
    "no_container": ("404 The specified container does not exist.", "ContainerNotFound"),
    "not_found": ("404 Not Found", None),
    "being_deleted": ("409 The specified container is being deleted.", "ContainerBeingDeleted"),
    "sealed": ("409 The specified blob is sealed.", "BlobIsSealed"),
    "block_limit": ("409 The committed block count cannot exceed 50,000.", "BlockCountExceedsLimit"),
    "wrong_type": ("409 The blob type is invalid for this operation.", "InvalidBlobType"),
    "immutable": ("409 This operation is not permitted as the blob is immutable.", "BlobImmutableDueToPolicy"),
    "immutable_403": ("403 This operation is not permitted as the blob is immutable.", "BlobImmutableDueToPolicy"),
    "legal_hold": (
        "409 This operation is not permitted as the blob is immutable due to one or more legal holds.",
        "BlobImmutableDueToLegalHold",
    ),
    "archived": ("409 This operation is not permitted on an archived blob.", "BlobArchived"),
    "rehydrated": ("409 This operation is not permitted because the blob is being rehydrated.", "BlobBeingRehydrated"),
    "position": ("412 The append position condition specified was not met.", "AppendPositionConditionNotMet"),
    "etag": ("412 The condition specified was not met.", "ConditionNotMet"),
    "leased": ("412 There is currently a lease on the blob.", "LeaseIdMissing"),
    "lease_mismatch": ("412 The lease ID did not match.", "LeaseIdMismatchWithBlobOperation"),
    "condition": ("412 Precondition Failed", None),
}
"""By name: what is answered without the service being asked. Status line and code; no code: a gateway's own words."""

APPLIED = "applied_"
"""Before the name of a refusal: the request takes effect, and then is refused all the same."""

ASKS_TO_WAIT = frozenset({"busy", "throttle"})
"""Refusals that come with Retry-After."""


def operation(method: str, target: str) -> str:
    """Which of `OPERATIONS` a request line asks for."""
    asked = parse_qs(urlsplit(target).query)
    comp = asked.get("comp", [""])[0]
    match method, comp, "restype" in asked:
        case "PUT", "appendblock", False:
            return "append"
        case "PUT", "", False:
            return "create"
        case "PUT", "", True:
            return "create_container"
        case "HEAD", "", False:
            return "length"
        case "GET", "", False:
            return "read"
        case "GET", "list", _:
            return "list"
        case _:
            return "other"


def refusal(name: str, retry_after: str) -> bytes:
    """The whole answer. `retry_after` goes with those that ask to wait."""
    status, code = REFUSALS[name.removeprefix(APPLIED)]
    head = f"HTTP/1.1 {status}\r\n"
    if code:
        head += f"x-ms-error-code: {code}\r\n"
    if name.removeprefix(APPLIED) in ASKS_TO_WAIT:
        head += f"Retry-After: {retry_after}\r\n"
    return f"{head}Content-Length: 0\r\n\r\n".encode()
