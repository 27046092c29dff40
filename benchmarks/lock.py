"""Pins the newest releases of the peers: `make bench-lock`.

From each `.in` a lock of exact versions and checksums, for every Python that collectord runs on, without the address of any index.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCKS = {
    "peers.lock": (("peers.in", ()),),
    # The old SDK wishes for libraries that exist no more: it alone, without them.
    "azureml/peers.lock": (("azureml/peers.in", ()), ("azureml/sdk-v1.in", ("--no-deps",))),
}


def pinned(source: Path, options: tuple[str, ...]) -> str:
    return subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--upgrade",
         "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", *options, str(source)],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def main() -> None:
    for lock, sources in LOCKS.items():
        text = "".join(pinned(HERE / name, options) for name, options in sources)
        assert "==" in text and "--hash=" in text, f"{lock} pins nothing"
        assert "://" not in text, f"{lock} names an address"
        (HERE / lock).write_text(f"# Made by `make bench-lock` from {', '.join(name for name, _ in sources)}.\n{text}")


if __name__ == "__main__":
    main()
