"""What is collected in one HTTP request belongs together, whatever the service does in it, and nothing of another does."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.hosts.serving import FASTAPI, FLASK, Server, ask, serving

SERVICES = Path(__file__).with_name("services")
FOUND = ["both", "two", "copied", "given", "inside"]
"""Here a prediction finds its inputs."""
LOST = ["bare", "alone"]
"""Here it gets an id of its own, never that of another request."""
HOWS = [*FOUND, *LOST, "broken"]


@pytest.mark.parametrize("server", [*FLASK, *FASTAPI], ids=str)
def test_requests_of_all_kinds_one_behind_the_other(make_daemon: MakeDaemon, python: Path, server: Server) -> None:
    """On workers and threads that are used again and again, each kind has followed each other."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    asked = [how for first in HOWS for second in HOWS for how in (first, second)]
    with serving(server, python, SERVICES, "service", daemon, {}) as bind, ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda one: ask(bind, f"/{one[1]}/{one[0]}", request_id=f"r{one[0]}"), enumerate(asked))
        )
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    numbers: dict[tuple[str, str], dict[str, float]] = {}
    for model in ("one", "other"):
        for designation, column, factor in (("inputs", "number", 1), ("predictions", "double", 2)):
            rows = landed.rows(blobs, f"/{model}/default/{designation}/")
            numbers[model, designation] = {row["$aml_dc_correlation_id"]: float(row[column]) / factor for row in rows}
            assert len(rows) == len(numbers[model, designation]), "each id once"
            for row in rows:
                # A thread that knows of no request does not know its id either.
                number = round(float(row[column]) / factor)
                known = asked[number] != "inside" and (asked[number] != "bare" or designation == "inputs")
                assert row["$aml_request_id"] == (f"r{number}" if known else "00000000-0000-0000-0000-000000000000")
    for number, (how, ids) in enumerate(zip(asked, answers, strict=True)):
        seen, said = ("one", "inputs"), ("one", "predictions")
        if how == "two":
            assert (ids[0], ids[1]) == (ids[2], ids[3])
            assert numbers["other", "inputs"][ids[1]] == numbers["other", "predictions"][ids[1]] == number
        if how in FOUND:
            assert ids[0] == ids[-1] if how != "two" else ids[0] == ids[2], how
            assert numbers[seen][ids[0]] == numbers[said][ids[0]] == number
        elif how in LOST:
            assert ids[-1] not in numbers[seen]
            assert numbers[said][ids[-1]] == number
    kinds = Counter(asked)
    assert len(numbers["one", "inputs"]) == sum(kinds[how] for how in HOWS if how != "alone")
    assert len(numbers["one", "predictions"]) == sum(kinds[how] for how in HOWS if how != "broken")
    assert len(numbers["other", "inputs"]) == len(numbers["other", "predictions"]) == kinds["two"] == 16
