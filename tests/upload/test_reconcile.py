"""A refusal is judged by where the blob ends."""

from __future__ import annotations

import pytest

from collectord.upload.reconcile import Compare, Finding, Foreign, Held, Replaced, judge


@pytest.mark.parametrize(
    "length, finding",
    [
        (0, Replaced()),
        (99, Replaced()),
        (100, Held()),
        (101, Foreign()),
        (149, Foreign()),
        (150, Compare()),
        (9000, Compare()),
    ],
)
def test_an_append_of_50_bytes_at_100_was_refused(length: int, finding: Finding) -> None:
    assert judge(100, 50, length) == finding


def test_an_empty_blob_that_refuses_its_first_bytes_is_held() -> None:
    assert judge(0, 50, 0) == Held()
