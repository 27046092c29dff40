"""The values of a column as the CSV has them, in plain Python: for what is changed or shown before it leaves the process."""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise

from .block import (
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    TIMESTAMP,
    TIMESTAMP_UTC,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Part,
)
from .values import LOW, moment, text

FORMATS = {
    BOOL: "?", INT8: "b", INT16: "h", INT32: "i", INT64: "q", UINT8: "B", UINT16: "H", UINT32: "I", UINT64: "Q",
    FLOAT16: "e", FLOAT32: "f", FLOAT64: "d", TIMESTAMP: "q", TIMESTAMP_UTC: "q",
}  # fmt: skip
DIGITS = {FLOAT16: 5, FLOAT32: 9}
"""So many tell any two narrow floats apart."""


def cells(kind: int, part: Part) -> list[str | None]:
    """One text per row, as docs/formats/blob.md has it and before anything is quoted; None where it is null."""
    shown: list[str | None]
    if part.lengths is not None:
        ends = list(accumulate(part.lengths, initial=0))
        shown = [part.data[at:end].decode() for at, end in pairwise(ends)]
    else:
        form = FORMATS[kind]
        values = struct.unpack(f"<{len(part.data) // struct.calcsize(form)}{form}", part.data)
        if kind in DIGITS:
            shown = [_narrow(value, form, DIGITS[kind]) for value in values]
        elif kind in (TIMESTAMP, TIMESTAMP_UTC):
            zone = "Z" if kind == TIMESTAMP_UTC else ""
            shown = [None if value < LOW else moment(value) + zone for value in values]
        else:
            shown = list(map(text, values))
    if part.mask is None:
        return shown
    return [cell if there else None for cell, there in zip(shown, part.mask, strict=True)]


def _narrow(value: float, form: str, most: int) -> str:
    """The shortest text that reads back to the same narrow float, also by way of a double."""
    if value - value != 0 or value == 0:
        return text(value)
    packed = struct.pack(form, value)
    for digits in range(1, most):
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        whole = int(mantissa.replace(".", ""))
        # Above a power of two the gap to the next float is twice that below: a text there may do where the closest does not.
        for number in (whole, whole + (1 if value > 0 else -1)):
            short = float(f"{number}e{int(exponent) - digits + 1}")
            try:
                if struct.pack(form, short) == packed:
                    return text(short)
            except OverflowError:
                # Rounded up beyond the largest one.
                continue
    return text(float(f"{value:.{most}g}"))
