"""Where and with what was measured: what stands above every table."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

PACKAGES = ("pyarrow", "polars", "duckdb", "zstandard", "isal", "numpy", "pandas", "grpcio")
ROOT = Path(__file__).resolve().parents[2]


def describe() -> dict[str, str]:
    """Machine, versions, commit and date. What is not known is left out."""
    # Without what a distribution or a host adds to the kernel's version.
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    found = {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, {system}",
        "versions": f"Python {platform.python_version()}, " + ", ".join(_versions()),
        "commit": _commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    return {name: said for name, said in found.items() if said}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    if shutil.which("git") is None:
        return ""
    told = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip()
