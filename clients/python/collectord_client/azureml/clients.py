"""The clients behind the faces of Azure ML's SDKs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from ..client import Client
from .identity import Identity


class Clients(dict[object, Client]):
    """Those of one face: one per process for what belongs together, which then shares a connection and a bound of memory.
    Thread-safe."""

    def __init__(self, make: Callable[..., Client] = Client) -> None:
        super().__init__()
        self._make = make
        self._lock = threading.Lock()

    def find(self, identity: Identity, key: object, **options: Any) -> Client:
        """The client of a stream, made with `options` if need be; `key` is what they depend on.

        Raises ValueError for names that can never be filed.
        """
        with self._lock:
            found = self.get((identity, key))
            if found is None:
                found = self[identity, key] = self._make(*identity.levels(), **options)
            return found

    def counting(self) -> Client:
        """That of collectors that cannot work: it takes nothing, and counts. Whatever the environment says may be why."""
        with self._lock:
            found = self.get(None)
            if found is None:
                found = self[None] = self._make(
                    sampling=1.0, columns={}, max_us_per_call=math.inf, errors="off", enabled=False
                )
            return found
