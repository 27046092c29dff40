"""RFC 9562's bits."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from collectord.uuids import is_v7, milliseconds, new_v7, raw_uuid

V7 = UUID("019a9f3e-7c1b-7abc-8000-000000000001")
V4 = UUID("019a9f3e-7c1b-4abc-8000-000000000001")


def test_version_7_tells_when_it_was_made() -> None:
    assert is_v7(V7.bytes)
    assert milliseconds(V7.bytes) == 0x019A9F3E7C1B
    for other in (V4, UUID(int=V7.int ^ 1 << 63), UUID(int=V7.int ^ 1 << 62)):
        assert not is_v7(other.bytes), other


def test_one_that_is_made_is_of_version_7() -> None:
    made = UUID(new_v7(1_600_000_000_123_456_789))
    assert (made.version, made.variant) == (7, RFC_4122)
    assert milliseconds(made.bytes) == 1_600_000_000_123
    assert new_v7(0) != new_v7(0)


def test_only_the_canonical_text_of_a_uuid_is_one() -> None:
    """Rows of uuids are written so."""
    assert raw_uuid(str(V4)) == V4.bytes
    for text in (str(V4).upper(), V4.hex, f"{{{V4}}}", "order-1", ""):
        assert raw_uuid(text) is None
