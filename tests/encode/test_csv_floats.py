"""Floats: exactly repr for doubles, its own shortest text for narrower ones, and every text reads back to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.model import ColumnType
from tests.encode import batches, oracle

KINDS = {np.float16: ColumnType.FLOAT16, np.float32: ColumnType.FLOAT32, np.float64: ColumnType.FLOAT64}
WIDTH = 4
Floats = np.ndarray[Any, Any]


def texts(values: Floats) -> list[str]:
    """What the kernel writes for each value, by way of a tensor."""
    padding = np.zeros(-len(values) % WIDTH, values.dtype)
    plan = batches.schema(*[KINDS[values.dtype.type]] * WIDTH, tensor=True)
    batch = batches.tensor(plan, np.concatenate([values, padding]))
    lines = bytes(CsvPlan(plan, 1440).encode(batch, TextBuffer())).decode().splitlines()
    return [text for line in lines for text in line.split(",", WIDTH)[:WIDTH]][: len(values)]


def bits(values: Floats) -> Floats:
    """NaN as one NaN: a text cannot carry its payload."""
    values = np.where(np.isnan(values), np.full_like(values, np.nan), values)
    return values.view(f"u{values.dtype.itemsize}")


@pytest.mark.parametrize("seed", range(4))
def test_random_doubles_are_as_repr(seed: int) -> None:
    """Half of them random bits, so mostly huge or tiny; half of them of the size that features have."""
    random = np.random.default_rng(seed)
    anything = random.integers(0, 2**64, 250_000, dtype=np.uint64).view(np.float64)
    values = np.concatenate([anything, random.normal(size=250_000) * 10.0 ** random.integers(-6, 19, 250_000)])
    assert texts(values) == [oracle.float64_text(value) for value in values.tolist()]


@pytest.mark.parametrize("places", range(8))
def test_doubles_of_few_decimals_are_as_repr(places: int) -> None:
    """The cheaper ways to write a column, with neighbours that nearly fit them."""
    random = np.random.default_rng(places)
    rounded = np.round(random.normal(size=60_000) * 10.0 ** random.integers(0, 16, 60_000), places)
    values = np.concatenate([rounded, np.arange(-2000, 2000) / 10**places, 1e15 + np.arange(-800, 800) / 8])
    values[:: 17 if places % 2 else 9] = np.nextafter(values[:: 17 if places % 2 else 9], np.inf)
    assert texts(values) == [oracle.float64_text(value) for value in values.tolist()]


def boundary_doubles() -> Floats:
    exponents = np.arange(2047, dtype=np.uint64) << np.uint64(52)
    one = np.uint64(1)
    patterns = [exponents, exponents + one, exponents[1:] - one, np.arange(3000, dtype=np.uint64)]
    powers = np.array(
        [float(f"{digit}e{power}") for power in range(-324, 309) for digit in ("1", "9", "1.7", "9.999999999999999")]
    )
    whole = [
        2.0**53 + np.arange(-50, 50),
        1e15 + np.arange(-50, 50),
        1e16 + np.arange(-50, 50) * 2,
        1e17 + np.arange(-50, 50) * 16,
    ]
    # Ties: the digit after the last is a 5 and nothing else, or the end of the rounding interval is the decimal itself.
    ties = [2.0 ** (53 - bits) + np.arange(-400, 400) / 2.0**bits for bits in range(1, 8)]
    ends = [2.0**power + np.arange(-400, 400) * 2.0 ** (power - 52) for power in range(53, 90)]
    small = [1e-4 + np.arange(-50, 50) * 2.0**-66, 1e-5 * np.arange(1, 100)]
    specials = np.array(
        [0.0, np.nan, np.inf, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 9007199254740993.0, 0.3, 2 / 3]
    )
    values = np.concatenate([np.concatenate(patterns).view(np.float64), powers, *whole, *ties, *ends, *small, specials])
    return np.concatenate([values, -values])


def test_doubles_at_every_boundary_are_as_repr() -> None:
    """Powers of two (whose lower neighbour is nearer) and of ten, subnormals, the ends of repr's two layouts."""
    values = boundary_doubles()
    assert texts(values) == [oracle.float64_text(value) for value in values.tolist()]


def test_every_half_float() -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    written = texts(values)
    assert written == [oracle.small_float_text(value) for value in values]
    assert np.array_equal(bits(np.array([float(text) for text in written]).astype(np.float16)), bits(values))


def test_random_floats_are_their_own_shortest() -> None:
    random = np.random.default_rng(5)
    exponents = np.arange(255, dtype=np.uint32) << np.uint32(23)
    one = np.uint32(1)
    patterns = [
        random.integers(0, 2**32, 150_000, dtype=np.uint32),
        exponents,
        exponents + one,
        exponents[1:] - one,
        np.arange(2000, dtype=np.uint32),
    ]
    typical = [
        np.round(random.normal(size=40_000) * 100, 2),
        np.arange(-20_000, 20_000) / 4,
        1e6 + np.arange(-500, 500) / 16,
        *(2.0 ** (24 - bits) + np.arange(-400, 400) / 2.0**bits for bits in range(1, 8)),
        *(2.0**power + np.arange(-400, 400) * 2.0 ** (power - 23) for power in range(24, 60)),
    ]
    values = np.concatenate([np.concatenate(patterns).view(np.float32), *(part.astype(np.float32) for part in typical)])
    assert texts(values) == [oracle.small_float_text(value) for value in values]


def test_a_float_survives_being_read_as_a_double() -> None:
    """Most readers parse a double and narrow it; the one float for which that fails gets one more digit."""
    random = np.random.default_rng(11)
    patterns = random.integers(0, 2**32, 1_000_000, dtype=np.uint32)
    patterns[:4] = [0x15AE43FC, 0x15AE43FD, 0x15AE43FE, 0x95AE43FD]
    values = patterns.view(np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(bits(np.array(texts(values), np.float64).astype(np.float32)), bits(values))
    assert texts(values[1:2]) == ["7.0385307e-26"]
    assert np.float64("7.038531e-26").astype(np.float32) != values[1]


def test_specials() -> None:
    for kind in (np.float16, np.float32, np.float64):
        values = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.5], kind)
        assert texts(values) == ["NaN", "NaN", "Inf", "-Inf", "0.0", "-0.0", "1.0", "-1.5"]
