"""Scoring processes beside a daemon, and what must have landed from them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.landed import Table
from tests.e2e.process import Daemon, environment

SCRIPT = Path(__file__).with_name("producer.py")
STREAM = "sub/group/ws/service/m/1/{}/default"


class Producers:
    """As many processes of `producer.py` as named; a context manager."""

    def __init__(self, endpoint: str, number: int, env: Mapping[str, str] | None = None) -> None:
        self.endpoint = endpoint
        self.env = environment(env)
        self.number = number
        self.stats: list[dict[str, Any]] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Producers:
        for who in range(1, self.number + 1):
            command = [sys.executable, str(SCRIPT), self.endpoint, str(who)]
            self._processes.append(
                subprocess.Popen(
                    command, env=self.env, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def finish(self) -> list[dict[str, Any]]:
        """Ends them in order and returns what each says of itself: everything it collected was acknowledged."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self._processes:
            said, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            self.stats.append(json.loads(said))
        for stats in self.stats:
            assert stats["settled"], stats
            assert stats["collected"] == stats["acknowledged"] == 2 * stats["rows"], stats
            assert not stats["dropped"] and not stats["rejected"] and not stats["resent_elsewhere"], stats
        return self.stats

    def check(self, inputs: Table, predictions: Table) -> None:
        """Each row of each process is there exactly once, unchanged, and joins with its counterpart."""
        expected = Counter((who, n) for who, stats in enumerate(self.stats, 1) for n in range(stats["rows"]))
        keys: list[dict[tuple[float, float], tuple[str, str, str]]] = []
        for rows, column, more in ((inputs, "x", 0.0), (predictions, "y", 1.0)):
            found = Counter((float(row["who"]), float(row["n"])) for row in rows)
            lost, doubled = expected - found, found - expected
            assert not lost and not doubled, (
                f"{sum(lost.values())} lost, {sum(doubled.values())} doubled of {len(expected)}"
            )
            for row in rows:
                assert float(row[column]) == float(row["n"]) / 7 + more * float(row["who"]), row
            keys.append(
                {
                    (float(r["who"]), float(r["n"])): (
                        r["$aml_dc_correlation_id"],
                        r["$aml_dc_row"],
                        r["$aml_dc_scoring_timestamp"],
                    )
                    for r in rows
                }
            )
        assert keys[0] == keys[1], "inputs and predictions do not join"

    def check_books(self, daemon: Daemon) -> None:
        """The daemon's books say what the clients say."""
        rows = sum(stats["rows"] for stats in self.stats)
        books = daemon.books()
        for designation in ("inputs", "predictions"):
            book = books[STREAM.format(designation)]
            assert (book.received, book.landed, book.in_log, book.quarantined) == (rows, rows, 0, 0), book
            assert not book.rejected and not book.dropped_by_clients, book
