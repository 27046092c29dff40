"""What the tables of collected streams are called, and which stream a blob's name speaks of.

A table is `webservice/model/designation`, with `/collection` behind it where there is one other than the default: all versions and
workspaces together, since columns tell them apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import unquote

from collectord.model import Stream
from collectord.upload.naming import DOCUMENTED, MDC, SDK_V1

_PRESETS = {"documented": DOCUMENTED, "sdk-v1": SDK_V1}
_DATES = {"yyyy": r"(?P<yyyy>\d{4})", "mm": r"(?P<mm>\d\d)", "dd": r"(?P<dd>\d\d)", "HH": r"(?P<HH>\d\d)"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_END = r"(?:\.\d+)?\.(?:csv(?:\.zst|\.gz)?|jsonl)"
_DAY = re.compile(
    rf"(?P<before>.*?)/?(?P<yyyy>\d{{4}})/(?P<mm>\d\d)/(?P<dd>\d\d)(?:/(?P<HH>\d\d))?/(?P<file>[^/]+?){_END}"
)
_LIKE_ESCAPES = re.compile("%(?=2F|25)")
_FILE = re.compile(rf"(?P<file>.+?){_END}")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a blob's name says."""

    table: str
    begin: int | None
    """The period that its rows lie in, in microseconds since 1970; None: the name does not say."""
    end: int | None


def table_of(stream: Stream) -> str:
    """The table that a stream's rows are in."""
    return _table(stream.webservice, stream.model, stream.designation, stream.collection)


def _table(webservice: str, model: str, designation: str, collection: str) -> str:
    parts = [webservice or "default", model or "default", designation or "default"]
    if collection not in ("", "default"):
        parts.append(collection)
    return "/".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    """Slashes escaped, and what would look like that: no two names become one."""
    return _LIKE_ESCAPES.sub("%25", part).replace("/", "%2F")


def identifier_of(table: str) -> str:
    """A name without brackets: every run of other characters is an underscore."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", table).strip("_")
    return f"_{word}" if word[:1].isdigit() or not word else word


class Names:
    """Reads the names of blobs that were made after a template; those of another one are read as far as they can be."""

    def __init__(self, template: str, prefix: str = "") -> None:
        """`prefix`: what stands before every blob's name."""
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._patterns = [
            _pattern(text) for text in dict.fromkeys((_PRESETS.get(template, template), DOCUMENTED, SDK_V1, MDC))
        ]

    def read(self, blob: str) -> Spoken | None:
        """What a name says; None: it is none of ours."""
        name = blob.removeprefix(self._prefix)
        for pattern in self._patterns:
            match = pattern.fullmatch(name)
            if match is not None:
                return _spoken(match)
        match = _DAY.fullmatch(name) or _FILE.fullmatch(name)
        if match is None:
            return None
        found = match.groupdict()
        levels = f"{found.get('before') or ''}/{found['file']}".split("/")
        table = "/".join(_escaped(unquote(part)) for part in levels if part and part != "data")
        return Spoken(table or "default", *_period(found))

    @staticmethod
    def read_event(blob: str) -> Spoken:
        """What the name of a blob of events says of its hour."""
        match = _DAY.fullmatch(blob)
        return Spoken("", *(_period(match.groupdict()) if match else (None, None)))


def _pattern(template: str) -> re.Pattern[str]:
    """A template as an expression, with a group for each placeholder; the second time it has to be the same text."""
    levels = []
    seen: set[str] = set()
    templates = template.split("/")
    for level in templates:
        text = ""
        for at, piece in enumerate(_PLACEHOLDER.split(level)):
            if at % 2 == 0:
                text += re.escape(piece)
            elif piece in seen:
                text += f"(?P={piece})"
            else:
                seen.add(piece)
                text += _DATES.get(piece, f"(?P<{piece}>[^/=]+?)")
        levels.append(text)
    stem = re.sub(r"\\\.(?:csv|jsonl)\Z", "", levels[-1])
    hour = "" if "HH" in seen else r"(?:(?P<HH>\d\d)/)?"
    # No value holds '='; behind a stem that is the same in all names a collection stands after '-'.
    sign = "-" if not _PLACEHOLDER.search(templates[-1]) or template == SDK_V1 else "="
    collection = "" if "collection" in seen else rf"(?:{sign}(?P<collection>[^/=]+?))?"
    return re.compile("/".join([*levels[:-1], ""]) + hour + stem + collection + _END)


def _spoken(match: re.Match[str]) -> Spoken:
    found = {name: unquote(text) if text else "" for name, text in match.groupdict().items()}
    table = _table(
        found.get("webservice", ""), found.get("model", ""), found.get("designation", ""), found.get("collection", "")
    )
    return Spoken(table, *_period(match.groupdict()))


def _period(found: dict[str, str | None]) -> tuple[int | None, int | None]:
    if not found.get("yyyy"):
        return None, None
    hour = found.get("HH")
    try:
        start = datetime(
            int(found["yyyy"] or 0), int(found["mm"] or 0), int(found["dd"] or 0), int(hour or 0), tzinfo=timezone.utc
        )
    except ValueError:
        return None, None
    begin = int(start.timestamp()) * 1_000_000
    return begin, begin + (3_600 if hour else 86_400) * 1_000_000
