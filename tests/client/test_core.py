"""The compiled core does what the one in Python does, and keeps to the rules for what is compiled."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import collectord_client
import numpy as np
import pytest
from collectord_client import Client, core
from collectord_client.core import LARGE
from collectord_client.page import POOL

from tests.client.cores import Tape
from tests.client.test_collector import eager, together

__all__ = ["eager"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "python" / "collectord_client"
KERNELS = sorted(PACKAGE.rglob("*.pyx"))
EXAMPLES = 150


def run(pure: str, *arguments: str) -> str:
    environment = {
        **os.environ, "COLLECTORD_CLIENT_PURE": pure, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PACKAGE.parent)])
    }  # fmt: skip
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_same_calls_give_the_same_pages_and_books() -> None:
    seed = 1000
    compiled, pure = (
        run(wish, "-m", "tests.client.cores", str(seed), str(EXAMPLES)).splitlines() for wish in ("", "1")
    )
    assert (compiled[0], pure[0]) == ("compiled", "pure")
    assert len(compiled) == len(pure) == EXAMPLES + 1
    for number, (one, other) in enumerate(zip(compiled[1:], pure[1:], strict=True)):
        assert json.loads(one) == json.loads(other), f"example {seed + number}"
    # They were the calls that matter: most went the short way, and every kind of outcome came up.
    examples = [json.loads(line) for line in pure[1:]]
    assert sum(example["short"] for example in examples) > EXAMPLES * 10
    reasons = {reason for example in examples for reason in example["books"]["dropped"]}
    assert {"outbox_full", "unsupported_media", "closed"} <= reasons
    assert any(example["books"]["notes"].get("uncorrelated") for example in examples)
    held = [example for example in examples if any(call[0] == "Held" for call in example["calls"])]
    assert any(example["books"]["recipe"]["selected"] for example in held if example["books"]["recipe"]), "recipes too"
    pages = [page for example in examples for page in example["pages"]]
    assert any(page[5] for page in pages), "with request ids"
    assert any(page[2] > LARGE for page in pages), "with a pooled buffer"


def test_its_own_tests_pass_with_the_core_in_python() -> None:
    """Without it, `make test` would see the compiled one only; `make test-pure` runs all of the client's tests like this."""
    files = [f"tests/client/test_{name}.py" for name in ("collector", "request", "ids", "client")]
    shown = run("1", "-m", "pytest", "-p", "no:xdist", *files)
    assert re.search(r"^[5-9]\d passed|^\d{3} passed", shown, re.M), shown


def test_the_client_says_which_core_is_active() -> None:
    client = Client("m", endpoint="unix:/nowhere/c.sock")
    assert client.stats()["core"] == collectord_client.CORE == core.CORE
    code = "import collectord_client as c; print(c.CORE, c.Client('m', endpoint='unix:/nowhere/c').stats()['core'])"
    assert [run(wish, "-c", code).split() for wish in ("", "0", "1")] == [["compiled"] * 2] * 2 + [["pure"] * 2]
    client.close(0)


def test_without_a_gil_python_is_kept_to() -> None:
    code = "import sys; sys._is_gil_enabled = lambda: False; import collectord_client as c; print(c.CORE)"
    assert run("", "-c", code).split() == ["pure"]


def test_a_core_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    code = (
        "import logging, sys; logging.basicConfig(); from importlib.abc import MetaPathFinder\n"
        "class Broken(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'collectord_client._core': raise ImportError('undefined symbol')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "import collectord_client as c; print(c.CORE); sys.stderr.flush(); sys.stdout.flush()"
    )
    environment = {**os.environ, "COLLECTORD_CLIENT_PURE": "", "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pure"]
    assert "the compiled core cannot be loaded: undefined symbol" in done.stderr


def test_a_core_that_was_not_built_is_nothing_to_tell(tmp_path: Path) -> None:
    """As pip leaves it where there is no C compiler."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    # Without the site's packages, where the core of another tree may be linked.
    code = (
        "import logging, sys; logging.basicConfig()\n"
        "import collectord_client as c; print(c.CORE); sys.stderr.flush(); sys.stdout.flush()"
    )
    environment = {**os.environ, "COLLECTORD_CLIENT_PURE": "", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["pure"], "")


def test_nothing_is_put_while_somebody_holds_the_lock() -> None:
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600)
    client._outbox.carrier = Tape()
    bound = client.collector("labels")
    array = np.ones((1, 6))
    bound.collect(array)
    bound.collect(array)
    thread = threading.Thread(target=bound.collect, args=(array,))
    with client._outbox.lock:
        assert client._outbox.lock.locked()
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        assert client._outbox.collected == 2
    thread.join(10)
    assert client._outbox.collected == 3


def test_no_row_is_lost_or_doubled_while_pages_are_swapped(eager: None) -> None:
    """Four threads put, one seals and settles, all taking turns after a few instructions."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, page_bytes=4096)
    tape = client._outbox.carrier = Tape()
    bound = client.collector("labels")
    calls, threads = 4000, 4
    arrays = [np.full((1, 4), float(k)) for k in range(threads)]
    bound.collect(arrays[0])
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            client._outbox.seal()
            while tape.held:
                page = tape.held.pop()
                client._outbox.settle(page.rows, None, page)

    swapping = threading.Thread(target=swap)
    swapping.start()
    together(*[lambda a=a: [bound.collect(a) for _ in range(calls)] for a in arrays])  # type: ignore[misc]
    done.set()
    swapping.join()
    client._outbox.seal()
    for page in tape.pages:
        page.fold()
    whole = b"".join(bytes(page._values()) for page in tape.pages)
    values = np.frombuffer(whole).reshape(-1, 4)
    expected = {float(k): calls + (k == 0) for k in range(threads)}
    assert dict(zip(*np.unique(values, return_counts=True), strict=True)) == {k: 4 * n for k, n in expected.items()}
    assert (values == values[:, :1]).all()
    ids = b"".join(bytes(page.ids) for page in tape.pages)
    assert len({ids[at : at + 16] for at in range(0, len(ids), 16)}) == calls * threads + 1
    assert sum(len(page.times) for page in tape.pages) == sum(sum(page.counts) for page in tape.pages) == len(values)
    stats = client.stats()
    assert stats["collected"] == len(values) == calls * threads + 1
    while tape.held:
        page = tape.held.pop()
        client._outbox.settle(page.rows, None, page)
    assert (client.stats()["waiting"], client.stats()["outbox_bytes"]) == (0, 0)


@pytest.mark.parametrize("pooled", [True, False])
def test_large_arrays_of_any_size_at_any_place(pooled: bool) -> None:
    """What is copied past the caches, into buffers that were used before, begins and ends anywhere in a line of theirs."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600)
    tape = client._outbox.carrier = Tape()
    collect = client.collector("labels").collect
    random = np.random.default_rng(1)
    for _ in range(3):
        given, size = b"", 0
        if not pooled:
            POOL.clear()
        for length in [*range(16_380, 16_450), *random.integers(16_000, 90_000, 60)]:
            values = random.integers(0, 256, (length, 1), dtype="u1")
            collect(values)
            given += values.tobytes()
            size += length
        client._outbox.seal()
        for page in tape.held:
            page.fold()
        assert b"".join(bytes(page._values()) for page in tape.held) == given
        assert sum(page.rows for page in tape.held) == size
        assert len(tape.held) > 10
        while tape.held:
            page = tape.held.pop()
            page.clear()
            client._outbox.settle(page.rows, None, page)
        assert len(POOL) > 10


def test_it_imports_nothing_of_ours_and_only_its_face_imports_it() -> None:
    assert [PACKAGE / "_core.pyx"] == KERNELS
    text = KERNELS[0].read_text()
    assert not re.findall(r"^\s*(?:(?:from|import|cimport)\s+(?:collectord|\.).*|include\s.*)$", text, re.M)
    importers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Import):
                names = {alias.name.rpartition(".")[2] for alias in node.names}
            else:
                continue
            if "_core" in names:
                importers.add(path)
    assert importers == {PACKAGE / "core.py"}


def test_it_has_every_name_of_its_face_and_its_stub() -> None:
    tree = ast.parse((PACKAGE / "core.py").read_text())
    taken: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "_core":
            taken |= {alias.name for alias in node.names}
    assert {"ShortWay", "Tray", "Context"} <= taken
    pure = [ast.parse(path.read_text()) for path in sorted((PACKAGE / "pure").glob("*.py"))]
    here = {node.name for tree in pure for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"ShortWay", "Tray", "Context"} <= here <= taken, "a class without its twin"
    stub = ast.parse((PACKAGE / "_core.pyi").read_text())
    told: set[str] = {
        alias.asname or alias.name
        for node in stub.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pure.")
        for alias in node.names
    }  # fmt: skip
    assert told == taken


def test_everybody_takes_the_names_from_where_the_core_is_chosen() -> None:
    """Who took one from pure/ would have the one in Python beside the compiled one."""
    found = {path for path in PACKAGE.rglob("*.py") if re.search(r"^ *(from|import) \.*pure\b", path.read_text(), re.M)}
    assert found == {PACKAGE / "core.py"}


def test_the_twins_have_the_same_members() -> None:
    code = (
        "import json; from collectord_client import core\n"
        "print(json.dumps({name: sorted(m for m in dir(of) if not m.startswith('__')) for name, of in vars(core).items()"
        " if isinstance(of, type) and name in ('Uuid7', 'Context', 'Pending', 'Slot', 'ValueWay', 'Correlations')}))"
    )
    compiled, pure = (json.loads(run(wish, "-c", code)) for wish in ("", "1"))
    assert len(pure) == 6
    for name, members in pure.items():
        public = {member for member in members if not member.startswith("_")} - {"head", "step"}
        assert public <= set(compiled[name]), name


def test_notes_are_folded_once() -> None:
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600)
    tape = client._outbox.carrier = Tape()
    collect = client.collector("labels").collect
    for _ in range(400):
        collect(np.ones((1, 6)))
    client._outbox.seal()
    [page] = tape.pages
    first = page.body()
    assert page.body() == first
    assert len(page.times) == len(page.counts) == len(page.ids) // 16 == page.rows == 400


STAMPS = """
import sys, time
import numpy as np
from collectord_client import core, Client
from pathlib import Path
Path("clock").write_text(sys.argv[1])
core.CLOCK = Path("clock")
if core.CORE == "compiled":
    core._core.keep_time_by_ticks(core._kernel_does())
collect = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600).collector("labels").collect
array = np.ones((1, 6))
off, last = 0, time.time_ns()
until = time.monotonic() + 0.1
while time.monotonic() < until:
    before = time.time_ns()
    made = collect(array).time_ns
    after = time.time_ns()
    off = max(off, before - made, made - after)
print(off < 100_000, core._kernel_does())
"""


def test_stamps_follow_the_clock(tmp_path: Path) -> None:
    """Whether the kernel trusts the processor's counter or not. A stamp lies between two looks at the clock, whatever comes between
    them; 100 µs more are for a clock that is being set."""
    for clock, trusted in (("tsc\n", "True"), ("hpet\n", "False")):
        code = f"import os; os.chdir({str(tmp_path)!r})\n{STAMPS}"
        assert run("", "-c", code, clock).split() == ["True", trusted]


def test_a_call_loads_nothing_more_of_numpy() -> None:
    """numpy loads `numpy.ma` when it is first asked for. That is no work for a request, and a fork meanwhile would leave the
    child waiting for the import's lock for good."""
    code = (
        "import numpy as np, sys\n"
        "from collectord_client import Client\n"
        "collect = Client('m', endpoint='unix:/nowhere/c.sock', linger=3600).collect\n"
        "def loaded(): return {name for name in sys.modules if name.startswith('numpy')}\n"
        "before = loaded()\n"
        "for data in (np.ones((2, 2)), np.array(['a', None]), np.ones(3), [np.ones(2)], np.array('2020', 'M8[D]')):\n"
        "    assert collect(data).rows\n"
        "print(sorted(loaded() - before))"
    )
    assert [run(wish, "-c", code).strip() for wish in ("", "1")] == ["[]"] * 2


def test_flask_is_found_when_it_comes_later() -> None:
    """That it is not there is remembered for as many modules as there were."""
    code = (
        "import numpy as np, sys\n"
        "from collectord_client import Client\n"
        "client = Client('m', endpoint='unix:/nowhere/c.sock', linger=3600)\n"
        "collect = client.collector('labels').collect\n"
        "assert 'flask' not in sys.modules\n"
        "for _ in range(5): assert collect(np.ones((1, 6))).request_id is None\n"
        "import flask\n"
        "with flask.Flask('s').test_request_context(headers={'x-request-id': 'here'}):\n"
        "    print(collect(np.ones((1, 6))).request_id)"
    )
    assert [run(wish, "-c", code).split() for wish in ("", "1")] == [["here"]] * 2
