"""What is wrong with a payload of the v2 SDK, wherever that is found."""

from __future__ import annotations

from collectord.errors import NeverAgain


class BadPayload(NeverAgain):
    """A payload that will never be taken."""

    def __init__(self, detail: str, status: int = 400) -> None:
        """`status`: what it is in HTTP. 413: it is too large; 415: its format is not one that is read here."""
        super().__init__(detail)
        self.status = status
