"""`make test-floats`: builds `compare.cpp`, and compares every float32 and as many random doubles."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "floats"
FLAVOURS = {"native": [], "portable": ["-DCOLLECTORD_PORTABLE"]}
STEP = 2**28
"""Numbers that a process compares."""
DOUBLES = 4
"""Processes that compare doubles."""


def build(flavour: str) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / flavour
    headers = ["-I", str(ROOT / "collectord" / "encode")]
    command = [
        os.environ.get("CXX", "g++"),
        "-std=c++17",
        "-O3",
        *FLAVOURS[flavour],
        *headers,
        str(HERE / "compare.cpp"),
    ]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def compare(program: Path, kind: str, first: int, count: int) -> str:
    """What it says; exits if anything differs, or fewer were compared than should be."""
    answer = subprocess.run([program, kind, str(first), str(count)], capture_output=True, text=True)
    said = answer.stdout.strip()
    if answer.returncode or said != f"{count} compared":
        sys.exit(f"{program.name}, {kind} from {first}: {answer.returncode}\n{said}\n{answer.stderr}")
    return f"{program.name}, {kind} from {first}: {said}"


def main() -> None:
    jobs = []
    for flavour in FLAVOURS:
        program = build(flavour)
        jobs += [(program, "float", first, STEP) for first in range(0, 2**32, STEP)]
        jobs += [(program, "double", seed, STEP) for seed in range(DOUBLES)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for said in pool.map(lambda job: compare(*job), jobs):
            print(said, flush=True)


if __name__ == "__main__":
    main()
