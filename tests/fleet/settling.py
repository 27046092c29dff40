"""What is in the blobs, and whether it is what the scoring pods say. Reads without collectord's own code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv

from tests.e2e.landed import decode

Key = tuple[int, str]
"""A pod's number, and the designation."""
Landed = dict[Key, np.ndarray]
"""The numbers of the rows that are in the blobs, each as often as it is there."""

TIME = "$aml_dc_scoring_timestamp"


@dataclass(frozen=True, slots=True)
class Told:
    """Of one pod and designation: the rows that its client took, in order, and how many of them it has seen acknowledged."""

    taken: np.ndarray
    acknowledged: int


@dataclass(frozen=True, slots=True)
class Settled:
    """How one pod's rows of a designation compare."""

    landed: int
    acknowledged: int
    lost: np.ndarray
    """Acknowledged, and in no blob."""


def read(blobs: Mapping[str, bytes]) -> Landed:
    """The rows of all blobs. Each has one header, whole rows with the values that belong to their numbers, and only rows of
    its own day."""
    parts: dict[Key, list[np.ndarray]] = {}
    for name, data in blobs.items():
        if not data:
            # It was made, and whoever made it was killed before the first append.
            continue
        text = decode(name, data)
        assert text.endswith("\n"), f"{name} is torn"
        designation = "predictions" if "/predictions/" in name else "inputs"
        value = "y" if designation == "predictions" else "x"
        numbers = {"who": pyarrow.float64(), "n": pyarrow.float64(), value: pyarrow.float64()}
        # A second header, or half a row, would be no number.
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={**numbers, TIME: pyarrow.string()}, include_columns=[*numbers, TIME]
            ),
        )
        who, n = table["who"].to_numpy().astype(int), table["n"].to_numpy()
        assert (table[value].to_numpy() == n / 7).all(), f"{name} has values of other rows"
        days = {
            day.replace("-", "/")
            for day in pyarrow.compute.utf8_slice_codeunits(table[TIME], 0, 10).unique().to_pylist()
        }
        assert all(f"/{day}/" in name for day in days), f"{name} has rows of {sorted(days)}"
        for one in np.unique(who):
            parts.setdefault((int(one), designation), []).append(n[who == one].astype(int))
    return {key: np.concatenate(found) for key, found in parts.items()}


def settle(landed: Mapping[Key, np.ndarray], told: Mapping[Key, Told]) -> dict[Key, Settled]:
    """Compares what must hold whatever happened: no row is there twice, none that nobody sent, and of what a client has
    taken the beginning is there, without a gap."""
    assert sum(one.acknowledged for one in told.values()), "nobody sent anything: there is nothing to check"
    strangers = set(landed) - set(told)
    assert not strangers, f"rows of nobody: {strangers}"
    found = {}
    for key, one in told.items():
        there = landed.get(key, np.empty(0, dtype=int))
        distinct = np.unique(there)
        assert len(distinct) == len(there), f"{key}: {len(there) - len(distinct)} rows are there twice"
        assert np.array_equal(distinct, np.sort(one.taken[: len(there)])), f"{key}: not the beginning of what was taken"
        found[key] = Settled(len(there), one.acknowledged, one.taken[len(there) : one.acknowledged])
    return found


def lost(settled: Mapping[Key, Settled]) -> int:
    """Rows acknowledged and in no blob."""
    return sum(len(one.lost) for one in settled.values())
