"""An answer whose head ends early is an error, for http and https, with and without a proxy."""

from __future__ import annotations

import http.client
import io

import pytest

from collectord.upload.transport import _POOLS, _Adapter, _Lines, _WholeHead, open_session


class Socket:
    """The receiving half of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> object:
        return io.BytesIO(self._data)


def begin(data: bytes) -> http.client.HTTPResponse:
    answer = _WholeHead(Socket(data), method="HEAD")  # type: ignore[arg-type]
    answer.begin()
    return answer


WHOLE = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"


def test_a_whole_head_is_read_as_ever() -> None:
    answer = begin(WHOLE)
    assert (answer.status, answer.headers["Content-Length"]) == (200, "1234")
    answer.close()


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_a_head_that_ends_early_is_an_error(end: int) -> None:
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        begin(WHOLE[:end])


def test_the_end_before_the_first_line_is_left_to_the_client_to_name() -> None:
    assert _Lines(Socket(b"").makefile("rb")).readline(10) == b""


def test_every_way_to_the_service_uses_these_connections() -> None:
    session = open_session()
    for scheme in ("http", "https"):
        adapter = session.get_adapter(f"{scheme}://host/")
        assert isinstance(adapter, _Adapter)
        assert adapter.poolmanager.pool_classes_by_scheme is _POOLS
        assert adapter.proxy_manager_for("http://proxy:3128").pool_classes_by_scheme is _POOLS
        assert adapter.max_retries.total is False
        assert _POOLS[scheme].ConnectionCls.response_class is _WholeHead
    session.close()
