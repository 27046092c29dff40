"""Templates of names: from `{model}/{designation}/{yyyy}/…/data.csv` to the name of a stream's day. Pure.

A name is injective: two streams never share one, except that an empty part equals `default`, that folding folds the case of
three parts, and that a template merges what it leaves out.
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collectord.errors import ConfigError
from collectord.model import Partition, Stream
from collectord.upload.store import CONTROL_PREFIX

MAX_NAME = 1024
"""Bytes of a whole name, in UTF-8."""
MAX_LEVEL = 255
"""Bytes between two slashes: what file systems allow."""
RESERVED = 24
"""Bytes kept free for the extension, the number of the part and the codec's suffix."""
MIN_ROOM = 40
"""A value that is cut keeps at least so many bytes, of which 33 are its hash."""

PARTS: Mapping[str, Callable[[Stream], str]] = {
    "subscription": lambda stream: stream.subscription,
    "resource_group": lambda stream: stream.resource_group,
    "workspace": lambda stream: stream.workspace,
    "webservice": lambda stream: stream.webservice,
    "model": lambda stream: stream.model,
    "version": lambda stream: stream.version,
    "designation": lambda stream: stream.designation,
    "collection": lambda stream: stream.collection,
}
DATES: Mapping[str, str] = {"yyyy": "%Y", "mm": "%m", "dd": "%d", "HH": "%H"}
WRITERS = ("node", "writer")

_FOLDED = ("subscription", "resource_group", "workspace")
_KEPT = frozenset(string.ascii_letters + string.digits + " -_.~")
# The categories of a Unicode version that does not change with Python's: the same stream has the same name after an
# upgrade and on every machine.
_category = unicodedata.ucd_3_2_0.category
_AMBIGUOUS = re.compile(r"\.[0-9]+\Z")
_CUT = "+"
"""Stands before the hash of a value that was cut; in a value itself it is always encoded."""


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str


@dataclass(frozen=True, slots=True)
class _Value:
    field: str


@dataclass(frozen=True, slots=True)
class _Date:
    field: str


_Token = _Literal | _Value | _Date


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of blobs of one designation."""

    name: str
    """Ends with a slash."""
    designation: str
    """As it is spelled there: escaped."""


class Template:
    """Names after one template, such as `{model}/{designation}/{yyyy}/{mm}/{dd}/data.csv`.

    `own` fills `{node}` and `{writer}`; `suffix` stands behind every name, `prefix` before it, and before that `within`, which
    is no person's to choose. Neither is `extension`, with which the template has to end. Raises `ConfigError` if it cannot work.
    """

    def __init__(
        self, template: str, *, extension: str, own: Mapping[str, str], suffix: str = "", prefix: str = "",
        within: str = "", sdk_v1: bool = False,
    ) -> None:  # fmt: skip
        """`sdk_v1`: names of files and upper case as the v1 SDK had them."""
        self._extension = extension
        self._sdk_v1 = sdk_v1
        self._own = own
        self._suffix = suffix
        self._prefix = within + _checked_prefix(prefix)
        levels = [_parse(level, template) for level in template.split("/")]
        _check(template, levels, own, extension)
        fields = {token.field for level in levels for token in level if not isinstance(token, _Literal)}
        self._folders = levels[:-1]
        self._stem = _without_extension(levels[-1], extension)
        self._has_hour = "HH" in fields
        self._has_collection = "collection" in fields
        # A collection follows a changing stem behind a character that no value holds. (In sdk-v1 the stem is the level
        # above once more.)
        plain = sdk_v1 or not _values(self._stem)
        self._collection: list[_Token] = [_Literal("-" if plain else "="), _Value("collection")]
        self._shape = self._make_shape()
        fixed, values = _sizes([*self._folders, [*self._stem, *self._collection]])
        self._most = (MAX_NAME - 2 * RESERVED - fixed - len(self._prefix.encode())) // values
        if self._most < MIN_ROOM:
            raise ConfigError(
                f"layout: {template!r} with the prefix {prefix!r} leaves no room for names in {MAX_NAME} bytes"
            )

    def name(self, stream: Stream, partition: Partition) -> str:
        """The name of a stream's day (or hour)."""
        levels: list[list[_Token]] = [*self._folders]
        if partition.boundary_minutes < 1440 and not self._has_hour:
            levels.append([_Date("HH")])
        levels.append(self._file(stream))
        name = self._render(levels, stream, partition, MAX_LEVEL)
        if len(name.encode()) > MAX_NAME - RESERVED:
            # All levels together are too long: each value gets its share, so that none disappears.
            name = self._render(levels, stream, partition, self._most)
        return name

    def folder(self, name: str) -> Folder | None:
        """The folder in which a blob of this template lies with all days of its streams, and with nothing of another
        designation. None: the name is none of this template, or it says the day before the designation."""
        found = self._shape.fullmatch(name)
        if found is None or "designation" not in found.groupdict():
            return None
        return Folder(found["folder"], found["designation"])

    def _make_shape(self) -> re.Pattern[str]:
        """What a name looks like; the groups are there if `folder` has something to say."""
        pattern, dated, told = re.escape(self._prefix), False, False
        for level in self._folders:
            dated = dated or any(isinstance(token, _Date) for token in level)
            fields = [token.field for token in level if isinstance(token, _Value)]
            text = "".join(_shape_of(token) for token in level)
            if not dated and not told and fields == ["designation"]:
                told = True
                text = text.replace("[^/]+", "(?P<designation>[^/]+)")
                pattern = f"(?P<folder>{pattern}{text}/)"
            else:
                pattern += f"{text}/"
        hour = "" if self._has_hour else r"(?:\d\d/)?"
        return re.compile(rf"{pattern}{hour}[^/]+{re.escape(self._extension)}(?:\.\w+)?")

    def _file(self, stream: Stream) -> list[_Token]:
        if self._sdk_v1 and stream.designation in ("signals", "general"):
            return [_Value("collection"), _Literal(self._extension)]
        other = stream.collection not in ("", "default") and not self._has_collection
        return [*self._stem, *(self._collection if other else []), _Literal(self._extension)]

    def _render(self, levels: list[list[_Token]], stream: Stream, partition: Partition, room: int) -> str:
        texts = []
        for level in levels:
            fixed, values = _sizes([level])
            share = min(room, (MAX_LEVEL - RESERVED - fixed) // values) if values else room
            texts.append("".join(self._text(token, stream, partition, share) for token in level))
        return self._prefix + "/".join(texts) + self._suffix

    def _text(self, token: _Token, stream: Stream, partition: Partition, room: int) -> str:
        match token:
            case _Literal(text):
                return text
            case _Date("yyyy"):
                return f"{partition.start.year:04d}"
            case _Date(field):
                return partition.start.strftime(DATES[field])
            case _Value(field) if field in self._own:
                return escape(self._own[field], room)
            case _Value(field):
                value = PARTS[field](stream)
                return escape(value.lower() if self._sdk_v1 and field in _FOLDED else value, room)


def _shape_of(token: _Token) -> str:
    """What the text of a token looks like."""
    match token:
        case _Literal(text):
            return re.escape(text)
        case _Date(field):
            return r"\d{4}" if field == "yyyy" else r"\d\d"
        case _Value():
            return "[^/]+"


def escape(value: str, room: int = MAX_LEVEL) -> str:
    """A name part as at most `room` bytes (`MIN_ROOM` or more) of a level, from which it could be read back unless it was cut.

    Letters and digits of all scripts, space and `-_.~` stay; all else is percent-encoded, and so are a dot, underscore
    or space where it could hide the level or be stripped from it, and a dot before final digits, which would look like
    the number of a part. An empty value is `default`. A value that is too long is cut and gets a hash of the whole.
    """
    value = value or "default"
    last = len(value) - 1
    ambiguous = match.start() if (match := _AMBIGUOUS.search(value)) else -1
    pieces = [
        character
        if _is_kept(character)
        and not (index == 0 and character in "._ ")
        and not (index == last and character in ". ")
        and index != ambiguous
        else _percent(character)
        for index, character in enumerate(value)
    ]
    sizes = [len(piece.encode()) for piece in pieces]
    if sum(sizes) <= room:
        return "".join(pieces)
    mark = _CUT + hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    left = room - len(mark)
    kept = 0
    while kept < len(pieces) and sizes[kept] <= left:
        left -= sizes[kept]
        kept += 1
    return "".join(pieces[:kept]) + mark


def _is_kept(character: str) -> bool:
    if character in _KEPT:
        return True
    return ord(character) > 127 and (_category(character)[0] in "LM" or _category(character) == "Nd")


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _values(level: list[_Token]) -> int:
    return sum(isinstance(token, _Value) for token in level)


def _sizes(levels: list[list[_Token]]) -> tuple[int, int]:
    """Bytes of all that does not change (a date counts as 4, a slash as 1), and the number of values."""
    tokens = [token for level in levels for token in level]
    fixed = sum(len(token.text.encode()) if isinstance(token, _Literal) else 4 for token in tokens)
    values = sum(isinstance(token, _Value) for token in tokens)
    return fixed - 4 * values + len(levels), values


def _without_extension(level: list[_Token], extension: str) -> list[_Token]:
    last = level[-1]
    assert isinstance(last, _Literal)
    stem = last.text.removesuffix(extension)
    return [*level[:-1], *([_Literal(stem)] if stem else [])]


def _checked_prefix(prefix: str) -> str:
    levels = [level for level in prefix.strip("/").split("/") if level]
    for level in levels:
        _check_literal("prefix", prefix, level)
    if levels and levels[0] == CONTROL_PREFIX.rstrip("/"):
        raise ConfigError(f"prefix: {prefix!r} lies under {CONTROL_PREFIX}, which is not for data")
    return "".join(f"{level}/" for level in levels)


def _check_literal(field: str, value: str, level: str) -> None:
    if level in (".", "..") or "\\" in level or any(unicodedata.category(character)[0] == "C" for character in level):
        raise ConfigError(
            f"{field}: {value!r} has the level {level!r}; '.', '..', '\\' and control characters are not allowed"
        )


def _parse(level: str, template: str) -> list[_Token]:
    allowed = ", ".join(f"{{{name}}}" for name in (*PARTS, *DATES, *WRITERS))
    tokens: list[_Token] = []
    try:
        pieces = list(string.Formatter().parse(level))
    except ValueError as error:
        raise ConfigError(f"layout: {template!r} cannot be read: {error}") from None
    for literal, name, form, conversion in pieces:
        if literal:
            tokens.append(_Literal(literal))
        if name is None:
            continue
        if form or conversion:
            raise ConfigError(f"layout: {template!r} formats {{{name}}}; placeholders stand alone: {allowed}")
        if name in DATES:
            tokens.append(_Date(name))
        elif name in PARTS or name in WRITERS:
            tokens.append(_Value(name))
        else:
            raise ConfigError(
                f"layout: {template!r} names the unknown placeholder {{{name}}}; allowed are {allowed}, "
                "or one of the presets documented and sdk-v1"
            )
    return tokens


def _check(template: str, levels: list[list[_Token]], own: Mapping[str, str], extension: str) -> None:
    """Refuses a template whose names could clash, hide, escape, or not tell one day from another."""
    for level, tokens in zip(template.split("/"), levels, strict=True):
        if not level:
            raise ConfigError(f"layout: {template!r} has an empty level; a template neither begins nor ends with '/'")
        _check_literal("layout", template, level)
        _check_separators(template, tokens)
        fixed, values = _sizes([tokens])
        if (MAX_LEVEL - RESERVED - fixed) // max(values, 1) < (MIN_ROOM if values else 0):
            raise ConfigError(
                f"layout: {template!r} has the level {level!r}, which leaves too little of {MAX_LEVEL} bytes"
            )
    if _constant(levels[0]) == CONTROL_PREFIX.rstrip("/"):
        raise ConfigError(f"layout: {template!r} lies under {CONTROL_PREFIX}, which is not for data")
    if not (isinstance(levels[-1][-1], _Literal) and levels[-1][-1].text.endswith(extension)):
        raise ConfigError(f"layout: {template!r} must end with a file name in {extension}; the codec adds its suffix")
    if levels[-1] == [_Literal(extension)]:
        raise ConfigError(f"layout: {template!r} has a file name that begins with a dot; readers skip such files")
    if _ends_like_a_part(_without_extension(levels[-1], extension), own):
        raise ConfigError(
            f"layout: {template!r} has a dot before the end of its file name, where digits would be taken for the number of a "
            "part, and one day for another; put '-' instead"
        )
    fields = {token.field for tokens in levels for token in tokens if not isinstance(token, _Literal)}
    missing = [f"{{{name}}}" for name in ("yyyy", "mm", "dd", "designation") if name not in fields]
    if missing:
        raise ConfigError(
            f"layout: {template!r} lacks {', '.join(missing)}; days, and inputs and predictions, never share a blob"
        )
    for name in WRITERS:
        if name in fields and not own[name]:
            raise ConfigError(f"layout: {template!r} uses {{{name}}}, but {name} is empty")


def _ends_like_a_part(stem: list[_Token], own: Mapping[str, str]) -> bool:
    """Whether the name of a file may end in a dot and digits before its extension, as those of a day's further parts do. A value
    may be nothing but digits, this node's name mostly is not; a dot within one is escaped where it would mislead."""
    end = "".join(
        token.text if isinstance(token, _Literal) else "0" if own.get(token.field, "0").isdigit() else "x"
        for token in stem
    )
    return _AMBIGUOUS.search(end) is not None


def _constant(tokens: list[_Token]) -> str | None:
    """A level that is the same in all names; None if it holds a placeholder."""
    if any(not isinstance(token, _Literal) for token in tokens):
        return None
    return "".join(token.text for token in tokens if isinstance(token, _Literal))


def _check_separators(template: str, tokens: list[_Token]) -> None:
    """Between two placeholders of one level stands a character that no value holds, else two streams could share a name."""
    previous: _Value | None = None
    between = ""
    for token in tokens:
        match token:
            case _Literal(text):
                between += text
            case _Date():
                between += "0"
            case _Value(field):
                if previous is not None and all(_is_kept(character) for character in between):
                    raise ConfigError(
                        f"layout: {template!r} joins {{{previous.field}}} and {{{field}}}; put '/', '=', '@' or ',' "
                        "between them, which no value contains"
                    )
                previous, between = token, ""
