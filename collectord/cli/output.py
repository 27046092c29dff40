"""Where a command writes what others have put into it: on a terminal nothing of that acts on it; and rows of users in a file are
for their owner only, and under its name only when it is whole."""

from __future__ import annotations

import codecs
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from collectord import files
from collectord.logline import harmless

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str, *, err: bool = False) -> None:
    """A line for people; names of blobs and streams, values and messages in it do nothing to their terminal."""
    click.echo(harmless(text), err=err)


def for_stdout(text: str) -> str:
    """Text for stdout: as it is for scripts and files, harmless on a terminal."""
    return harmless(text) if sys.stdout.isatty() else text


def harmless_in(value: Any) -> Any:
    """A JSON value with every text in it harmless, for what draws on a terminal by itself. An object keeps its type: that of a status
    says what it lacks."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return type(value)((name, harmless_in(one)) for name, one in value.items())
    return [harmless_in(one) for one in value] if isinstance(value, list) else value


def console(*, soft_wrap: bool) -> Console:
    """Rich's, on stdout. Where nobody reads on it raises BrokenPipeError as all else does, where rich would exit with 1, which of
    `collectord ledger` says that books do not balance."""
    from rich.console import Console

    class Stdout(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Stdout(soft_wrap=soft_wrap)


def standard_output() -> IO[bytes]:
    """Stdout for rows in bytes, UTF-8: as they are, but harmless on a terminal."""
    return Terminal() if sys.stdout.isatty() else sys.stdout.buffer


class Terminal(io.BytesIO):
    """Rows of others that a person looks at."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        click.echo(harmless(self._decoder.decode(bytes(data))), nl=False)
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


@contextmanager
def private_output(out: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that gets its name, synced, when the block ends well; or stdout for `-`.

    What is there and no file, such as a pipe, is written to as it is.
    """
    if str(out) == "-":
        out_stream = standard_output()
        yield out_stream
        out_stream.flush()
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
