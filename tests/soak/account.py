"""What was acknowledged, what is in the blobs, and the difference. Reads without collectord's own code."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.e2e.landed import decode

Key = tuple[str, int, str]
"""Kind of the client, its number, and its stream."""

SHOWN = 12
"""Violations that are printed in words."""


@dataclass
class Account:
    """The totals of a soak. `violations` is empty if all is well."""

    acknowledged: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    unexpected: int = 0
    """Rows that nobody has sent."""
    order_violations: int = 0
    """Rows that stand before an earlier one of the same client and stream."""
    parts: int = 0
    """With anything in them."""
    empty: int = 0
    """Blobs that were made and then refused the first append, as one that somebody seals at once: nothing is in them."""
    headers: Counter[int] = field(default_factory=Counter)
    """Headers in a part: number of parts that have so many."""
    violations: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        headers = ", ".join(f"{count} in each of {parts} parts" for count, parts in sorted(self.headers.items()))
        return [
            f"rows acknowledged {self.acknowledged}, found {self.found}",
            f"lost {self.lost}, doubled {self.doubled}, unexpected {self.unexpected}",
            f"order violations {self.order_violations}",
            f"headers: {headers or 'no part at all'}; {self.empty} blobs are empty",
        ]


def settle(sent: Mapping[Key, int], blobs: Mapping[str, bytes]) -> Account:
    """Compares. `sent`: per client and stream, how many rows were acknowledged; they are numbered from 0."""
    account = Account(acknowledged=sum(sent.values()))
    found: dict[Key, list[int]] = {}
    for name in sorted(blobs, key=_place):
        if not blobs[name]:
            account.empty += 1
            continue
        account.parts += 1
        account.headers[_read(name, blobs[name], found, account.violations)] += 1
    for key, numbers in found.items():
        account.found += len(numbers)
        distinct = set(numbers)
        account.doubled += len(numbers) - len(distinct)
        account.unexpected += sum(not 0 <= number < sent.get(key, 0) for number in distinct)
        account.order_violations += _disorder(numbers)
    for key, rows in sent.items():
        gone = set(range(rows)).difference(found.get(key, ()))
        account.lost += len(gone)
        if gone:
            account.violations.append(f"{key}: {len(gone)} of {rows} lost, such as {sorted(gone)[:5]}")
    for key, numbers in found.items():
        twice = [number for number, times in Counter(numbers).items() if times > 1]
        if twice:
            account.violations.append(f"{key}: doubled {sorted(twice)[:5]}")
        if _disorder(numbers):
            account.violations.append(f"{key}: out of order")
    if account.unexpected:
        account.violations.append(f"{account.unexpected} rows that nobody sent")
    if set(account.headers) != {1}:
        account.violations.append(f"headers per part: {dict(account.headers)}")
    return account


def _read(name: str, blob: bytes, found: dict[Key, list[int]], violations: list[str]) -> int:
    """Adds a blob's rows. Returns how many headers it has."""
    text = decode(name, blob)
    if not text.endswith("\n"):
        violations.append(f"{name} ends within a row")
    lines: Iterable[list[str]] = csv.reader(io.StringIO(text, newline=""))
    header = next(iter(lines), [])
    if "$aml_dc_correlation_id" not in header or "n" not in header:
        violations.append(f"{name} does not begin with a header: {header}")
        return 0
    headers, at = 1, header.index("n")
    who = header.index("who") if "who" in header else -1
    designation = "predictions" if "/predictions/" in name else "inputs"
    for row in lines:
        if row == header:
            headers += 1
        elif len(row) != len(header):
            violations.append(f"{name} has a row of {len(row)} values below a header of {len(header)}")
        elif who >= 0:
            found.setdefault(("client", int(float(row[who])), designation), []).append(int(float(row[at])))
        else:
            key, number = split(int(row[at]))
            found.setdefault(key, []).append(number)
    return headers


def joined(who: int, stream: int, number: int) -> int:
    """The value that a wire client's row holds."""
    return (who * 64 + stream) << 32 | number


def split(value: int) -> tuple[Key, int]:
    which, number = value >> 32, value & 0xFFFFFFFF
    return ("wire", which // 64, str(which % 64)), number


def _place(name: str) -> tuple[str, int]:
    """Blobs in the order in which their rows were written: days by name, parts by number."""
    folder, _, leaf = name.rpartition("/")
    number = re.match(r"data\.(\d+)\.csv", leaf)
    return folder, int(number[1]) if number else 0


def _disorder(numbers: list[int]) -> int:
    return sum(after <= before for before, after in itertools.pairwise(numbers))
