"""Whose log it is, before anything is opened: asked when the ledger, which should know, may be lost."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from collectord.wal.segment import SEGMENT_SUFFIX, read_header


def spool_of(directory: Path) -> bytes | None:
    """The spool that most segments in `directory` name; empty if they do not tell, None if there is no segment.

    Nothing is changed. Raises FormatTooNew, and OSError if the directory or a file in it cannot be opened.
    """
    if not directory.is_dir():
        return None
    paths = sorted(path for path in directory.iterdir() if path.suffix == SEGMENT_SUFFIX and path.is_file())
    if not paths:
        return None
    named: Counter[bytes] = Counter()
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = read_header(fd)
        finally:
            os.close(fd)
        if header is not None:
            named[header[0].spool_id] += 1
    return named.most_common(1)[0][0] if named else b""
