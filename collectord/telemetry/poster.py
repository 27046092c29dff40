"""One connection, kept open, on which a request is sent once and its answer read within a bounded time and size."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.util import Retry

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""For one read."""
ANSWER_SECONDS = 60.0
"""For the whole answer, from the moment its head is there."""
MAX_ANSWER = 4 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    """Without regard to case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """There was none, or not a whole one. `sent`: the request may have been taken all the same."""

    detail: str
    sent: bool


class Poster:
    """Follows no redirect, and takes no user or password from `.netrc`. Proxies and certificates are those of the environment."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._session = requests.Session()
        once = Retry(total=False, redirect=False, raise_on_status=False)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=once))
        self._session.auth = _no_auth

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply | NoReply:
        """Sends `body`, compressed."""
        try:
            with self._session.post(
                url, data=gzip.compress(body, 1), headers={**headers, "Content-Encoding": "gzip"}, stream=True,
                allow_redirects=False, timeout=(CONNECT_SECONDS, READ_SECONDS),
            ) as response:  # fmt: skip
                return Reply(response.status_code, response.headers, self._read(response))
        except (requests.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            return NoReply(_said(error), sent=False)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            return NoReply("the address, or that of the proxy (HTTPS_PROXY), cannot be used", sent=False)
        except (requests.RequestException, HTTPError, ValueError, OSError) as error:
            if type(error) is OSError and error.errno is None:
                # Of `requests` itself, before it connects: a file that is not there.
                return NoReply("the file of certificates (REQUESTS_CA_BUNDLE) cannot be read", sent=False)
            return NoReply(_said(error), sent=not _was_refused(error))

    def _read(self, response: requests.Response) -> bytes:
        deadline = self._monotonic() + ANSWER_SECONDS
        found = bytearray()
        # What has come by now; `iter_content` waits until a piece is full, however long each of its bytes takes.
        while chunk := response.raw.read1(64 << 10, decode_content=True):
            found += chunk
            if len(found) > MAX_ANSWER:
                raise requests.ConnectionError("the answer is too long")
            if self._monotonic() > deadline:
                raise requests.ReadTimeout("the answer does not end")
        return bytes(found)

    def close(self) -> None:
        self._session.close()


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait, given as such or as a date; `now` is in seconds since 1970."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _was_refused(error: BaseException) -> bool:
    """Whether nobody listened, so that nothing was sent."""
    seen: BaseException | None = error
    while seen is not None:
        reason = getattr(seen, "reason", None)
        if type(seen).__name__ in ("NewConnectionError", "NameResolutionError") or isinstance(
            seen, ConnectionRefusedError
        ):
            return True
        inner = next((one for one in seen.args if isinstance(one, BaseException)), None)
        seen = reason if isinstance(reason, BaseException) else inner or seen.__cause__
    return False


def _said(error: BaseException) -> str:
    """In our words: those of the library hold addresses, which may hold keys."""
    match error:
        case requests.ConnectTimeout():
            return "nobody answers at this address"
        case requests.exceptions.SSLError():
            return "the certificate cannot be verified, or no secure connection can be made"
        case requests.exceptions.ProxyError():
            return "the proxy refuses the connection"
        case requests.Timeout() | ReadTimeoutError():
            return "no answer within the timeout"
        case _ if _was_refused(error):
            return "no connection can be made"
        case requests.ConnectionError() | ProtocolError():
            return "the connection was closed before the answer was there"
        case _:
            return "the answer cannot be read"
