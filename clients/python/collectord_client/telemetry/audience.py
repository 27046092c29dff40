"""Who is told of what happens in a process by itself: prints, logs, requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reporter import Reporter


class Audience:
    """Clients, at most one of each service: the one that asked last. Thread-safe; read without a lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.clients: tuple[Reporter, ...] = ()

    def join(self, client: Reporter) -> list[Reporter]:
        """Returns those in whose place it comes."""
        with self._lock:
            gone = [one for one in self.clients if one._service == client._service]
            self.clients = (*(one for one in self.clients if one not in gone), client)
            return gone

    def leave(self, client: Reporter) -> None:
        with self._lock:
            self.clients = tuple([one for one in self.clients if one is not client])


prints, logs, requests = Audience(), Audience(), Audience()
