"""Chooses the core of `collect()`: the hot end, one array of a kind that was seen before on its short way into an open page.

It exists twice, name for name: in Python, in `pure/`, and compiled in `_core.pyx`, which takes its place where it was built.
`CORE` says which one is active. COLLECTORD_CLIENT_PURE=1 keeps to Python, and so does an interpreter without a GIL: the
compiled one appends to a page without a lock because nobody else runs meanwhile.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import request as requests
from .notices import once
from .pure.context import Context, Pending
from .pure.ids import Uuid7
from .pure.short import NO_SHAPE, CorrelationId, RequestId, Shape, ShortWay, Timestamp, Told, columns_of, only_block
from .pure.tray import HOUR, LARGE, REQUEST_BYTES, Lock, Sheet, Slot, Tray
from .pure.value import CORRELATION, REQUEST, TIMESTAMP, Correlations, ValueWay, describe, text_of

__all__ = [
    "CORE", "CORRELATION", "HOUR", "LARGE", "NO_SHAPE", "REQUEST", "REQUEST_BYTES", "TIMESTAMP", "Context", "CorrelationId",
    "Correlations", "Lock", "Pending", "RequestId", "Shape", "Sheet", "ShortWay", "Slot", "Timestamp", "Told", "Tray",
    "Uuid7", "ValueWay", "columns_of", "describe", "only_block", "text_of",
]  # fmt: skip

CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
CORE = "pure"
"""Which one is active: "compiled" or "pure"."""


def _kernel_does() -> bool:
    """True where the kernel keeps time by the processor's counter, which then runs evenly on all cores."""
    try:
        return CLOCK.read_text().strip() == "tsc"
    except OSError:
        return False


if (
    not TYPE_CHECKING
    and os.environ.get("COLLECTORD_CLIENT_PURE", "") in ("", "0")
    and getattr(sys, "_is_gil_enabled", lambda: True)()
):
    try:
        # Not by `from . import`: that says of a module that is not there what it says of a circle of imports.
        _core = importlib.import_module("._core", __package__)
    except ModuleNotFoundError:
        # It was not built: there was no compiler.
        pass
    except ImportError as error:
        once(logging.WARNING, "core", "the compiled core cannot be loaded: %s", error)
    else:
        from ._core import (
            CORRELATION,
            NO_SHAPE,
            REQUEST,
            TIMESTAMP,
            Context,
            Correlations,
            Lock,
            Pending,
            Sheet,
            ShortWay,
            Slot,
            Tray,
            Uuid7,
            ValueWay,
            describe,
            only_block,
            text_of,
        )

        _core.find_requests_by(requests._current, requests._of_flask)
        _core.keep_time_by_ticks(_kernel_does())
        CORE = "compiled"
