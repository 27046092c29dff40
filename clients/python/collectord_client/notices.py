"""Messages for people, through logging, seldom, and never with anybody's data in them."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("collectord_client")
log.addHandler(logging.NullHandler())

EVERY = 60.0
_last: dict[str, float] = {}


def say(level: int, key: str, message: str, *values: object, exc_info: BaseException | None = None) -> None:
    """Logs `message`, unless one with the same `key` was logged less than a minute ago."""
    now = time.monotonic()
    if now - _last.get(key, -EVERY) >= EVERY:
        if len(_last) > 1000:
            _last.clear()
        _last[key] = now
        log.log(level, message, *values, exc_info=exc_info)


def once(level: int, key: str, message: str, *values: object) -> None:
    """Logs `message` the first time only."""
    if key not in _last:
        _last[key] = float("inf")
        log.log(level, message, *values)
