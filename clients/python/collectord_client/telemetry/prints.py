"""`print`, each to stdout a trace. It prints as ever, to whatever file, and fails as ever."""

from __future__ import annotations

import builtins
import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import wording
from .audience import prints

if TYPE_CHECKING:
    from .reporter import Reporter

SERVER = "azmlinfsrv.print"
"""Under this name the inference server of Azure ML, from 1.0 on, logs what a script prints: it has put its own function in
the place of `print`, maybe after ours."""


class _Here(threading.local):
    printing = False
    """This thread is printing, and the trace of it is ours to tell."""


_here = _Here()
_hooked: Callable[..., None] | None = None
_tapped = False


def capture(client: Reporter) -> None:
    """From now on each print to stdout is a trace of `client`."""
    global _tapped
    prints.join(client)
    _hook()
    if not _tapped:
        _tapped = True
        # Not a handler: these are replaced when the server configures logging.
        logging.getLogger(SERVER).addFilter(_tap)


def release(client: Reporter) -> None:
    """No more; with the last one `print` is what it was, if it is still ours to say."""
    global _hooked
    prints.leave(client)
    if not prints.clients and _hooked is not None and builtins.print is _hooked:
        builtins.print = _hooked.__wrapped__  # type: ignore[attr-defined]
        _hooked = None


def printing() -> bool:
    """Whether this thread is in the middle of a print that is told anyway."""
    return _here.printing


def _hook() -> None:
    global _hooked
    previous = builtins.print
    if previous is _hooked:
        return

    @functools.wraps(previous)
    def print(*objects: Any, sep: Any = " ", end: Any = "\n", file: Any = None, flush: Any = False) -> None:
        out = sys.stdout
        if (file is not None and file is not out) or out is None or not prints.clients or _here.printing:
            previous(*objects, sep=sep, end=end, file=file, flush=flush)
            return
        if len(objects) == 1 and type(objects[0]) is str:
            text = objects[0]
        else:
            try:
                # Once, and before anything is written: a text may be another one the next time.
                text = (" " if sep is None else sep).join(map(str, objects))
            except Exception:  # noqa: BLE001
                # It fails as it would without us, and with what it would have written by then.
                previous(*objects, sep=sep, end=end, file=file, flush=flush)
                return
        _here.printing = True
        try:
            previous(text, sep=sep, end=end, file=file, flush=flush)
        finally:
            _here.printing = False
        for client in prints.clients:
            client._printed(text)

    builtins.print = _hooked = print


def _tap(record: logging.LogRecord) -> bool:
    """Looks at what the inference server logs. Lets every record pass."""
    if not _here.printing and prints.clients:
        text = wording.of(record)
        for client in prints.clients:
            client._printed(text)
    return True
