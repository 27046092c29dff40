"""Whether the process that tells events wants them to be sent."""

from __future__ import annotations

import os

VARIABLE = "AML_APP_INSIGHTS_ENABLED"


def read(given: bool | None) -> bool | None:
    """What was given, else what the environment says; None: as the daemon says."""
    if given is not None:
        return bool(given)
    said = os.environ.get(VARIABLE, "").strip().lower()
    return None if not said else said == "true"
