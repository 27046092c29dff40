"""Runs many command lines of collectord, each in a process of its own that is forked from this one, so that what takes long to
import is imported once.

    python -m tests.e2e.starting < CASES    # JSON: [{"arguments": [], "env": {}, "uid": -1}]

Prints as JSON, of each case: `status`, `said` (stdout and stderr). One that has not ended after half a minute is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

LONGEST = 30


def run(cases: Sequence[dict[str, Any]], env: dict[str, str]) -> list[dict[str, Any]]:
    """What became of each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.starting"], input=json.dumps(list(cases)), env=env, capture_output=True, text=True,
        timeout=LONGEST * len(cases),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _one(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            _become(case, said.fileno())
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return {"status": os.waitstatus_to_exitcode(status), "said": said.read().decode()}


def _become(case: dict[str, Any], said: int) -> None:
    status = 99
    try:
        signal.alarm(LONGEST)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ.update(case["env"])
        if case["uid"] >= 0:
            os.setgroups([])
            os.setgid(case["uid"])
            os.setuid(case["uid"])
        sys.argv[:] = ["collectord", *case["arguments"]]
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    import encodings.idna  # noqa: F401

    import collectord.admin.http
    import collectord.daemon
    import collectord.doctor
    import collectord.process
    import collectord.upload.azureblob  # noqa: F401
    from collectord.cli.main import main

    print(json.dumps([_one(case) for case in json.load(sys.stdin)]))
