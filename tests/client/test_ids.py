"""Generated ids are UUIDv7, grow, and are never made twice."""

from __future__ import annotations

import os
import threading
import uuid

from collectord_client.core import Uuid7


def test_they_are_version_7_of_rfc_9562_and_tell_their_time() -> None:
    ids = Uuid7()
    for time_ns in (0, 1, 1_645_557_742_000_000_000, (1 << 63) - 1):
        made = uuid.UUID(bytes=ids.make(time_ns))
        assert made.variant == uuid.RFC_4122
        assert made.version == 7
        assert made.int >> 80 == time_ns // 1_000_000


def test_they_grow_within_one_millisecond() -> None:
    ids = Uuid7()
    made = [ids.make(1_700_000_000_000_000_000 + k) for k in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_never_get_the_same() -> None:
    ids = Uuid7()
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.extend([ids.make(5) for _ in range(5000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 40_000


def test_two_processes_begin_at_different_places() -> None:
    tails = {Uuid7().make(0)[8:] for _ in range(1000)}
    assert len(tails) == 1000


def test_a_forked_child_begins_elsewhere() -> None:
    from collectord_client import process

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, process.ids.make(5))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int.from_bytes(os.read(reader, 16), "big")
    assert abs(theirs - int.from_bytes(process.ids.make(5), "big")) > 1000
    os.close(reader)
    os.close(writer)
