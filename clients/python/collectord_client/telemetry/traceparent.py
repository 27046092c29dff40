"""The header `traceparent`, by which a caller says what its request belongs to: https://www.w3.org/TR/trace-context/"""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII | re.DOTALL)


def parse(text: object) -> tuple[str, str] | None:
    """The ids of the trace and of the caller's span, in lower-case hexadecimal digits; None for what is not valid.

    A later version may have more behind a hyphen; version 00 may not, and ff is none. Ids of zeros only are none either.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 512 else None
    if found is None:
        return None
    version, trace, span, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return trace, span
