"""Correlations by value: the dictionary that `collect` returns, and the values that columns of ours have (`carried.py`).

Either way they name a request that was scored before, maybe days ago and in another process: its id, time and stream.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Mapping
from typing import Any, cast

from ..context import Context, recalled
from ..core import CORRELATION as CORRELATION
from ..core import REQUEST as REQUEST
from ..core import TIMESTAMP as TIMESTAMP
from ..ids import NIL, parse_id
from ..values import HIGH, nanoseconds
from .identity import Identity

BOUNDARY = "$aml_dc_boundary"
WORKSPACE = "$aml_workspace"
SERVICE = "$aml_service_name"
MODEL = "$aml_model_name"
VERSION = "$aml_model_version"
HEADERS = (CORRELATION, TIMESTAMP, BOUNDARY, WORKSPACE, SERVICE, MODEL, VERSION, REQUEST)
"""The columns of the v1 SDK, in its order."""
ROW = "$aml_dc_row"
SAMPLING = "$aml_dc_sampling"
OURS = (*HEADERS, ROW, SAMPLING)
STREAM = (WORKSPACE, SERVICE, MODEL, VERSION)

_FRACTION = re.compile(r"\.(\d+)", re.ASCII)

NO_REQUEST = str(uuid.UUID(bytes=NIL))


def constants(identity: Identity, boundary: int) -> dict[str, Any]:
    """What is the same in all correlations of a collector."""
    return {
        CORRELATION: "", TIMESTAMP: "", BOUNDARY: boundary, WORKSPACE: identity.workspace,
        SERVICE: identity.webservice, MODEL: identity.model, VERSION: identity.version, REQUEST: NO_REQUEST,
    }  # fmt: skip


def recall(given: object) -> tuple[Context, Identity | None, list[str]]:
    """The context that correlations, or an id alone, name; the stream, where they name one; and what was doubtful.

    Raises CollectError `bad_id`.
    """
    if isinstance(given, Context):
        return given, None, []
    if not isinstance(given, Mapping):
        found, notes = _recalled(parse_id(given), None, None)
        return found, None, notes
    context = getattr(given, "context", None)
    stream = identity([given.get(name) for name in STREAM])
    if isinstance(context, Context):
        return context, stream, []
    (id,), (request,) = whole([given.get(CORRELATION)]), whole([given.get(REQUEST)])
    asked = None if request in (None, "", NO_REQUEST) else parse_id(request)
    found, notes = _recalled(parse_id(id), given.get(TIMESTAMP), asked)
    return found, stream, notes


def row_of(given: object) -> int | None:
    """The index of the one row of its request that correlations name, such as the values of a row that has landed; None where they
    name the request as a whole."""
    return index(given.get(ROW)) if isinstance(given, Mapping) else None


def _recalled(id: bytes | str, when: object, request: bytes | str | None) -> tuple[Context, list[str]]:
    found, undated = recalled(id, nanoseconds_of(when), request)
    return found, ["undated"] if undated else []


def nanoseconds_of(when: object) -> int | None:
    """Nanoseconds since 1970; None for what is no time that can be filed."""
    if isinstance(when, str):
        # Python 3.10 reads fractions of three and six digits only; .NET writes seven.
        text = _FRACTION.sub(lambda found: f".{found[1]:0<6.6}", when.strip())
        try:
            when = datetime.datetime.fromisoformat(text.removesuffix("Z").rstrip())
        except ValueError:
            return None
    if type(when).__name__ == "datetime64" and type(when).__module__ == "numpy":
        # Of nanoseconds, `item` makes a whole number.
        when = cast(Any, when).astype("M8[us]").item()
    if type(when) is datetime.date:
        when = datetime.datetime.combine(when, datetime.time())
    if not isinstance(when, datetime.datetime) or when != when:
        return None
    found = nanoseconds(when)
    return found if 0 <= found <= HIGH else None


def identity(levels: list[Any]) -> Identity | None:
    """The stream that the four columns name; None unless they name all of it."""
    named = list(filter(None, map(level, levels)))
    return Identity(*named) if len(named) == len(levels) else None


def level(given: Any) -> str:
    """A level of the path, of which a reader may have made a number: a version `10` is 10 in a frame, and 10.0 in one that
    a join left gaps in. Empty for what is none."""
    if isinstance(given, (str, int)):
        return str(given)
    if isinstance(given, float):
        return "" if given - given != 0 else str(int(given)) if given.is_integer() else str(float(given))
    return str(int(given)) if hasattr(given, "__index__") else ""


def index(given: Any) -> int | None:
    """The index of a row, likewise; None for what is none."""
    # A reader that takes everything for text has 4.0 where a join left gaps.
    named, _, rest = level(given).partition(".")
    return int(named) if named.isdecimal() and not rest.strip("0") else None


def whole(ids: list[Any]) -> list[Any]:
    """The ids of a column. Whole numbers of which a join that left gaps has made fractions are whole again, where floats hold
    all of them exactly."""
    floats = [one for one in ids if isinstance(one, float) and one == one]
    if not all(one.is_integer() and abs(one) < 1 << 53 for one in floats):
        return ids
    return [(int(one) if one == one else None) if isinstance(one, float) else one for one in ids]
