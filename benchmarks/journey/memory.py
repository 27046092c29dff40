"""Where an idle daemon's memory goes: what each library adds to a process, in the order in which the daemon has them.

`python -m benchmarks.journey.memory` prints MiB of resident memory; the last line is a whole daemon with a directory store.
"""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys
import time
from pathlib import Path

LIBRARIES = (
    "numpy", "pyarrow", "grpc.aio", "pydantic_settings", "click", "prometheus_client", "sqlite3", "zstandard.backend_cffi",
)  # fmt: skip
OURS = ("collectord.daemon",)
AZURE = ("azure.storage.blob", "azure.identity")
SETTLED = 1.0


def resident() -> float:
    """Of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def alone(*modules: str) -> None:
    """Imports them here and prints what each has added."""
    print(f"{'Python':30} {resident():6.1f}")
    for module in modules:
        before = resident()
        importlib.import_module(module)
        print(f"{module:30} {resident() - before:6.1f}")
    print(f"{'together':30} {resident():6.1f}")


def main(*arguments: str) -> None:
    if arguments:
        alone(*arguments)
        return
    for modules in ((*LIBRARIES, *OURS), (*LIBRARIES, *OURS, *AZURE)):
        # In a fresh process, which has nothing of this one.
        code = f"import runpy, sys; sys.argv[1:] = {list(modules)!r}; runpy.run_path({__file__!r}, run_name='__main__')"
        subprocess.run([sys.executable, "-c", code], check=True)
    # Not before: it has half of these libraries itself.
    from benchmarks.daemon import daemon

    with daemon() as running:
        time.sleep(SETTLED)
        print(f"{'a daemon':30} {running.rss() / 2**20:6.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
