"""What lies in a spool, by name. The formats are described in docs/formats."""

LOG_DIRECTORY = "log"
FRAMES_DIRECTORY = "frames"
PARKED_DIRECTORY = "parked"
QUARANTINE_DIRECTORY = "quarantine"
"""Rows that cannot land, and what of the log was damaged, each in a directory of its own."""
DIRECTORIES = (LOG_DIRECTORY, FRAMES_DIRECTORY, PARKED_DIRECTORY, QUARANTINE_DIRECTORY)
LOCK_FILE = "lock"
RESERVE_FILE = "reserve"
