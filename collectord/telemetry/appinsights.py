"""Items go to Application Insights, and its answers are judged.

The protocol is that of the service's ingestion: a JSON array of items, and an answer that counts those received and accepted and
lists the others by their index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from collectord.telemetry.connection import MAX_REDIRECTS, Connection, redirected
from collectord.telemetry.envelope import Shape
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Answer, Barred, Exhausted, Fate, Item, Later, Sorted, TooMuch, Unfit
from collectord.telemetry.poster import NoReply, Poster, Reply, retry_after

NAME: Final = "app_insights"
AGAIN: Final = frozenset((401, 403, 408, 429, 439, 500, 502, 503, 504))
"""Statuses of a single item, or of a request, after which it is sent again."""
QUOTA: Final = frozenset((402, 439))
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))

_DELIVERED = (Fate.DELIVERED, "")

Token = Callable[[], str]


class NoToken(Exception):
    """No token can be had; the text says why, without secrets."""


class AppInsights:
    """One resource. `token` gives what stands behind `Bearer`, where the resource demands Entra; raises NoToken."""

    name = NAME

    def __init__(
        self, connection: Connection, *, token: Token | None = None, poster: Poster | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._shape = Shape(connection.key)
        self._token = token
        self._poster = poster or Poster()
        self._now = now
        self._url = connection.url

    def prepare(self, event: Event) -> Item | Unfit:
        return self._shape.item(event)

    def send(self, items: Sequence[Item]) -> Answer:
        headers = self._headers()
        if isinstance(headers, Barred):
            return headers
        body = b"[" + b",".join(item.body for item in items) + b"]"
        for _ in range(MAX_REDIRECTS):
            reply = self._poster.post(self._url, body, headers)
            if isinstance(reply, Reply) and reply.status in REDIRECTS:
                target = redirected(self._url, reply.headers.get("Location", ""))
                if target is None or reply.status not in (307, 308):
                    return Barred("redirect", "the endpoint sends us to another host, which is not the service's")
                self._url = target
                continue
            answer = judge(reply, len(items), self._now())
            if isinstance(answer, Later | Barred):
                # Whoever sent us there may know better by now.
                self._url = self._connection.url
            return answer
        self._url = self._connection.url
        return Later("redirect", "the endpoint sends us from host to host without end")

    def _headers(self) -> dict[str, str] | Barred:
        headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
        if self._token is not None:
            try:
                headers["Authorization"] = f"Bearer {self._token()}"
            except NoToken as error:
                return Barred("credential", str(error))
        return headers

    def probe(self) -> str:
        headers = self._headers()
        if isinstance(headers, Barred):
            return headers.detail
        answer = judge(self._poster.post(self._url, b"[]", headers), 0, self._now())
        match answer:
            case Barred() | Later():
                return answer.detail
            case Exhausted():
                return "the quota is used up"
            case _:
                # Nothing was sent, so a refusal says that somebody has read it.
                return ""

    def describe(self) -> str:
        return self._connection.host

    def close(self) -> None:
        self._poster.close()


def judge(reply: Reply | NoReply, sent: int, now: float) -> Answer:
    """What the answer to a request with so many items says. Pure; `now` is in seconds since 1970."""
    if isinstance(reply, NoReply):
        return Later("no_answer", reply.detail, doubtful=reply.sent)
    status, wait = reply.status, retry_after(reply.headers, now)
    if status in (200, 206):
        found = _tracked(reply.body, sent)
        if found is None:
            return Later("garbage", f"HTTP {status} without the answer of an ingestion service", wait, doubtful=True)
        return Sorted(found, wait)
    if status == 400:
        found = _tracked(reply.body, sent)
        return TooMuch("http_400") if found is None else Sorted(found, wait)
    if status == 413:
        return TooMuch("http_413")
    if status in QUOTA:
        return Exhausted(f"http_{status}", wait)
    if status in (401, 403):
        return Barred(
            f"http_{status}", f"HTTP {status}: no permission; does the resource demand Entra (app_insights_auth)?"
        )
    if status in (404, 405):
        return Barred(f"http_{status}", f"HTTP {status}: there is no ingestion service at this address")
    if status in AGAIN or status >= 500:
        return Later(f"http_{status}" if status in AGAIN else "http_5xx", f"HTTP {status}", wait)
    return Later("garbage", f"HTTP {status}, which is no answer of an ingestion service", wait, doubtful=True)


def _tracked(body: bytes, sent: int) -> tuple[tuple[Fate, str], ...] | None:
    """The fate of each item, as the body says; None: it is not such a body, or says something else about the numbers."""
    try:
        found: Any = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(found, Mapping):
        return None
    received, accepted, errors = (found.get(name) for name in ("itemsReceived", "itemsAccepted", "errors"))
    errors = errors or []
    if received != sent or not isinstance(accepted, int) or not isinstance(errors, list):
        return None
    fates = [_DELIVERED] * sent
    for error in errors:
        at, status = (error.get("index"), error.get("statusCode")) if isinstance(error, Mapping) else (None, None)
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < sent or not isinstance(status, int):
            return None
        again = status in AGAIN or status in QUOTA
        fates[at] = (Fate.AGAIN if again else Fate.REFUSED, f"item_{status}" if 400 <= status < 600 else "item_other")
    if accepted != sum(fate is Fate.DELIVERED for fate, _ in fates):
        return None
    return tuple(fates)
