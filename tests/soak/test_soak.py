"""The short soak: a minute's share of the hours that `make soak` runs, and an account that notices what is wrong."""

from __future__ import annotations

import argparse

import pytest

from collectord.testing.azurite import Azurite
from tests.soak.account import joined, settle, split
from tests.soak.run import arguments, soak

ROW = "$aml_dc_correlation_id,n\n"


def chosen(**options: int) -> argparse.Namespace:
    return arguments([word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))])


def test_daemons_killed_before_a_faulty_store_lose_and_double_nothing(azurite: Azurite) -> None:
    account, wrong = soak(
        chosen(seconds=8, appends=60, faults=40, writers=2, directory_writers=1, kill_every=4, limit=120), azurite
    )
    assert not wrong, "\n".join(wrong)
    assert account.found == account.acknowledged > 100


def test_a_soak_in_which_too_little_happened_fails(azurite: Azurite) -> None:
    """It proves nothing."""
    _, wrong = soak(chosen(seconds=1, appends=100_000, writers=1, directory_writers=0, limit=1), azurite)
    assert any("appends" in one for one in wrong) and any("faults" in one for one in wrong)


def text(*numbers: int, header: str = ROW) -> bytes:
    return (header + "".join(f"x,{joined(1, 2, number)}\n" for number in numbers)).encode()


def test_a_row_knows_its_client_and_stream() -> None:
    assert split(joined(3, 5, 77)) == (("wire", 3, "5"), 77)


@pytest.mark.parametrize(
    "blobs, said",
    [
        ({"d/inputs/data.csv": text(0, 2)}, "lost"),
        ({"d/inputs/data.csv": text(0, 1, 1, 2)}, "doubled"),
        ({"d/inputs/data.csv": text(0, 2, 1)}, "out of order"),
        ({"d/inputs/data.csv": text(2), "d/inputs/data.1.csv": text(0, 1)}, "out of order"),
        ({"d/inputs/data.csv": text(0, 1, 2, 3)}, "nobody sent"),
        ({"d/inputs/data.csv": text(0, 1) + text(2)}, "headers per part"),
        ({"d/inputs/data.csv": text(0, 1), "d/inputs/data.1.csv": text(2)[len(ROW) :]}, "header"),
        ({"d/inputs/data.csv": text(0, 1, 2)[:-1]}, "ends within a row"),
        ({}, "lost"),
    ],
)
def test_the_account_notices(blobs: dict[str, bytes], said: str) -> None:
    account = settle({("wire", 1, "2"): 3}, blobs)
    assert any(said in violation for violation in account.violations), account


def test_a_blob_that_refused_its_first_append_is_told_apart_from_a_part() -> None:
    parts = {"d/inputs/data.csv": text(0), "d/inputs/data.1.csv": b"", "d/inputs/data.2.csv": text(1)}
    account = settle({("wire", 1, "2"): 2}, parts)
    assert (account.violations, account.parts, account.empty) == ([], 2, 1)


def test_the_account_is_clean_when_all_is_well() -> None:
    parts = {"d/inputs/data.10.csv": text(2), "d/inputs/data.csv": text(0), "d/inputs/data.2.csv": text(1)}
    account = settle({("wire", 1, "2"): 3}, parts)
    assert (account.violations, account.found, account.headers) == ([], 3, {1: 3})
