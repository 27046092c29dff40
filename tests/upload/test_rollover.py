"""The first open part with our header takes the next frame, and full parts take none."""

from __future__ import annotations

from collectord.upload.rollover import MAX_APPENDS, Part, PartState, Place, first_place, is_full

OURS, THEIRS = b"o" * 16, b"t" * 16


def part(number: int, header: bytes | None = OURS, state: PartState = PartState.OPEN, appends: int = 1) -> Part:
    return Part("base", number, header, 100 * (number + 1), appends, state, "")


def test_where_nothing_is_known_part_0_is_tried_at_its_beginning() -> None:
    assert first_place([], OURS) == Place(0, 0)


def test_a_known_open_part_is_continued_where_it_ended() -> None:
    assert first_place([part(0)], OURS) == Place(0, 100)


def test_parts_of_others_closed_and_full_ones_are_passed_over() -> None:
    parts = [
        part(0, THEIRS),
        part(1, None, PartState.FOREIGN),
        part(2, OURS, PartState.CLOSED),
        part(3, appends=MAX_APPENDS),
    ]
    assert first_place(parts, OURS) == Place(4, 0)
    assert first_place([*parts, part(4)], OURS) == Place(4, 500)
    assert first_place(parts, THEIRS) == Place(0, 100)


def test_a_gap_is_looked_at_before_what_lies_behind_it() -> None:
    assert first_place([part(0, THEIRS), part(2)], OURS) == Place(1, 0)


def test_a_part_is_full_well_before_the_service_s_limit() -> None:
    assert not is_full(MAX_APPENDS - 1)
    assert is_full(MAX_APPENDS)
    assert MAX_APPENDS < 50_000
