"""What is stored of a request that failed: one row for each of its inputs, with the error."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client
    from .context import Context

VARIABLE = "COLLECTORD_ERRORS"
DESIGNATION = "errors"
NAMES = ("error_type", "error_message")
LONGEST = 1000
"""Characters of a message."""
ALTOGETHER = 64 << 10
"""Characters of the messages of a request: each of its rows has it."""
SHORTEST = 100

FULL, TYPES, OFF = "full", "types", "off"

_clients: dict[object, list[weakref.ref[Client]]] = {}
"""The clients of each model, by where its inputs wait for their predictions."""


def read(given: str | None) -> str:
    """What was given, else what the environment says. Raises ValueError."""
    found, name = (given, "errors") if given is not None else (os.environ.get(VARIABLE, "").strip().lower(), VARIABLE)
    if found == "":
        return FULL
    if found not in (FULL, TYPES, OFF):
        raise ValueError(f'{name} is "full", "types" (without the messages) or "off", not {found!r}')
    return found


def join(pending: object, client: Client) -> None:
    """Another client of a model."""
    _clients[pending] = [*(one for one in _clients.get(pending, ()) if one() is not None), weakref.ref(client)]


def clients(pending: object) -> list[Client]:
    """Those of a model that take rows."""
    return [client for one in _clients.get(pending, ()) if (client := one()) is not None and client.takes]


def store(pending: object, error: BaseException | str, context: Context) -> None:
    """The request of these inputs has failed: one of the model's clients stores it."""
    living = clients(pending)
    if living:
        # There may be one for a collection of its own beside that for the model.
        min(living, key=lambda client: client.collection).failed(error, context)


def describe(error: BaseException | str, rows: int, messages: bool) -> list[list[str | None]]:
    """The rows of `NAMES`. Of an error that is a text, the type is what stands before the first colon."""
    message: str | None
    if isinstance(error, BaseException):
        error = raised(error)
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        message = _text(error) if messages else None
    else:
        name, colon, told = str(error).partition(": ")
        message = told if colon and messages else None
    longest = max(SHORTEST, min(LONGEST, ALTOGETHER // rows))
    return [[_sound(name[:LONGEST]), None if message is None else _sound(message[:longest])]] * rows


def raised(error: BaseException) -> BaseException:
    """What a script raised: the inference server of Azure ML wraps it."""
    try:
        inner = getattr(error, "user_ex", None)
    except Exception:  # noqa: BLE001
        # It is asked between the host and its own error, as in `is_failure`.
        return error
    return inner if isinstance(inner, BaseException) else error


def is_failure(error: BaseException | None) -> bool:
    """True for what ends a request as a failure: not for the end of a generator, nor for an answer such as 404."""
    if not isinstance(error, Exception) or isinstance(error, (StopIteration, StopAsyncIteration)):
        return False
    try:
        status = getattr(error, "status_code", getattr(error, "code", None))
        # What another service has answered is no answer of this one: a feature store's 404 breaks the request.
        foreign = (
            isinstance(error, OSError) or hasattr(error, "request_info") or getattr(error, "response", None) is not None
        )
    except Exception:  # noqa: BLE001
        # It is asked between the host and its own error: whatever its attributes do, it stays that error.
        return True
    return foreign or not (isinstance(status, int) and 100 <= status < 500)


def _text(error: object) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001
        return f"(its text failed with {type(broken).__name__})"


def _sound(text: str) -> str:
    """Without half surrogate pairs, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode()
