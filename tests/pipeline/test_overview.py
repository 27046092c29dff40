"""Answers about what waits."""

from __future__ import annotations

import uuid
from collections.abc import Callable

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
