"""Answers about what waits."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from collectord.model import HOUR_NS, Partition
from tests.pipeline.node import Client, Node, schema, wait_until


def test_an_entry_that_waits_is_found_by_what_it_holds(node: Callable[..., Node]) -> None:
    """By any of the needles, until it has landed; beyond the limit it says that it did not look."""
    running = node()
    of = Client(schema())
    other = Client(schema("outputs"))
    running.append(of.batch(10), of.batch(7), other.batch(3))
    pipeline = running.pipeline
    wait_until(lambda: pipeline.overview.waiting().rows == 20)
    wanted = uuid.UUID(of.ids[12]).bytes
    found, size, complete = pipeline.overview.search([b"nowhere", wanted], 1 << 20)
    assert [(stream, rows) for stream, _, rows in found] == [(of.schema.stream.key(), 7)]
    assert complete
    assert size > 20 * 32
    first, fewer, complete = pipeline.overview.search([uuid.UUID(of.ids[0]).bytes, wanted], 2000)
    assert [rows for _, _, rows in first] == [10]
    assert not complete
    assert fewer < size
    assert pipeline.overview.search([], 1 << 20)[0] == []
    assert pipeline.flush(10)
    assert pipeline.overview.search([wanted], 1 << 20) == ([], 0, True)


def test_the_newest_batches_that_wait_come_first_and_only_those_that_are_wanted(node: Callable[..., Node]) -> None:
    running = node()
    of, other = Client(schema()), Client(schema("outputs"))
    first, between, last = of.batch(10), other.batch(3), of.batch(7)
    running.append(first)
    running.append(between)
    running.append(last)
    overview = running.pipeline.overview
    # What is durable is seen at once, also before the pipeline has taken it in.
    assert [bytes(payload) for _, payload in overview.newest(lambda _: True)] == [
        bytes(entry.payload) for entry in (last, between, first)
    ]
    wanted = [(found.stream, bytes(payload)) for found, payload in overview.newest(lambda one: one == of.schema.stream)]
    assert wanted == [(of.schema.stream, bytes(entry.payload)) for entry in (last, first)]
    position = running.pipeline._log.durable
    late = of.batch(4)
    running.append(late)
    assert [bytes(payload) for _, payload in overview.newest(lambda _: True, after=position)] == [bytes(late.payload)]
    partition = first.partition
    assert isinstance(partition, Partition)
    end = partition.start_hour + partition.boundary_minutes // 60
    assert len(list(overview.newest(lambda _: True, end - 1))) == 4
    assert list(overview.newest(lambda _: True, end)) == []
    looking = overview.newest(lambda _: True)
    next(looking)
    assert running.pipeline.flush(10)
    assert list(overview.newest(lambda _: True)) == []
    looking.close()


def test_rows_of_days_that_are_over_are_told_until_they_have_landed(node: Callable[..., Node]) -> None:
    """Also after a restart, when nobody knows any more when they came."""
    running = node()
    of = Client(schema())
    now = time.time_ns()
    running.append(of.batch(10, now - 24 * HOUR_NS), of.batch(7, now - 48 * HOUR_NS), of.batch(3, now + 24 * HOUR_NS))
    wait_until(lambda: running.pipeline.overview.waiting().rows == 20)
    assert running.pipeline.overview.past_rows() == 17
    assert running.pipeline.flush(10)
    assert running.pipeline.overview.past_rows() == 0
