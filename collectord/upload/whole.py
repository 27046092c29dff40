"""A blob that is written once, whole, whoever tries and how often: its bytes are the same each time."""

from __future__ import annotations

from collectord.upload.store import (
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    BlobStore,
    Blocked,
    Created,
    LengthOutcome,
    NoContainer,
    NotAppendable,
    Unknown,
    WrongPosition,
)


def put_whole(store: BlobStore, blob: str, data: bytes, content_type: str) -> str:
    """Writes what is missing of it. Empty: it is all there; else why not. May be repeated, whatever came of it."""
    at = _begin(store, blob, content_type)
    while isinstance(at, int) and at < len(data):
        match store.append(blob, data[at : at + MAX_APPEND], at):
            case Appended(end):
                at = end
            case WrongPosition():
                # Somebody else has written some of it meanwhile; if not, the blob is leased.
                now = store.length(blob)
                at = "the blob takes nothing" if now == at else _told(now)
            case Absent() | NoContainer():
                at = "the blob is gone again"
            case NotAppendable(reason):
                at = f"{blob} takes no append: {reason}"
            case Blocked() | Unknown() as failure:
                at = failure.detail
    if isinstance(at, str):
        return at
    return "" if at == len(data) else f"{blob} is longer than what belongs there"


def _begin(store: BlobStore, blob: str, content_type: str) -> int | str:
    """The length of the blob, which is made if it is absent; a text: why it is not known."""
    at = store.length(blob)
    if at is not None:
        return _told(at)
    made = store.create(blob, content_type, {})
    if isinstance(made, NoContainer):
        there = store.create_container()
        if isinstance(there, Blocked | Unknown):
            return there.detail
        made = store.create(blob, content_type, {})
    match made:
        case Created():
            return 0
        case AlreadyExists():
            return _told(store.length(blob))
        case NoContainer():
            return "the container is gone again"
        case failure:
            return failure.detail


def _told(length: LengthOutcome) -> int | str:
    match length:
        case int():
            return length
        case None:
            return "the blob is gone again"
        case failure:
            return failure.detail
