"""What carries the messages of one connection, and what it asks its sender: `framed.py` and `overgrpc.py` do it."""

from __future__ import annotations

from typing import Protocol

from .bell import Bell


class Ended(Exception):
    """The daemon, or what lies between, ended the connection."""

    def __init__(self, status: str, detail: str) -> None:
        """`status`: the name of a gRPC status code; OK: in good order."""
        super().__init__(detail if status == "OK" else f"{status}: {detail}")
        self.status = status


class Talk(Protocol):
    """One connection's side of the sender."""

    bell: Bell
    """Rings when `next` may have something else to say."""
    exit_timeout: float
    """Seconds that the end of the process may take."""

    def hello(self) -> bytes:
        """The first message."""
        ...

    def next(self) -> tuple[bytes | None, float]:
        """The next message, or None and for how long there is nothing to do unless the bell rings."""
        ...

    def receive(self, raw: bytes) -> None:
        """Takes an answer."""
        ...

    @property
    def alive(self) -> bool:
        """False once nothing more is to be said or heard."""
        ...

    @property
    def leaving(self) -> bool:
        """Where `next` has nothing, nothing will come any more: the stream is to be ended in good order."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether an answer is due."""
        ...


class Carrier(Protocol):
    """One connection."""

    name: str
    """What `stats` call it."""
    settling: float
    """Seconds for which what it has started may go on after its end."""

    def run(self, talk: Talk, alone: bool) -> None:
        """Carries messages both ways until `talk` is not alive any more. `alone`: the interpreter ends and starts no thread any
        more, so it ends when nothing is due, at the latest after the exit's timeout.

        Raises:
            Ended: by the daemon.
        """
        ...

    def cancel(self) -> None:
        """Ends it; from any thread, at any time. After `close` nothing happens."""
        ...

    def close(self) -> None:
        """Lets go of it, whether it ran or not."""
        ...
