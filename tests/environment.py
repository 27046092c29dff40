"""What the machine's environment must not bring into a test."""

from __future__ import annotations

import os


def settings_around() -> list[str]:
    """Names of the variables that would be settings of collectord."""
    return [name for name in os.environ if name.startswith("COLLECTORD_")]


def without_settings() -> dict[str, str]:
    """This environment, without any setting of collectord."""
    ours = settings_around()
    return {name: value for name, value in os.environ.items() if name not in ours}
