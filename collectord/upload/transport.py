"""HTTP connections that do not take half an answer for a whole one.

Python's HTTP client reads the end of a connection as the end of the headers. A length that was cut off
(`Content-Length: 12` of `1234`) then looks like a short blob, and a frame that has landed would be sent once more. Here
an answer whose headers do not end with an empty line is an error, as one whose body is too short is anyway.
"""

from __future__ import annotations

import http.client
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

CONNECTIONS = 32
"""Kept open per host."""


class _Lines:
    """The lines of one answer's head; they may end before the first, but not after it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._begun = False

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(limit)
        if not line and self._begun:
            raise http.client.IncompleteRead(b"")
        self._begun = True
        return line

    def close(self) -> None:
        self._file.close()


class _WholeHead(http.client.HTTPResponse):
    def begin(self) -> None:
        if self.headers is not None:
            return
        file = self.fp
        self.fp = _Lines(file)
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = file


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _WholeHead


class _SecureConnection(urllib3.connection.HTTPSConnection):
    response_class = _WholeHead


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        super().init_poolmanager(*given, **named)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*given, **named)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def open_session() -> requests.Session:
    """A session for any number of threads that sends every request once and follows no redirect by itself."""
    session = requests.Session()
    once = Retry(total=False, redirect=False, raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=CONNECTIONS, max_retries=once))
    return session
