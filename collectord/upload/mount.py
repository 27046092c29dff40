"""Whether the file system that holds a directory store is still mounted where it was.

Below a mount point there is a directory too, mostly an empty one, of another disk. What lands there while the mount is gone is
hidden as soon as it is back, and the books would say that all of it has landed.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from collectord import files
from collectord.errors import SpoolFull
from collectord.logs import event
from collectord.upload.claim import Keeper
from collectord.upload.store import CONTROL_PREFIX

NOTED = "store_mount"
"""Under which the spool remembers where the file system of its store was mounted: that place, a newline, the store."""

_log = logging.getLogger("collectord.upload")


class Mount:
    """Of the directory `root`, from when this is made. From any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.point = _point_of(root)
        """Where the file system is mounted that holds `root`, or on which `root` would be made; None: it is that of `/`."""

    def wait_for(self, noted: bytes | int | str | None) -> bool:
        """Holds on to where it was mounted when a daemon ran before, as its spool has `noted` it. Returns whether it is waited for.

        So a machine that starts without one of its disks does not begin the store anew below. A directory that holds claims is
        one that somebody brought there, and is taken as it is; so is one to which a link leads now that led to the disk.
        """
        point, _, root = str(noted or "").partition("\n")
        if not point or root != str(self._root.absolute()):
            return False
        try:
            if _is_mounted(Path(point)) or (self._root / CONTROL_PREFIX / "spools").is_dir() or self._left(Path(point)):
                return False
        except OSError:
            # Nobody can tell, so it is asked again with each request.
            pass
        self.point = Path(point)
        return True

    def keep(self, keeper: Keeper) -> None:
        """Waits for what the spool has noted, or has it note where the file system is mounted now."""
        noted = keeper.recall(NOTED) or ""
        if self.wait_for(noted):
            event(
                _log, logging.ERROR, "the store waits for its disk", store=str(self._root), mounted_at=str(self.point)
            )
            return
        now = f"{self.point}\n{self._root.absolute()}" if self.point else ""
        if now != noted:
            try:
                keeper.remember(NOTED, now)
            except SpoolFull:
                # With the next start. What empties a full disk is uploading.
                pass

    def check(self) -> None:
        """Raises OSError with ENODEV if the file system is gone, and what `stat` raises if nobody can tell."""
        point = self.point
        if point is not None and not _is_mounted(point):
            if self._left(point):
                self.point = _point_of(self._root)
                return
            raise OSError(
                errno.ENODEV,
                f"nothing is mounted at {point} any more, where the store was; mount it there again, or name the place "
                "where it is now with --store",
            )

    def _left(self, point: Path) -> bool:
        """Whether the store is a directory that no longer lies below `point`: somebody has brought it to another disk, and set
        a link on its way anew. Raises OSError."""
        try:
            place = self._root.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError, RuntimeError):
            # The link itself may lie on a disk that is away.
            return False
        return place.is_dir() and not place.is_relative_to(point)


def _point_of(root: Path) -> Path | None:
    try:
        place = files.nearest(root.resolve())
        device = device_of(place)
        while place.parent != place and device_of(place.parent) == device:
            place = place.parent
    except (OSError, RuntimeError):
        # Who may not look, or finds links in a circle, hears of it with the first request.
        return None
    return place if place.parent != place else None


def _is_mounted(point: Path) -> bool:
    try:
        return device_of(point) != device_of(point.parent)
    except (FileNotFoundError, NotADirectoryError):
        return False


def device_of(directory: Path) -> int:
    """The file system of a directory. Raises OSError."""
    # With the dot it is looked into: what an automounter has let go of for want of use is mounted again.
    return os.stat(f"{directory}/.").st_dev  # noqa: PTH116
