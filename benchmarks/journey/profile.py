"""Where the daemon's CPU goes at full speed: `python -m benchmarks.journey.profile`. Needs Linux's perf, and the right to use it.

Two clients send kind A into a directory store, as in target 6, while perf looks at the daemon. Each sample belongs to the library
it was in; in the kernel, to the system call. Shares are scaled to the CPU per record of the same rounds. Prints a table for
docs/performance.md.
"""

from __future__ import annotations

import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.daemon import daemon
from benchmarks.growth.load import Load

ROUNDS = 8
PAGES = 600
FREQUENCY = 1999
FEWEST = 5_000
"""Samples; fewer say nothing."""
LEAST = 0.005
"""Share of a row of the table."""
SYNC, WRITE, SOCKET, WAKING, KERNEL = (
    "kernel: fsync, fdatasync", "kernel: writing files", "kernel: sockets", "kernel: waiting and waking", "kernel: else",
)  # fmt: skip
LIBRARIES = {
    r"_cffi\.|backend_c\.": "zstd",
    r"_csv\.": "CSV text",
    r"_assemble\.|_batch\.|_xxhash\.|libarrow|isal": "Arrow, ids of the index, checksums",
    r"libsqlite3": "SQLite",
    r"cygrpc|libstdc\+\+": "gRPC",
    r"libpython|_asyncio|_message|_struct|array\.|/python": "Python",
    r"libc\.so|ld-linux": "libc: copies, memory, locks",
}
CALLS = {
    r"sys_(fsync|fdatasync|sync)": SYNC,
    r"sys_(p?writev?|pwrite64|fallocate|fadvise|rename|openat|unlink|ftruncate)": WRITE,
    r"sys_(recv|send|accept|read|readv)": SOCKET,
    r"sys_(futex|epoll|poll|sched|clock_nanosleep)|schedule|irq": WAKING,
}
REST = "else"


def main() -> None:
    if shutil.which("perf") is None:
        sys.exit("the profile needs perf on the PATH (Debian: apt-get install linux-perf)")
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder, daemon("--flush-interval", "5") as running:
        load = Load(running, clients=2)
        load.send(PAGES)
        found = Path(folder) / "perf.data"
        recorder = subprocess.Popen(
            ["perf", "record", "-q", "-g", "-F", str(FREQUENCY), "-o", str(found), "-p", str(running.process.pid)]
        )
        spent = [load.send(PAGES).cpu * 1e9 for _ in range(ROUNDS)]
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60)
        load.close()
        where = Counter(_samples(found))
    total = sum(where.values())
    if total < FEWEST:
        sys.exit(f"perf took {total} samples, at least {FEWEST} are needed")
    each = statistics.median(spent)
    print(f"| where | ns per record | share |\n|---|---:|---:|\n| all | {each:,.0f} | 100 % |")
    for name, count in where.most_common():
        if count >= LEAST * total:
            print(f"| {name} | {each * count / total:,.0f} | {count / total:.1%} |")


def _samples(found: Path) -> Iterator[str]:
    """Where each sample was."""
    said = subprocess.run(
        ["perf", "script", "-i", str(found), "-F", "ip,sym,dso"], capture_output=True, text=True, check=True
    ).stdout
    for sample in filter(str.strip, said.split("\n\n")):
        frames = sample.strip("\n").splitlines()
        inside = re.search(r"\(([^()]*)\)$", frames[0])
        library = inside.group(1) if inside else ""
        if "kernel" in library:
            yield next((name for call, name in CALLS.items() if re.search(call, sample)), KERNEL)
        else:
            yield next((name for pattern, name in LIBRARIES.items() if re.search(pattern, library)), REST)


if __name__ == "__main__":
    main()
