"""A stream driven by the calling thread alone.

Python 3.12 starts no thread any more once the main thread has ended, not even in `atexit`, and gRPC's streams need two
each. A script that collects and ends at once would lose its rows there. The calls below are those of gRPC's own
single-threaded streams (`grpc._channel._SingleThreadedRendezvous`); they are internal to it, hence used for that case
only, and what goes wrong here is an error like any other of a connection.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import Any


def threads_can_start() -> bool:
    """False where the interpreter is ending and refuses."""
    try:
        threading.Thread(target=_nothing, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _nothing() -> None:
    pass


def exchange(
    channel: Any,
    method: str,
    timeout: float,
    first: bytes,
    following: Callable[[], bytes | None],
    receive: Callable[[bytes], None],
    waiting: Callable[[], bool],
) -> None:
    """Sends `first` and what `following` gives, and hands answers to `receive` while `waiting` for some.

    Returns when there is nothing to send and nothing to wait for, when the stream ends, or after `timeout` seconds.
    """
    cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
    kinds = cygrpc.OperationType
    start = (
        ((cygrpc.SendInitialMetadataOperation((), 0), cygrpc.SendMessageOperation(first, 0)), None),
        ((cygrpc.ReceiveStatusOnClientOperation(0),), None),
        ((cygrpc.ReceiveInitialMetadataOperation(0),), None),
        ((cygrpc.ReceiveMessageOperation(0),), None),
    )
    call = channel._channel.segregated_call(
        cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS,
        method.encode(), None, time.time() + timeout, None, None, start, None,
    )  # fmt: skip
    sending, open_batches = True, len(start)
    ended = finished = False
    while open_batches:
        event = call.next_event()
        open_batches -= 1
        for operation in event.batch_operations:
            kind = operation.type()
            if kind == kinds.send_message:
                sending = False
            elif kind == kinds.receive_status_on_client:
                ended = True
            elif kind == kinds.receive_message and operation.message() is not None:
                receive(operation.message())
                if not ended and call.operate((cygrpc.ReceiveMessageOperation(0),), None):
                    open_batches += 1
        if ended or finished:
            continue
        if not sending:
            message = following()
            if message is not None:
                sending = call.operate((cygrpc.SendMessageOperation(message, 0),), None)
                open_batches += sending
            elif not waiting():
                finished = True
                call.cancel(cygrpc.StatusCode.cancelled, "done")
