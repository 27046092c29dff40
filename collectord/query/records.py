"""Text that has landed as records, one for each row: lines of JSON, and CSV."""

from __future__ import annotations


def lines_of(text: bytes) -> list[bytes]:
    """Lines, each with its end if it has one. Only LF ends one."""
    found = text.split(b"\n")
    last = found.pop()
    return [line + b"\n" for line in found] + ([last] if last else [])


def records_of(text: bytes) -> list[bytes]:
    """The records of whole CSV text, each with its line end; line ends within quotes end none."""
    found = text.split(b"\n")
    if found[-1] == b"":
        found.pop()
    if b'"' not in text:
        return [line + b"\n" for line in found]
    records: list[bytes] = []
    open_lines: list[bytes] = []
    for line in found:
        open_lines.append(line)
        quoted = line.count(b'"') & 1
        if len(open_lines) == 1 and not quoted:
            records.append(line + b"\n")
            open_lines.clear()
        elif len(open_lines) > 1 and quoted:
            records.append(b"\n".join(open_lines) + b"\n")
            open_lines.clear()
    if open_lines:
        records.append(b"\n".join(open_lines) + b"\n")
    return records
