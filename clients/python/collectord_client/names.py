"""Which name each column gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import CollectError

SYSTEM = (
    "$aml_dc_correlation_id",
    "$aml_dc_scoring_timestamp",
    "$aml_dc_boundary",
    "$aml_workspace",
    "$aml_service_name",
    "$aml_model_name",
    "$aml_model_version",
    "$aml_request_id",
    "$aml_dc_row",
    "$aml_dc_sampling",
)
"""Columns that the daemon adds behind the user's."""

MAX_NAME = 1024


def resolve(
    given: tuple[str, ...] | None, own: tuple[str, ...] | None, width: int, positional: bool = False
) -> tuple[tuple[str, ...], list[str], tuple[int, ...] | None]:
    """The column names, the words for what had to be changed (they are counted), and which columns, in which order.

    `given` are the feature names of the call or collector, `own` those of the `width` columns of the data; `positional`
    says that these only count the columns. The order is None where all columns stay where they are.

    Data with names of its own is matched by name: the columns called as in `given` come in that order. If all of `given`
    is there, the others are left out; if some are, the others follow under their own names. Only where no name matches
    is `given` taken for a list of new names, by position. Without names of its own, data is named by position: missing
    names become `column_7`, surplus ones are left out. Repeated ones and those of the daemon's own columns get a suffix.
    Raises CollectError `bad_name` for a name that no CSV header of ours may hold.
    """
    notes: list[str] = []
    order = None
    names = given if given is not None else own
    if names is None:
        return tuple([f"column_{at}" for at in range(1, width + 1)]), notes, None
    if given is not None and own is not None and given != own:
        matched = _match(given, own)
        if len(matched) == len(given):
            order = tuple(matched)
            if len(matched) < width:
                notes.append("columns_left_out")
        elif positional:
            pass
        elif matched:
            notes.append("names_differ")
            found = set(matched)
            order = (*matched, *(at for at in range(width) if at not in found))
            names = tuple([own[at] for at in order])
        else:
            notes.append("names_differ")
    if order is not None:
        width = len(order)
        order = None if order == tuple(range(len(own or ()))) else order
    if len(names) < width:
        notes.append("more_values_than_names")
        names = names + tuple([f"column_{at}" for at in range(len(names) + 1, width + 1)])
    elif len(names) > width:
        notes.append("fewer_values_than_names")
        names = names[:width]
    if "" in names:
        notes.append("renamed")
        names = tuple([name or f"column_{at}" for at, name in enumerate(names, 1)])
    for name in names:
        check(name)
    if len(set(names)) < width or not set(SYSTEM).isdisjoint(names):
        notes.append("renamed")
        names = _distinct(names)
    return names, notes, order


def as_names(given: Sequence[object] | None) -> tuple[str, ...] | None:
    """Feature names as a tuple; a single text is one name."""
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple([str(name) for name in given])


def _match(given: tuple[str, ...], own: tuple[str, ...]) -> list[int]:
    """Where in the data the given names are, those that are there; of columns called alike, one after the other."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(own):
        places.setdefault(name, []).append(at)
    return [places[name].pop(0) for name in given if places.get(name)]


def check(name: str) -> None:
    """Raises CollectError `bad_name` if `name` cannot be a column's."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise CollectError("bad_name", "a column name is not valid Unicode") from None
    if size > MAX_NAME or "\0" in name:
        raise CollectError("bad_name", f"a column name has at most {MAX_NAME} bytes of UTF-8 and no NUL")


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    # A suffix must not meet a name that stands further right, so all first uses are taken in advance.
    taken = set(names).union(SYSTEM)
    seen = set(SYSTEM)
    result = []
    for name in names:
        if name in seen:
            stem, number = name, 1
            while f"{stem}.{number}" in taken:
                number += 1
            name = f"{stem}.{number}"
            taken.add(name)
        seen.add(name)
        result.append(name)
    return tuple(result)
