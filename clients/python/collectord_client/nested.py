"""Values that hold others, such as the tokens of a text or an embedding in a cell, become JSON text: what they are at the daemon's v2
door too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .errors import CollectError, unsupported_type

MAX_DEPTH = 100
"""Levels."""


def holds_others(value: Any) -> bool:
    """True for lists, tuples, dictionaries, and for arrays, of numpy or alike."""
    return isinstance(value, (list, tuple, Mapping)) or (_dimensions(value) > 0 and hasattr(value, "tolist"))


def as_json(value: Any, scalar: Callable[[Any], Any]) -> str:
    """The JSON text of a value that holds others, without spaces: NaN and infinities are null, keys are text.

    `scalar` makes of anything else None, a bool, a number or a text. Raises CollectError: what `scalar` raises,
    `unsupported_media` for arrays of more than two dimensions, `unsupported_type` for more than `MAX_DEPTH` levels.
    """
    try:
        # As nearly always: nothing but what JSON knows.
        return _written(_numbers(value))
    except (TypeError, ValueError, RecursionError):
        return _written(_tree(value, scalar, MAX_DEPTH))


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _tree(value: Any, scalar: Callable[[Any], Any], levels: int) -> Any:
    """The same of what JSON knows."""
    if not levels:
        raise CollectError("unsupported_type", f"a value has more than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        # The other keys that JSON has no form for it makes texts by itself: `true`, `null`, `1`.
        named = (
            (key if key is None or isinstance(key, (str, int)) else str(key), inner) for key, inner in value.items()
        )
        return {key: _tree(inner, scalar, levels - 1) for key, inner in named}
    if _dimensions(value) > 2:
        raise CollectError("unsupported_media", f"an array of {_dimensions(value)} dimensions is no value")
    if isinstance(value, (list, tuple)) or _dimensions(value):
        return [_tree(inner, scalar, levels - 1) for inner in _numbers(value)]
    plain = scalar(value)
    return None if isinstance(plain, float) and plain - plain != 0 else plain


def _numbers(value: Any) -> Any:
    """An array of numbers as a list, whichever library's it is; anything else as it is."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return as_list(value) if _dimensions(value) in (1, 2) and kind in ("", *"biuf") else value


def as_list(array: Any) -> Any:
    """An array as lists. Raises CollectError for a tensor that has none to give: it is sparse, deleted, or only a shape."""
    try:
        return array.tolist()
    except (RuntimeError, TypeError, ValueError):
        raise unsupported_type(array) from None


def _dimensions(value: Any) -> int:
    """Of an array; 0 for what is none."""
    shape = getattr(value, "shape", None)
    return len(shape) if isinstance(shape, tuple) else 0
