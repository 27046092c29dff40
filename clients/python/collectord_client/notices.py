"""Messages for people, through logging, seldom, and never with anybody's data in them."""

from __future__ import annotations

import logging
import math
import time
import traceback

from .errors import CollectError

log = logging.getLogger("collectord_client")
log.addHandler(logging.NullHandler())

EVERY = 60.0
_last: dict[str, float] = {}


def say(level: int, key: str, message: str, *values: object, every: float = EVERY) -> None:
    """Logs `message`, unless one with the same `key` was logged less than `every` seconds ago."""
    now = time.monotonic()
    if now - _last.get(key, -math.inf) >= every:
        if len(_last) > 1000:
            _last.clear()
        _last[key] = now
        log.log(level, message, *values)


def trace(error: BaseException) -> None:
    """Where an error of ours came from, for whoever asks with the level DEBUG. Not its message, which may quote data."""
    if log.isEnabledFor(logging.DEBUG):
        places = "".join(traceback.format_tb(error.__traceback__))
        log.debug("%s at:\n%s", type(error).__name__, places)


def accident(error: Exception) -> CollectError:
    """A mistake of ours, told, as what is counted. Its message may quote the data: it is neither logged nor kept."""
    name = type(error).__name__
    say(logging.ERROR, "internal", "collecting failed: %s (the level DEBUG tells where)", name)
    trace(error)
    return CollectError("internal_error", name)


def once(level: int, key: str, message: str, *values: object) -> None:
    """Logs `message` the first time only."""
    say(level, key, message, *values, every=math.inf)
