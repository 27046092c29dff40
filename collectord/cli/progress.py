"""A bar of rows or of bytes on stderr, where that is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

_Self = TypeVar("_Self", bound="_Bar")


class _Bar:
    """A context manager; draws nothing where nobody looks."""

    def __init__(self, what: str, amount: ProgressColumn, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(), console=console,
            disable=not (shown and console.is_terminal), transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task(what, total=None)

    def __enter__(self: _Self) -> _Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class RowsBar(_Bar):
    """Of rows, so many of all."""

    def __init__(self, what: str) -> None:
        from rich.progress import MofNCompleteColumn

        super().__init__(what, MofNCompleteColumn(), True)

    def tell(self, what: str, done: int, total: int) -> None:
        """What is being done has changed, or how far it is."""
        self._bars.update(self._task, description=what, completed=done, total=total)

    def show(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)


class BytesBar(_Bar):
    """Of bytes that are read."""

    def __init__(self, what: str, *, shown: bool = True) -> None:
        from rich.progress import DownloadColumn

        super().__init__(what, DownloadColumn(binary_units=True), shown)
        self._total = 0

    def expect(self, size: int) -> None:
        """So many more will come."""
        self._total += size
        self._bars.update(self._task, total=self._total)

    def read(self, size: int) -> None:
        """So many more."""
        self._bars.advance(self._task, size)
