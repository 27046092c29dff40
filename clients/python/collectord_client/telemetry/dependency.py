"""A call of something else, from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..failures import is_failure
from . import cuts, number, stack
from .cuts import Cuts
from .kinds import DEPENDENCY
from .operation import Operation, enter, leave, underway

if TYPE_CHECKING:
    from .reporter import Reporter

MILLION = 1_000_000


class Dependency:
    """Made by `Client.dependency`. What is told within its `with` statement belongs to it; its attributes may be set until it
    ends."""

    def __init__(
        self,
        reporter: Reporter,
        name: str,
        target: str | None,
        type: str | None,
        data: str | None,
        success: bool | None,
        result_code: str | int | None,
        dimensions: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.target = target
        self.type = type
        self.data = data
        self.success = success
        self.result_code = result_code
        self.dimensions = dict(dimensions)
        self._reporter = reporter
        self._began = self._tick = 0
        self._operation: Operation | None = None
        self._token: Any = None

    def __enter__(self) -> Dependency:
        if DEPENDENCY in self._reporter._feed.kinds:
            self._operation = _begun()
            self._token = enter(self._operation)
        self._began, self._tick = time.time_ns(), time.perf_counter_ns()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        took = time.perf_counter_ns() - self._tick
        operation = self._operation
        if operation is None:
            return
        leave(self._token)
        self._token = self._operation = None
        if self.success is None:
            self.success = not is_failure(error)
        if error is not None and self.result_code is None and is_failure(error):
            self.result_code = stack.type_of(error)
        self._tell(self._began, took / MILLION, operation)

    def took(self, duration: float) -> None:
        """It has ended now, and took so many milliseconds."""
        if DEPENDENCY in self._reporter._feed.kinds:
            try:
                began = time.time_ns() - int(duration * MILLION)
            except (TypeError, ValueError, OverflowError):
                began = time.time_ns()
            self._tell(began, duration, _begun())

    def _tell(self, began: int, duration: float, operation: Operation) -> None:
        try:
            told: Cuts = {}

            def text(name: str, given: Any, most: int) -> str | None:
                return None if given is None else cuts.cut(name, str(given), most, told)

            success = None if self.success is None else bool(self.success)
            own = (
                operation.span, text("type", self.type, cuts.SHORT), text("target", self.target, cuts.LONG),
                text("name", self.name, cuts.SHORT), text("data", self.data, cuts.EVENT_BYTES),
                number.real("a duration", duration), text("resultCode", self.result_code, cuts.SHORT), success,
            )  # fmt: skip
            self._reporter._tell(DEPENDENCY, began, operation, own, self.dimensions, told)
        except Exception as broken:  # noqa: BLE001
            self._reporter._broken(DEPENDENCY, broken)


def _begun() -> Operation:
    above = underway()
    return Operation.alone() if above is None else above.within()
