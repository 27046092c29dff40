"""What the host has imported: numpy, pandas and others are looked up, not imported for their own sake."""

from __future__ import annotations

import sys
from typing import Any

_whole: dict[str, Any] = {}
"""Modules that were seen to be imported to their end."""


def loaded(name: str) -> Any:
    """The module `name`; None where nobody has imported it, or a thread is just about to: until it is done, it lacks what one would
    ask it for, and no data can be its."""
    module = sys.modules.get(name)
    if module is None or module is _whole.get(name):
        return module
    # Which is what the import system itself goes by.
    if getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    _whole[name] = module
    return module
