"""Which payloads of the v2 door have been stored: their trace ids, for as long as a sender may come again with one.

A payload with a trace id is an entry of the log whose client id is made from that trace id, with sequence 1. So nothing
but the log has to be written before a payload is accepted: whoever reads the log, live or after a crash, finds here again
what it has seen, and the checkpoint of the marks takes it into the ledger before the log lets go of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

PREFIX = b"\0mdc\0"
"""The client ids of the v2 door begin with it; no other client may have one that does."""
TRACED, UNTRACED = b"t", b"u"
WINDOW_NS = 3_600_000_000_000
"""For so long a repeat is recognised, if it is among the newest `MAX_PAYLOADS`."""
MAX_PAYLOADS = 100_000


def client_of(collection: str, trace: str, tenant: str = "") -> bytes:
    """The client id of a payload. What is sent again has the same trace id and goes into the same collection. Two tenants'
    are two: else one could say the other's trace id first, and the other's rows would be a repeat."""
    text = f"{collection}\0{trace}{tenant and chr(0) + tenant}".encode(errors="surrogatepass")
    return PREFIX + TRACED + hashlib.blake2b(text, digest_size=10).digest()


def untraced_client() -> bytes:
    """The client id of a payload without a trace id; it is never asked for again."""
    return PREFIX + UNTRACED + os.urandom(10)


def is_ours(client: bytes) -> bool:
    """Whether a client id is one of the v2 door's."""
    return client.startswith(PREFIX)


class Payloads:
    """The newest payloads. Not thread-safe: `Marks` has the lock."""

    def __init__(self, limit: int = MAX_PAYLOADS, window_ns: int = WINDOW_NS) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._seen_ns: dict[bytes, int] = {}
        """In the order in which they came."""
        self._fresh: dict[bytes, int] = {}
        """What the ledger does not know yet."""
        self._telling: dict[bytes, int] = {}
        """What it is being told, and may not have heard."""
        self._gone: list[bytes] = []
        """What the ledger need not know any longer."""

    def __len__(self) -> int:
        return len(self._seen_ns)

    def __contains__(self, client: bytes) -> bool:
        return client in self._seen_ns

    def restore(self, client: bytes, seen_ns: int) -> None:
        """The ledger knows it. To be called in the order in which they came."""
        if client.startswith(PREFIX + TRACED):
            self._seen_ns[client] = seen_ns
            self._crowd_out()

    def observe(self, client: bytes, now_ns: int) -> None:
        """It stands in the log. Said twice of each: when it is durable, and when the log is read."""
        if client in self._seen_ns or not client.startswith(PREFIX + TRACED):
            return
        self._seen_ns[client] = now_ns
        self._fresh[client] = now_ns
        self._crowd_out()

    def changed(self) -> Iterator[tuple[bytes, int, int]]:
        """As of `Marks.changed`: what the ledger does not know, again and again until `told`."""
        self._telling.update(self._fresh)
        self._fresh.clear()
        return iter([(client, 1, seen_ns) for client, seen_ns in self._telling.items()])

    def told(self) -> None:
        """The ledger knows what `changed` has said last."""
        self._telling.clear()

    def shift(self, ahead_ns: int, now_ns: int) -> None:
        """As of `Marks.shift`."""
        self._seen_ns = {client: min(seen_ns + ahead_ns, now_ns) for client, seen_ns in self._seen_ns.items()}
        self._fresh = dict(self._seen_ns)

    def gone(self, now_ns: int) -> list[bytes]:
        """What has been forgotten since the last call, because of its age or to make room."""
        while self._seen_ns:
            oldest = next(iter(self._seen_ns))
            if self._seen_ns[oldest] > now_ns - self._window_ns:
                break
            self._forget(oldest)
        gone, self._gone = self._gone, []
        return gone

    def _crowd_out(self) -> None:
        while len(self._seen_ns) > self._limit:
            self._forget(next(iter(self._seen_ns)))

    def _forget(self, client: bytes) -> None:
        del self._seen_ns[client]
        self._fresh.pop(client, None)
        self._telling.pop(client, None)
        self._gone.append(client)
