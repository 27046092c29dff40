"""Where a command writes rows of users: for their owner only, and under its name only when it is whole."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from collectord import files


@contextmanager
def private_output(out: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that gets its name, synced, when the block ends well; or stdout for `-`.

    What is there and no file, such as a pipe, is written to as it is.
    """
    if str(out) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if out.exists() and not out.is_file():
        with out.open("wb") as special:
            yield special
        return
    # mkstemp: O_EXCL and a name nobody can foresee, so a link laid out in a shared directory is not followed.
    fd, name = tempfile.mkstemp(suffix=".part", prefix=f".{out.name[:200]}.", dir=out.parent)
    part = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            files.sync_file(file.fileno())
        files.rename_durably(part, out)
    finally:
        part.unlink(missing_ok=True)
