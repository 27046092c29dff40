"""Pins the newest releases: `make lock` of what development and tests need, `make bench-lock` of the peers of benchmarks.

A lock has exact versions and checksums, for every Python that collectord runs on, without the address of any index.
"""

from __future__ import annotations

import subprocess
import sys

from tests.bounds.lowest import PROJECTS, ROOT

Source = tuple[str, ...]
"""What one resolution takes: files, below the root, and options."""
GROUPS = ("build", "test", "lint")
LOCKS: dict[str, dict[str, tuple[Source, ...]]] = {
    "lock": {"dev.lock": ((*PROJECTS, "--all-extras", *(f"--group={group}" for group in GROUPS)),)},
    "bench-lock": {
        "benchmarks/peers.lock": (("benchmarks/peers.in",),),
        # The old SDK wishes for libraries that exist no more: it alone, without them.
        "benchmarks/azureml/peers.lock": (
            ("benchmarks/azureml/peers.in",),
            ("benchmarks/azureml/sdk-v1.in", "--no-deps"),
        ),
    },
}
"""By make target."""


def pinned(source: Source) -> str:
    return subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--upgrade",
         "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", *source],
        check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ).stdout  # fmt: skip


def main(target: str) -> None:
    for lock, sources in LOCKS[target].items():
        text = "".join(map(pinned, sources))
        assert "==" in text and "--hash=" in text, f"{lock} pins nothing"
        assert "://" not in text, f"{lock} names an address"
        files = ", ".join(each for source in sources for each in source if not each.startswith("-"))
        (ROOT / lock).write_text(f"# Made by `make {target}` from {files}.\n{text}")


if __name__ == "__main__":
    main(sys.argv[1])
