"""Feature names as a caller gives them: as a list, or by something that has them, such as a frame or a fitted model.

Everything is known by what it looks like: neither scikit-learn nor MLflow is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .loaded import loaded
from .names import as_names
from .notices import trace

OUTPUTS = ("predictions", "labels")
"""Of a model that knows both, these take the names of what comes out."""

ACCEPTED = (
    "a list of texts, a frame or its columns, a fitted model that knows its features (feature_names_in_), or an MLflow "
    "signature or model that has one"
)


class NoNames(ValueError):
    """A model, or a signature, that was not told what its columns are called."""


def names_of(given: Any, designation: str = "inputs") -> tuple[str, ...] | None:
    """The names in whatever was given as feature names; None for None.

    Of an MLflow signature, predictions and labels take the outputs and everything else the inputs; any other model knows
    its inputs only. Raises NoNames for a model without names, and ValueError for what can have none.
    """
    if given is None or isinstance(given, (str, list, tuple)):
        return as_names(given)
    if isinstance(given, (set, frozenset)) and len(given) > 1:
        # Each process would have another one, and values under the names of others.
        raise NoNames(f"a {type(given).__name__} has no order. Feature names are {ACCEPTED}")
    columns = _of_table(given)
    if columns is not None:
        return as_names(columns)
    signature = next(_signatures(given), None)
    if signature is not None:
        return _of_schema(signature, designation)
    known = next(_of_model(given), None)
    if known is not None and designation not in OUTPUTS:
        return as_names(known)
    what = type(given).__name__
    if known is not None:
        raise NoNames(
            f"a {what} knows the names of its inputs; {designation} need a list of names, or an MLflow signature"
        )
    if _is_model(given):
        raise NoNames(f"this {what} does not know what its columns are called. Feature names are {ACCEPTED}")
    # What a model consists of can be listed too, which is why this comes last.
    if not isinstance(given, Iterable):
        raise ValueError(f"a {what} has no feature names. They are {ACCEPTED}")
    return as_names(list(given))


def _of_table(given: Any) -> list[object] | None:
    """The columns of a frame of pandas, polars, Spark or Arrow. Its type tells: a frame's own attributes may be columns."""
    pyarrow = loaded("pyarrow")
    if pyarrow is not None and isinstance(given, pyarrow.Schema):
        return list(given.names)
    for attribute in ("column_names", "columns"):
        if hasattr(type(given), attribute):
            return list(getattr(given, attribute))
    return None


def _signatures(given: Any) -> Iterator[Any]:
    """A schema or signature of MLflow: what was given, or that of a model, or of the model that was loaded."""
    if callable(_get(given, "input_names")):
        yield given
    for holder in (given, _get(given, "signature"), _get(_get(given, "metadata"), "signature")):
        if any(callable(_get(_get(holder, side), "input_names")) for side in ("inputs", "outputs")):
            yield holder


def _of_schema(signature: Any, designation: str) -> tuple[str, ...]:
    side = "outputs" if designation in OUTPUTS else "inputs"
    schema = signature if callable(_get(signature, "input_names")) else _get(signature, side)
    names = [] if schema is None else list(schema.input_names())
    # Columns without names are counted.
    if not names or not all(isinstance(name, str) for name in names):
        raise NoNames(f"the signature has no names for the {side}. Feature names are {ACCEPTED}")
    return tuple(names)


def _of_model(given: Any) -> Iterator[list[object]]:
    """What scikit-learn, LightGBM, CatBoost, and the boosters of XGBoost and LightGBM call their inputs."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_names", "feature_name"):
        found = _get(given, attribute)
        if callable(found) and _is_model(given):
            found = found()
        if isinstance(found, Iterable) and not isinstance(found, str) and (names := list(found)):
            yield names


def _is_model(given: Any) -> bool:
    return any(callable(_get(given, method)) for method in ("predict", "fit", "forward", "get_input_schema"))


def _get(given: Any, attribute: str) -> Any:
    """An attribute; None where there is none, or the object fails at being asked, as some models do before they are fitted."""
    try:
        return getattr(given, attribute, None)
    except Exception as error:  # noqa: BLE001
        trace(error)
        return None
