"""Disks that fail and clocks that step, for a real process: a small library stands between it and libc."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
ROOT = Path(__file__).resolve().parents[2]
SIZE = 8 * 8 + 256


class Call(IntFlag):
    """Kinds of calls that may be made to fail."""

    WRITE = 1
    SYNC = 2
    CREATE = 4
    ALLOCATE = 8
    RENAME = 16


def build() -> Path:
    """The library, made anew if its source is younger. Fails without a C compiler, which the kernels need as well."""
    target = ROOT / "build" / "faults" / "shim.so"
    if not target.exists() or target.stat().st_mtime < SOURCE.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Another run may build it at the same time.
        fresh = target.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-Werror", "-Wno-unused-parameter", "-shared", "-fPIC", "-o", fresh, SOURCE, "-ldl"],
            check=True,
        )  # fmt: skip
        fresh.rename(target)
    return target


class Shim:
    """What a process started with `env` will meet. One fault is armed at a time."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(SIZE))
        self.env = {"LD_PRELOAD": str(build()), "FAULT_SHIM": str(file)}
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), SIZE)

    def _set(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * index, value)

    @property
    def fired(self) -> int:
        """Calls that have met the armed fault."""
        return int(struct.unpack_from("<q", self._map, 8 * 6)[0])

    def arm(
        self, calls: Call, path: str, error: int = errno.EIO, *, times: int = -1, skip: int = 0, torn: bool = False,
        delay: float = 0.0,
    ) -> None:  # fmt: skip
        """From now on `calls` on files whose path holds `path` fail with `error`, but for the first `skip`.

        `times` below 0: until disarmed. `error` 0 with a `delay`, in seconds: they only take longer. `torn`: a write leaves
        half of its bytes.
        """
        self.disarm()
        text = path.encode()
        assert 0 < len(text) < 256
        self._map[64:SIZE] = text.ljust(256, b"\0")
        for index, value in enumerate((skip, times, error, int(delay * 1e6), int(torn), 0), 1):
            self._set(index, value)
        self._set(0, int(calls))

    def disarm(self) -> None:
        self._set(0, 0)

    @contextmanager
    def armed(self, calls: Call, path: str, error: int = errno.EIO, **more: float) -> Iterator[None]:
        """`arm`, and `disarm` at the end of the block."""
        self.arm(calls, path, error, **more)  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.disarm()

    def step_wall_clock(self, seconds: float) -> None:
        """Sets the wall clock so much off the machine's."""
        self._set(7, int(seconds * 1e9))

    def close(self) -> None:
        self._map.close()
