"""Takes the screenshots of docs/images from a daemon that is under load for a while: python -m tests.page.shoot MINUTES"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.process import ROOT, Daemon
from tests.page.browser import opened
from tests.page.scene import Scene

IMAGES = ROOT / "docs" / "images"


async def shoot(daemon: Daemon, folder: Path) -> None:
    """The page in light, in dark, and on a phone."""
    async with opened(f"http://127.0.0.1:{daemon.admin_port}/", folder) as page:
        await page.until("document.querySelectorAll('#rows tr').length > 3")
        for name, width, dark, phone in (
            ("light", 1280, False, False),
            ("dark", 1280, True, False),
            ("phone", 390, False, True),
        ):
            await page.look(width, dark, phone)
            await page.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            await page.shoot(IMAGES / f"status-{name}.png", 2600 if phone else 0)


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory(prefix="cd-") as made:
        folder = Path(made)
        daemon = Daemon(folder, flush_interval=10, node="aks-pool1-000002").start()
        try:
            scene = Scene(daemon)
            scene.block("blocked")
            scene.complain()
            began = time.monotonic()
            while (age := time.monotonic() - began) < minutes * 60:
                scene.step(1 + 0.8 * math.sin(age / 60))
                time.sleep(1)
            asyncio.run(shoot(daemon, folder))
            scene.close()
        finally:
            daemon.clear_away()


if __name__ == "__main__":
    main(float(sys.argv[1]))
