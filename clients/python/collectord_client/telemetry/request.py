"""A request that a script tells of by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..failures import is_failure
from ..ids import show_id
from ..request import Request, current
from .exchange import Exchange, listen, status_of
from .kinds import REQUEST

if TYPE_CHECKING:
    import uuid

    from .reporter import Reporter


class ReportedRequest(Request):
    """Made by `Client.request`. What is collected and told within its `with` statement belongs together."""

    __slots__ = ("_answer", "_reporter", "_told", "name")

    def __init__(
        self,
        reporter: Reporter,
        name: str,
        url: str | None,
        request_id: str | int | uuid.UUID | None,
        traceparent: str | None,
        client_request_id: str | None,
        dimensions: Mapping[str, Any],
    ) -> None:
        above = current()
        if request_id is None and above is not None and above.id is not None:
            # Within a request of its host it is a part of that.
            request_id = show_id(above.id)
        super().__init__(request_id, traceparent=traceparent)
        self.name = name
        self._reporter = reporter
        self._told = (url, client_request_id, dimensions)
        self._answer: tuple[int | str, bool | None] | None = None
        if self.operation is None and above is not None and above.operation is not None:
            self.operation = above.operation.within()

    def __enter__(self) -> ReportedRequest:
        super().__enter__()
        if REQUEST in self._reporter._feed.kinds:
            url, client_request_id, dimensions = self._told
            listen()
            self.exchange = Exchange(self, (self._reporter,), self.name, url)
            self.exchange.dimensions = dict(dimensions)
            self.exchange.operation.client_request_id = client_request_id
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            if self.exchange is not None:
                failed = error is not None and is_failure(error)
                code, success = self._answer or (500 if failed else 200, None)
                self.exchange.end(code, False if failed else success)

    def answer(self, code: int | str, value: Any = None, success: bool | None = None) -> None:
        """What is answered: a result code, and what else is to be told of it. By default a status below 400 is a success."""
        self._answer = (code, success)
        if self.exchange is not None:
            self.exchange.value = value
        if (status := status_of(code)) is not None:
            self.answered(status)
