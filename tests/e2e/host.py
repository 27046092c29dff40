"""A process that collects by itself, as told by lines on its stdin; each answer is a line of JSON on its stdout.

host.py MODEL       with COLLECTORD_ENDPOINT in the environment
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from typing import Any

from collectord_client import Client


class Host:
    """What it can be told: every method but the first."""

    def __init__(self, model: str) -> None:
        self._client = Client(model, "1")
        self._inputs = self._client.collector("inputs", ["number"])

    def collect(self, first: str, count: str) -> None:
        for number in range(int(first), int(first) + int(count)):
            self._inputs.collect([[number]])

    def flush(self) -> bool:
        return self._client.flush(20)

    def close(self) -> bool:
        return self._client.close(20)

    def stats(self) -> dict[str, Any]:
        return self._client.stats()

    def fork(self) -> int:
        """A child that does nothing until it is killed."""
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        return pid

    def surroundings(self) -> dict[str, Any]:
        """What a library that is a guest leaves as it was."""
        root = logging.getLogger()
        return {
            "signals": {number.name: str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)},
            "root": [str(handler) for handler in root.handlers] + [root.level],
            "switches": sys.getswitchinterval(),
            "created": "prometheus_client" in sys.modules and sys.modules["prometheus_client"].metrics._use_created,
        }

    def threads(self) -> list[str]:
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("collectord"))


def main(model: str) -> None:
    host = Host(model)
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(getattr(host, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
