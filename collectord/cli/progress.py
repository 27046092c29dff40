"""A bar of rows on stderr, where that is a terminal."""

from __future__ import annotations

from types import TracebackType


class RowsBar:
    """A context manager; draws nothing where nobody looks."""

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task(what, total=None)

    def __enter__(self) -> RowsBar:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def tell(self, what: str, done: int, total: int) -> None:
        """What is being done has changed, or how far it is."""
        self._bars.update(self._task, description=what, completed=done, total=total)

    def show(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)


class BytesBar:
    """The same of bytes that are read."""

    def __init__(self, what: str, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn(),
            console=console, disable=not (shown and console.is_terminal), transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task(what, total=None)
        self._total = 0

    def __enter__(self) -> BytesBar:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def expect(self, size: int) -> None:
        """So many more will come."""
        self._total += size
        self._bars.update(self._task, total=self._total)

    def read(self, size: int) -> None:
        """So many more."""
        self._bars.advance(self._task, size)
