"""Which streams some patterns name: `webservice/model/designation`, as settings have them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from collectord.model import Stream


class StreamPatterns:
    """The streams that some patterns name. Immutable; from any thread."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """In `patterns`, `*`, `?` and `[…]` stand for what they do in a shell, but for no slash; a slash in a name is %2F.
        Raises ValueError if one has not three parts."""
        self.patterns = tuple(patterns)
        self._parts = [_parts(pattern) for pattern in patterns]
        self._known = lru_cache(4096)(self._matches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StreamPatterns) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __bool__(self) -> bool:
        """Whether any stream may be named."""
        return bool(self._parts)

    def __contains__(self, stream: Stream) -> bool:
        return bool(self._parts) and self._known(stream)

    def of_service(self, webservice: str) -> list[str]:
        """The patterns that may name a stream of a service."""
        name = _named(webservice)
        return [whole for whole, parts in zip(self.patterns, self._parts, strict=True) if fnmatchcase(name, parts[0])]

    def _matches(self, stream: Stream) -> bool:
        names = [_named(part) for part in (stream.webservice, stream.model, stream.designation)]
        return any(all(map(fnmatchcase, names, pattern)) for pattern in self._parts)


def _named(part: str) -> str:
    return (part or "default").replace("%", "%25").replace("/", "%2F")


def _parts(pattern: str) -> list[str]:
    parts = pattern.split("/")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{pattern!r} is not webservice/model/designation; */*/* names all streams")
    return parts
