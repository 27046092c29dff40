"""Any valid record batch against the oracle: the property of tests/encode/test_csv.py, drawn from the input's bytes."""

from __future__ import annotations

import random

from fuzz.target import Target
from tests.encode.test_csv import test_any_batch_has_the_oracles_bytes

LONGEST = 4096


def target() -> Target:
    chance = random.Random(3)
    drawn = test_any_batch_has_the_oracles_bytes.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    return Target(drawn, [chance.randbytes(LONGEST) for _ in range(30)], LONGEST)
