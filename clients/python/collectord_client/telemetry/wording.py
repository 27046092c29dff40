"""What a record of Python's logging says, as text."""

from __future__ import annotations

import logging


def of(record: logging.LogRecord) -> str:
    """Never raises."""
    if not record.args and type(record.msg) is str:
        return record.msg
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001
        # Words and values do not fit each other: handlers say so, and here the words are told.
        try:
            return str(record.msg)
        except Exception as error:  # noqa: BLE001
            return f"(its text failed with {type(error).__name__})"
