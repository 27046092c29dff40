"""Which name each column gets."""

from __future__ import annotations

from collections.abc import Iterable

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
    given: tuple[str, ...] | None, own: tuple[str, ...] | None, width: int
) -> tuple[tuple[str, ...], list[str]]:
    """The `width` column names, and the words for what had to be changed (they are counted).

    `given` are the feature names of the call or collector, `own` those of the data; the first that is there counts.
    Missing ones become `column_7`, surplus ones are left out, repeated ones and those of the daemon's own columns get a
    suffix. Raises CollectError `bad_name` for a name that no CSV header of ours may hold.
    """
    notes: list[str] = []
    names = given if given is not None else own
    if names is None:
        return tuple(f"column_{at}" for at in range(1, width + 1)), notes
    if len(names) < width:
        notes.append("more_values_than_names")
        names = names + tuple(f"column_{at}" for at in range(len(names) + 1, width + 1))
    elif len(names) > width:
        notes.append("fewer_values_than_names")
        names = names[:width]
    if "" in names:
        notes.append("renamed")
        names = tuple(name or f"column_{at}" for at, name in enumerate(names, 1))
    for name in names:
        check(name)
    if len(set(names)) < width or not set(SYSTEM).isdisjoint(names):
        notes.append("renamed")
        names = _distinct(names)
    return names, notes


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
