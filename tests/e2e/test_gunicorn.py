"""A web service with several workers in front of a real daemon."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.client import hosts
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon


@pytest.mark.parametrize(("worker", "preload"), [("sync", False), ("gthread", True)])
def test_all_that_gunicorn_answered_lands_once_although_the_daemon_is_killed(
    make_daemon: MakeDaemon, worker: str, preload: bool
) -> None:
    """Forked workers, a daemon that is killed between the requests, and a graceful stop: every answered request has its
    inputs and its predictions in the blobs, once, and they join."""
    daemon = make_daemon(flush_interval=0.3).start()
    bind = daemon.folder / "g.sock"
    command = [
        sys.executable, "-m", "gunicorn", "-b", f"unix:{bind}", "-w", "2", "-k", worker,
        "--threads", "4" if worker == "gthread" else "1", "--graceful-timeout", "20", "--chdir", str(hosts.SCRIPTS),
        *(["--preload"] if preload else []), "wsgi:app",
    ]  # fmt: skip
    variables = hosts.environment(True) | {
        "TEST_ENDPOINT": daemon.endpoint,
        "TEST_WARM": "0",
        "HOME": str(daemon.folder),
    }
    with (daemon.folder / "gunicorn.log").open("w") as log:
        server = subprocess.Popen(command, env=variables, cwd=daemon.folder, stdout=log, stderr=log)
    try:
        assert hosts._listening(bind, server), (daemon.folder / "gunicorn.log").read_text()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: hosts._ask(bind, number), range(60)))
            daemon.kill9()
            later = pool.map(lambda number: hosts._ask(bind, number), range(60, 120))
            daemon.start()
            list(later)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, (daemon.folder / "gunicorn.log").read_text()
    finally:
        server.kill()
        server.wait()
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    inputs, predictions = landed.rows(blobs, "/inputs/"), landed.rows(blobs, "/predictions/")

    def first(rows: landed.Table) -> Counter[float]:
        return Counter(float(next(iter(row.values()))) for row in rows)

    assert first(inputs) == Counter(float(k) for k in range(120))
    assert first(predictions) == Counter(2.0 * k for k in range(120))
    ids = Counter(row["$aml_dc_correlation_id"] for row in inputs)
    assert set(ids.values()) == {1}
    assert ids == Counter(row["$aml_dc_correlation_id"] for row in predictions)
