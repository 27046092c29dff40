"""The way to a daemon over gRPC: to other machines, over TLS, and where there is no socket without HTTP/2 (`framed.py`).

Two threads: the sender's reads the answers, and gRPC's own draws the messages to send out of `_messages`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from .endpoint import EndpointError
from .notices import say, trace
from .talk import Ended, Talk
from .threadless import exchange, threads_can_start

PACKAGE = "collectord-client[grpc]"
METHOD = "/collectord.v1.Collector/Collect"
LOOKING_EVERY = 5.0
CHANNEL_OPTIONS = (
    # What comes back is a few bytes at a time. Looking for a wider window would wake an idle client's threads.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def look_for_grpc(where: str) -> None:
    """Raises EndpointError if grpcio, without which there is no way to the daemon at `where`, cannot be imported."""
    try:
        import grpc  # noqa: F401
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
        raise EndpointError(f"{where} is reached over gRPC, and grpcio {why}: pip install '{PACKAGE}'") from None


def dial(target: str, path: str | None, credentials: Any = None, name: str = "") -> Any:
    """A gRPC channel to where `resolve` found the daemon, over TLS with `credentials`; `name`: in its certificate, where it is
    not the host's. It connects with its first call."""
    import grpc

    if credentials is not None:
        options = CHANNEL_OPTIONS + ((("grpc.ssl_target_name_override", name),) if name else ())
        return grpc.secure_channel(target, credentials, options=options)
    options = CHANNEL_OPTIONS + ((("grpc.default_authority", "localhost"),) if path else ())
    return grpc.insecure_channel(target, options=options)


def quiet(call: Any) -> None:
    """Lets the threads that wait for this call sleep until something happens.

    gRPC's Python has them look ten times a second, so that the main thread hears of signals; ours are none, and it would
    be most of what an idle client costs. Where gRPC has no such condition, nothing is changed.
    """
    condition = getattr(getattr(call, "_state", None), "condition", None)
    if isinstance(condition, threading.Condition):
        wait = condition.wait
        condition.wait = lambda timeout=None: wait(LOOKING_EVERY)  # type: ignore[method-assign]


class OverGrpc:
    """See `talk.Carrier`."""

    name = "grpc"
    settling = 0.02
    """What is left to do in gRPC's own threads takes well under a millisecond, and nothing tells when it is done. A lock that
    one of them holds in the moment of a fork would be held for ever in the child."""

    def __init__(self, target: str, path: str | None, credentials: Any = None, name: str = "") -> None:
        """See `dial`."""
        self._address = (target, path, credentials, name)
        self._call: Any = None
        self._cancelled = False
        self._written = threading.Event()
        """Set when gRPC's thread draws no more messages."""
        self._abandoned: Any = None

    def cancel(self) -> None:
        self._cancelled = True
        call = self._call
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """`run` has left nothing."""

    def run(self, talk: Talk, alone: bool) -> None:
        import grpc

        channel = dial(*self._address)
        started: list[threading.Thread] = []
        try:
            if alone or (sys.version_info >= (3, 12) and not threads_can_start()):
                self._alone(channel, talk)
                return
            before = set(threading.enumerate())
            try:
                self._call = channel.stream_stream(METHOD, None, None)(self._messages(talk))
            except RuntimeError:
                # Python 3.12, and the interpreter began to end just now: gRPC has a call and no thread to serve it, so
                # closing its channel would wait for ever. It is left alone, and the words go out another way.
                self._abandoned, channel = channel, dial(*self._address)
                self._alone(channel, talk)
                return
            quiet(self._call)
            started = [thread for thread in threading.enumerate() if thread not in before and thread.daemon]
            if self._cancelled:
                self._call.cancel()
            for raw in self._call:
                talk.receive(raw)
            raise Ended("OK", "the daemon ended the stream")
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else None
            detail = error.details() if isinstance(error, grpc.Call) else str(error)
            raise Ended(code.name if code is not None else "error", detail or "") from None
        finally:
            self._cancelled = True
            if self._call is not None:
                self._call.cancel()
                talk.bell.ring()
                self._written.wait(1.0)
            channel.close()
            # The call holds the generator: cut here, so that gRPC tears it all down at once.
            self._call = None
            for thread in started:
                thread.join(0.25)

    def _messages(self, talk: Talk) -> Iterator[bytes]:
        """Belongs to gRPC's thread."""
        hearing = talk.bell.hearing()
        try:
            yield talk.hello()
            while True:
                talk.bell.clear()
                if self._cancelled or not talk.alive:
                    return
                message, wait = talk.next()
                if message is not None:
                    yield message
                elif talk.leaving:
                    return
                else:
                    talk.bell.wait(wait, hearing)
        except Exception as error:  # noqa: BLE001
            say(logging.ERROR, "internal", "sending failed: %s", type(error).__name__)
            trace(error)
        finally:
            self._written.set()

    @staticmethod
    def _alone(channel: Any, talk: Talk) -> None:
        """A whole connection without further threads, while the thread that ends the process waits."""
        exchange(
            channel, METHOD, talk.exit_timeout, talk.hello(),
            lambda: talk.next()[0] if talk.alive else None, talk.receive, lambda: talk.waiting,
        )  # fmt: skip
