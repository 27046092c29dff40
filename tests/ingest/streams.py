"""Streams of clients to a server under test, over whatever carries them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from collectord._pb import collector_pb2 as pb
from tests.ingest.fakes import CLIENT, World, brief, send

OTHER_CLIENT = b"another client.."
WITHIN = 20.0
Call = Any
"""A call of `grpc.aio`, or a `FramedCall`, which has the same face."""


class Clients:
    """Those of one server."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def greeted(self, client: bytes = CLIENT) -> Call:
        """A stream that was welcomed and has declared `SCHEMA`."""
        raise NotImplementedError

    async def works(self) -> None:
        """A fresh client gets a batch through."""
        eager, self.world.log.eager = self.world.log.eager, True
        call = await self.greeted(OTHER_CLIENT)
        sequence = self.world.gate.marks.taken(OTHER_CLIENT) + 1
        await call.write(send(sequence))
        while await hear(call) != f"ack {sequence}":
            pass
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        self.world.log.eager = eager


async def hear(call: Call) -> str:
    """The server's next message, in brief."""
    raw = await asyncio.wait_for(call.read(), WITHIN)
    assert raw is not grpc.aio.EOF, await call.details()
    return brief(pb.ServerMessage.FromString(raw))


async def until(condition: Callable[[], bool]) -> None:
    """Lets the server run until something has become true."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), WITHIN)
