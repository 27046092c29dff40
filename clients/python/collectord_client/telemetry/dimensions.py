"""Custom dimensions: whatever a script hands over, as the text of a JSON object that every reader takes."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from .cuts import EVENT_BYTES, KEY, MARK, Cuts, fit, of, sound

MOST = 1000
"""Dimensions of an event."""
DEEPEST = 32
NODES = 20_000
"""Values within one dimension, all levels counted."""
WIDEST = 64 << 10
"""Bytes of an array that is taken apart."""
LEAST, MUCH = 1e-308, 1e308
"""Numbers between them, and whole ones of 64 bits with a sign, are those that every reader takes: with any other, the daemon
lands all dimensions of the event as one text (docs/formats/telemetry-jsonl.md)."""
CELLS = WIDEST // 8
"""Of a frame that is taken apart."""

Plain = str | int | float | bool | list[Any] | dict[str, Any] | None

_SCALARS = frozenset((str, bool, type(None)))
"""Written as they are; of numbers, not every one is."""
_TEXTS = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)


class Budget:
    """What one event may still take."""

    __slots__ = ("altered", "nodes", "path")

    def __init__(self) -> None:
        self.nodes = NODES
        self.altered = False
        """Something was written otherwise than it was given: what JSON has no form for."""
        self.path: set[int] = set()
        """The containers that are being written: one that contains itself must not be entered again."""


def frozen(dimensions: Mapping[str, Any], budget: Budget) -> dict[str, Plain]:
    """A copy that nobody changes any more, made of what JSON has."""
    return {
        key if type(key) is str else _text(key, budget): value if type(value) in _SCALARS else plain(value, budget)
        for key, value in dimensions.items()
    }


def plain(value: Any, budget: Budget, depth: int = 0) -> Plain:
    """The same value in what JSON has; of what it has no form for, the text."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return value if LEAST <= abs(value) < MUCH or not value else _no_number(value, budget)
    if kind is int:
        return value if abs(value) < 1 << 63 else _text(value, budget)
    budget.nodes -= 1
    if budget.nodes < 0:
        return _left("more values than are taken", budget)
    if isinstance(value, (str, enum.Enum)):
        return _text(value, budget) if isinstance(value, enum.Enum) else str.__str__(value)
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _left(f"{len(value)} bytes", budget)
    try:
        return _structure(value, budget, depth)
    except Exception as error:  # noqa: BLE001
        # An object of somebody's, which may do anything when it is asked.
        return _left(f"{kind.__name__}: {type(error).__name__}", budget)


def _structure(value: Any, budget: Budget, depth: int) -> Plain:
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if depth >= DEEPEST or id(value) in budget.path:
            return _left("deeper than is taken" if depth >= DEEPEST else "contains itself", budget)
        budget.path.add(id(value))
        try:
            if isinstance(value, Mapping):
                return {
                    key if type(key) is str else _text(key, budget, isinstance(key, (int, float))): plain(
                        one, budget, depth + 1
                    )
                    for key, one in _some(value.items(), budget)
                }
            return [plain(one, budget, depth + 1) for one in _some(value, budget)]
        finally:
            budget.path.discard(id(value))
    if hasattr(value, "tolist"):
        # An array, a series, or one number of numpy.
        if getattr(value, "nbytes", 0) > WIDEST:
            return _left(f"{type(value).__name__} of {value.nbytes} bytes", budget)
        if type(value).__module__ == "numpy" and value.dtype.kind in ("M", "m"):
            # Of nanoseconds, numpy's list has bare numbers.
            value = value.astype(str)
        return plain(value.tolist(), budget, depth)
    if type(value).__name__ == "DataFrame":
        rows = _rows(value)
        if rows is not None:
            return plain(rows, budget, depth)
    if isinstance(value, (int, float)):
        return plain(int(value) if isinstance(value, int) else float(value), budget, depth)
    return _text(value, budget)


def _rows(frame: Any) -> list[dict[Any, Any]] | None:
    """The rows of a frame of pandas or polars, whose text leaves out columns and rows; None: it is too large, has two columns
    of one name, or is a frame of others."""
    library = type(frame).__module__.partition(".")[0]
    if library not in ("pandas", "polars") or frame.shape[0] * (frame.shape[1] + 1) > CELLS:
        return None
    if library == "polars":
        return frame.to_dicts()  # type: ignore[no-any-return]
    return frame.to_dict("records") if frame.columns.is_unique else None


def _some(values: Any, budget: Budget) -> Any:
    """As many as are taken; scalars count like all else."""
    for one in values:
        budget.nodes -= 1
        if budget.nodes < 0:
            budget.altered = True
            return
        yield one


def _text(value: Any, budget: Budget, usual: bool = False) -> str:
    budget.altered = budget.altered or not usual
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001
        return f"({type(value).__name__}: its text failed with {type(error).__name__})"


def _no_number(value: float, budget: Budget) -> str:
    budget.altered = True
    if math.isfinite(value):
        return repr(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _left(why: str, budget: Budget) -> str:
    budget.altered = True
    return f"({why})"


def encode(dimensions: dict[str, Plain], cuts: Cuts, room: int = EVENT_BYTES) -> str:
    """The text of the object, at most `room` bytes of it and some more for what tells of cuts."""
    if len(dimensions) > MOST:
        cuts["dimensions"] = {"count": len(dimensions)}
        dimensions = dict(list(dimensions.items())[:MOST])
    if any(len(key) > KEY for key in dimensions):
        dimensions = {_key(key, cuts): value for key, value in dimensions.items()}
    text = dump(dimensions if not cuts else dimensions | {MARK: cuts})
    if len(text) * 4 <= room or len(text.encode()) <= room:
        return text
    return dump(_shortened(dimensions, cuts, room) | {MARK: cuts})


def _key(key: str, cuts: Cuts) -> str:
    """Long keys that begin alike stay apart."""
    if len(key) <= KEY:
        return key
    told = of(key)
    short = f"{key[: KEY - 9]}~{told['sha256'][:8]}"
    cuts[short] = {"key": told}
    return short


def _shortened(dimensions: dict[str, Plain], cuts: Cuts, room: int) -> dict[str, Plain]:
    """The longest ones cut, until all fit."""
    sizes = {key: len(dump(value).encode()) + len(key.encode()) * 2 + 8 for key, value in dimensions.items()}
    over = sum(sizes.values()) - room
    shortened = dict(dimensions)
    # An even share of what there is: no dimension below it is touched.
    share = max(64, room // (2 * len(sizes)))
    for key in sorted(sizes, key=lambda key: -sizes[key]):
        if over <= 0:
            break
        value = dimensions[key]
        whole = value if isinstance(value, str) else dump(value)
        left = max(share, sizes[key] - over - len(key) - 256)
        shortened[key] = fit(key, whole, left, cuts)
        over -= sizes[key] - len(dump(shortened[key]).encode())
    return shortened


def dump(value: Plain) -> str:
    """As JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        # Half surrogate pairs; each is one question mark.
        return sound(text)
    return text
