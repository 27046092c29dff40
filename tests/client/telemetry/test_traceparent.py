"""`traceparent` is read as W3C says, and what is not valid is no trace."""

from __future__ import annotations

import pytest
from collectord_client.telemetry.traceparent import parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("text", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-later"])
def test_a_valid_one(text: str) -> None:
    assert parse(text) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        None, "", b"00", 7, f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE}-{SPAN}", f"cc-{TRACE}-{SPAN}-01more",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * 1000, f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)  # fmt: skip
def test_an_invalid_one(text: object) -> None:
    assert parse(text) is None
