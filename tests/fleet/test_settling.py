"""The comparison notices what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fleet.settling import Told, lost, read, settle

HEADER = "who,n,x,$aml_dc_correlation_id,$aml_dc_scoring_timestamp\n"
NAME = "m/1/inputs/2026/11/21/data.csv"


def text(*numbers: int, day: str = "2026-11-21") -> bytes:
    return (HEADER + "".join(f"1.0,{n}.0,{n / 7!r},id,{day}T10:00:00.000000\n" for n in numbers)).encode()


def told(rows: int, acknowledged: int) -> dict[tuple[int, str], Told]:
    return {(1, "inputs"): Told(np.arange(rows), acknowledged)}


def test_rows_are_found_by_pod_and_designation() -> None:
    found = read({NAME: text(0, 2), "m/1/inputs/2026/11/21/data.1.csv": text(1)})
    assert {key: sorted(numbers) for key, numbers in found.items()} == {(1, "inputs"): [0, 1, 2]}


def test_what_was_acknowledged_and_is_not_there_is_lost_and_what_nobody_heard_of_may_be_there() -> None:
    landed = read({NAME: text(0, 1)})
    assert lost(settle(landed, told(9, 2))) == 0
    assert lost(settle(landed, told(9, 1))) == 0
    settled = settle(landed, told(9, 5))
    assert list(settled[1, "inputs"].lost) == [2, 3, 4]
    assert lost(settled) == lost(settle({}, told(5, 3))) == 3


@pytest.mark.parametrize(
    "numbers", [(0, 1, 1), (0, 2), (1,), (0, 1, 9)], ids=["doubled", "gap", "beginning", "unknown"]
)
def test_a_row_that_is_there_twice_or_behind_a_gap_fails(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        settle(read({NAME: text(*numbers)}), told(5, 0) | {(2, "inputs"): Told(np.arange(1), 1)})


def test_rows_of_nobody_and_nothing_to_compare_fail() -> None:
    with pytest.raises(AssertionError, match="rows of nobody"):
        settle({(7, "inputs"): np.arange(1)}, told(5, 1))
    with pytest.raises(AssertionError, match="nothing to check"):
        settle({}, told(5, 0))


@pytest.mark.parametrize(
    "blob",
    [text(0)[:-1], text(0) + text(1), text(0, day="2026-11-20"), text(3).replace(b"3.0,", b"4.0,")],
    ids=["torn", "second header", "another day", "another row's value"],
)
def test_a_blob_that_is_not_in_order_fails(blob: bytes) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read({NAME: blob})
