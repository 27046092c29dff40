"""How values of settings are written: sizes, lists, pairs, modes; and which of them are secret."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


def parse_size(value: object) -> object:
    """`256MiB`, `1g` or a number of bytes."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*([a-zA-Z]*)\s*", value)
    if not match or match[2].lower() not in _UNITS:
        raise ValueError("a size is a number of bytes, or a number with KiB, MiB or GiB")
    return int(match[1]) * _UNITS[match[2].lower()]


_LOOKS_SECRET = re.compile(r"(?i)(?:\bsig|accountkey|sharedaccesssignature)=|[a-z0-9+/]{86}==")


def looks_secret(text: str) -> bool:
    """Whether there seems to be a signature, a key or a connection string of Azure in it, wherever it was pasted."""
    return _LOOKS_SECRET.search(text) is not None


def mib(size: int) -> str:
    """Bytes, for people."""
    return f"{size / 2**20:,.1f} MiB"


def _parse_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def parse_pairs(text: str, what: str, allowed: tuple[str, ...] | None = None) -> dict[str, str]:
    """`a=b,c=d` by name. `what`: the form, for people; `allowed`: the words that may stand behind the `=`.

    Raises:
        ValueError: it has another form, or names something twice.
    """
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, word = (part.strip() for part in pair.rpartition("="))
        if not equals or not name or not word or (allowed is not None and word not in allowed):
            raise ValueError(f"{pair!r} is not {what}")
        if any(f"={one}" in name for one in allowed or ()):
            # `ssn=drop;email=mask` would be one rule, for a column that never comes.
            raise ValueError(f"{pair!r} looks like several of {what}: commas stand between them")
        if name in found:
            raise ValueError(f"{name!r} occurs twice")
        found[name] = word
    return found


def _parse_mode(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"(0o?)?[0-7]{1,3}", value):
        raise ValueError("a mode is an octal number such as 0660")
    return int(value, 8)


_SIZE, _NAMES, _MODE = BeforeValidator(parse_size), BeforeValidator(_parse_list), BeforeValidator(_parse_mode)
Size = Annotated[int, _SIZE]
Names = Annotated[tuple[str, ...], _NAMES]
Mode = Annotated[int, _MODE]


def forms(field: FieldInfo) -> list[str] | None:
    """The JSON types that a setting may be written as; None: those of its own type."""
    rules = _rules(field)
    if _NAMES in rules:
        return ["array", "string"]
    return ["integer", "string"] if _SIZE in rules or _MODE in rules else None


def is_size(field: FieldInfo) -> bool:
    """Whether a setting is a number of bytes."""
    return _SIZE in _rules(field)


def _rules(field: FieldInfo) -> list[object]:
    """How a setting is read, also one that may be left out."""
    return [*field.metadata, *(rule for one in get_args(field.annotation) for rule in getattr(one, "__metadata__", ()))]


class MaskedStr(SecretStr):
    """May hold a secret and need not: masked where settings are shown, and accepted on the command line."""


def is_secret(annotation: Any) -> bool:
    """Whether values of that type are kept off command lines, which every user of a machine can see."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def is_masked(annotation: Any) -> bool:
    """Whether values of that type are shown to nobody."""
    plain = isinstance(annotation, type) and issubclass(annotation, SecretStr)
    return plain or any(map(is_masked, get_args(annotation)))
