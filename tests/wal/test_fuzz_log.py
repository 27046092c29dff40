"""What the fuzzer of the log once found stays mended; `make fuzz TARGETS=log` looks for more."""

from __future__ import annotations

import pytest

from fuzz.log import EDIT, Mutilation, seeds

Edit = tuple[int, int, int, int, int]

FOUND: dict[str, list[Edit]] = {
    "the newest header and the end of the segment before it": [
        (120, 255, 4290838276, 65535, 19),
        (115, 66, 2830739602, 27616, 65462),
    ],
    "the oldest header, after the first segment of all is gone, and an entry behind it": [
        (6, 0, 293863428, 4284, 0),
        (0, 0, 50528321, 4387, 0),
        (0, 0, 68, 200, 69),
    ],
}


@pytest.fixture(scope="module")
def log() -> Mutilation:
    return Mutilation()


@pytest.mark.parametrize("edits", FOUND.values(), ids=FOUND)
def test_every_acknowledged_row_is_accounted_for(log: Mutilation, edits: list[Edit]) -> None:
    log.one(b"".join(EDIT.pack(*edit) for edit in edits))


def test_every_kind_of_edit_and_every_pair_is_survived(log: Mutilation) -> None:
    tried = 0
    for data in seeds():
        log.one(data)
        tried += 1
    assert tried == 10 + 45
