"""`Client(endpoint="dir:PATH")`: real processes that collect by themselves, without a daemon, and what is in PATH then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from collectord_client.endpoint import socket_of

from collectord.control.client import ControlClient
from tests.client import hosts
from tests.e2e import landed
from tests.e2e.process import ROOT, collectord, environment
from tests.e2e.waiting import eventually

SCRIPT = Path(__file__).with_name("host.py")
CLIENT = ROOT / "clients" / "python"
BOTH = {"PYTHONPATH": f"{ROOT}:{CLIENT}"}
HELD = {"COLLECTORD_FLUSH_INTERVAL": "3600"}
"""Nothing lands before it has to."""


class Host:
    """A process that `host.py` runs."""

    def __init__(self, path: Path, errors_at: Path, more: Mapping[str, str]) -> None:
        self._errors = errors_at / f"{os.urandom(4).hex()}.err"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT, "m"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=environment({**BOTH, "COLLECTORD_ENDPOINT": f"dir:{path}", **more}),
            )  # fmt: skip

    def ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.said()
        return json.loads(answer)

    def collect(self, first: int, count: int) -> None:
        """So many rows, durable when this returns."""
        self.ask("collect", first, count)
        assert self.ask("flush"), (self.ask("stats"), self.said())

    def end(self) -> str:
        """The end of its script. Returns what it wrote to stdout and stderr without having been asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        return self.process.stdout.read() + self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def said(self) -> str:
        return self._errors.read_text()

    def clear_away(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(30)


MakeHost = Callable[..., Host]


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "data"


@pytest.fixture
def host(folder: Path, path: Path) -> Iterator[MakeHost]:
    """Starts processes that collect into PATH."""
    made: list[Host] = []

    def make(where: Path = path, **more: str) -> Host:
        made.append(Host(where, folder, more))
        return made[-1]

    yield make
    for one in made:
        one.clear_away()


@pytest.fixture
def sockets() -> Iterator[list[Path]]:
    """Folders outside of PATH, which are gone afterwards."""
    made: list[Path] = []
    yield made
    for place in made:
        shutil.rmtree(place)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """A script from its beginning to its end."""
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment(BOTH), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


def numbers(path: Path) -> Counter[int]:
    return Counter(int(row["number"]) for row in landed.rows(landed.directory(path), "/inputs/"))


def test_a_host_finds_its_rows_in_files_after_close_and_nothing_of_its_own_is_changed(
    host: MakeHost, path: Path
) -> None:
    """The files are those of a daemon, at the same names; no handler, no level, nothing said, no thread left."""
    one = host(**HELD)
    before = one.ask("surroundings")
    one.collect(0, 100)
    assert one.ask("stats")["embedded"] == "this process"
    assert "collectord-embedded" in one.ask("threads")
    assert not numbers(path)
    assert one.ask("close")
    assert numbers(path) == Counter(range(100))
    [name] = landed.directory(path)
    assert name.startswith("default/default/default/default/m/1/inputs/")
    assert name.endswith("/data.csv.zst")
    assert one.ask("threads") == []
    after = one.ask("surroundings")
    assert after.pop("created") is True
    assert after == {key: value for key, value in before.items() if key != "created"}
    assert one.end() == ""


def test_a_script_that_just_ends_has_its_rows_in_files(path: Path) -> None:
    done = run(hosts.SCRIPTS / "leaving.py", f"dir:{path}", "at_once")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = landed.rows(landed.directory(path), "/inputs/")
    assert Counter(float(row["column_1"]) for row in rows) == Counter(float(k) for k in range(100))


def test_while_a_notebook_is_open_the_command_line_reaches_what_it_collects(host: MakeHost, path: Path) -> None:
    """As with a daemon: flush, status, ledger and ls."""
    one = host(**HELD)
    one.collect(0, 10)
    spool = str(path / "_collectord" / "embedded")
    assert collectord("flush", "--spool", spool).returncode == 0
    assert numbers(path) == Counter(range(10))
    with ControlClient(Path(spool).resolve() / "admin.sock") as control:
        status = control.status()
        assert (status["pid"], status["state"], status["waiting"]["rows"]) == (one.process.pid, "ready", 0)
        assert [(books.received, books.landed) for books in control.ledger()] == [(10, 10)]
    listed = json.loads(collectord("ls", "--json", "--store", str(path)).stdout)
    assert [Path(blob["name"]).name for blob in listed] == ["data.csv.zst"]
    one.collect(10, 10)
    assert one.end() == ""
    assert numbers(path) == Counter(range(20))


def test_the_command_line_reaches_a_path_that_is_no_address_as_it_stands(host: MakeHost, folder: Path) -> None:
    path = folder / "a b, 10%20 ü?#"
    one = host(path, **HELD)
    one.collect(0, 10)
    done = collectord("flush", "--spool", str(path / "_collectord" / "embedded"))
    assert done.returncode == 0, done.stderr
    assert numbers(path) == Counter(range(10))
    assert one.end() == ""


def test_what_a_killed_process_had_collected_lands_with_the_next_one_once(host: MakeHost, path: Path) -> None:
    one = host(**HELD)
    one.collect(0, 50)
    one.kill()
    assert not numbers(path)
    two = host(**HELD)
    two.collect(50, 1)
    assert two.end() == ""
    assert numbers(path) == Counter(range(51))


def test_processes_with_one_path_share_a_collector_and_the_next_takes_over(host: MakeHost, path: Path) -> None:
    """The first serves. It is killed while a child that it forked lives on: another one takes over, then that one ends
    in good order and the last does. All rows are there, once."""
    first = host(**HELD)
    first.collect(0, 10)
    child = first.ask("fork")
    try:
        first.collect(10, 10)
        others = [host(**HELD), host(**HELD)]
        for at, other in enumerate(others):
            other.collect(20 + 10 * at, 10)
            assert other.ask("stats")["embedded"] == "another process"
        for at, other in enumerate(others):
            other.ask("collect", 40 + 10 * at, 10)
        first.kill()
        for other in others:
            assert other.ask("flush"), (other.ask("stats"), other.said())
        roles = [other.ask("stats")["embedded"] for other in others]
        assert sorted(roles) == ["another process", "this process"]
        last = others[roles.index("another process")]
        others[roles.index("this process")].end()
        last.collect(60, 10)
        assert last.ask("stats")["embedded"] == "this process"
        assert last.end() == ""
    finally:
        os.kill(child, signal.SIGKILL)
    assert numbers(path) == Counter(range(70))


def test_parent_and_children_of_a_fork_each_land_their_own(path: Path) -> None:
    """Also while the parent serves, and another thread collects."""
    done = run(hosts.SCRIPTS / "forking.py", f"dir:{path}", "busy")
    assert (done.returncode, done.stderr) == (0, "")
    rows = landed.rows(landed.directory(path), "/inputs/")
    got = Counter(float(row["column_1"]) for row in rows)
    expected = {0.0: 20, 1.0: 20, 2.0: 20, -1.0: 10, -2.0: 10, -3.0: 10, -4.0: 10, -5.0: 10, 100.0: 20}
    assert got == expected | {-10.0: int(done.stdout)}
    assert len({(row["column_1"], row["column_2"]) for row in rows}) == len(rows)


def test_a_path_that_no_socket_can_have_is_collected_into_all_the_same(
    host: MakeHost, folder: Path, sockets: list[Path]
) -> None:
    path = folder / ("a long name, " * 12) / "100 %"
    place = Path(socket_of(str(path))).parent
    sockets.append(place)
    one = host(path)
    one.collect(0, 3)
    two = host(path)
    two.collect(3, 3)
    assert [each.ask("stats")["embedded"] for each in (one, two)] == ["this process", "another process"]
    assert (place.parent, stat.S_IMODE(place.stat().st_mode)) == (Path("/tmp"), 0o700)
    assert one.end() == ""
    assert two.end() == ""
    assert numbers(path) == Counter(range(6))


def test_the_spool_may_lie_elsewhere_and_is_of_one_directory(host: MakeHost, folder: Path, path: Path) -> None:
    """On a share, PATH may be no place for a log and a socket. What waits there never lands in another directory."""
    spool = {"COLLECTORD_SPOOL": str(folder / "spool"), **HELD}
    one = host(**spool)
    one.collect(0, 3)
    one.kill()
    other = host(folder / "other", **spool)
    other.ask("collect", 3, 3)
    eventually(lambda: "belongs to" in other.ask("stats")["last_error"], "it is told whose spool that is")
    other.kill()
    two = host(**spool)
    two.collect(6, 3)
    assert two.end() == ""
    assert numbers(path) == Counter([0, 1, 2, 6, 7, 8])
    assert not (path / "_collectord" / "embedded").exists()
    assert not (folder / "other").exists()
    (folder / "daemon" / "log").mkdir(parents=True)
    third = host(**{**HELD, "COLLECTORD_SPOOL": str(folder / "daemon")})
    third.ask("collect", 9, 3)
    eventually(lambda: "is a daemon's" in third.ask("stats")["last_error"], "it is told that this is no spool for it")
    third.kill()
    assert [file.name for file in (folder / "daemon").iterdir()] == ["log"]


WITHOUT = """
import logging, sys, time

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "collectord":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from collectord_client import Client

client = Client("m", endpoint="dir:" + sys.argv[1])
for number in range(5):
    client.collect([[number]])
assert not client.flush(1.0)
stats = client.stats()
print(stats["last_error"], stats["waiting"], stats["connected"], stats["embedded"], sep="|")
began = time.monotonic()
client.close(0.1)
print(client.stats()["dropped"], time.monotonic() - began < 1)
"""


def test_without_the_daemons_package_it_is_said_once_what_to_install(folder: Path, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, path], env=environment({"PYTHONPATH": str(CLIENT)}),
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    why = f"dir:{path} needs the package collectord, which is not installed: pip install collectord"
    assert done.stdout.splitlines() == [f"{why}|5|False|nobody", "{'closed': 5} True"], done.stderr
    assert done.stderr.splitlines() == [f"nothing can be collected: {why}"]
    assert not path.exists()


def test_a_wrong_setting_is_said_and_scoring_goes_on(host: MakeHost) -> None:
    one = host(COLLECTORD_CODEC="zip")
    one.ask("collect", 0, 3)
    eventually(lambda: "codec: 'zip' is not accepted" in one.ask("stats")["last_error"], "the setting is named")
    assert one.ask("stats")["waiting"] == 3
    assert one.end() == ""


def test_a_place_for_sockets_that_somebody_else_has_made_is_not_used(
    host: MakeHost, folder: Path, sockets: list[Path]
) -> None:
    path = folder / ("long " * 30)
    place = Path(socket_of(str(path))).parent
    place.mkdir(0o777)
    place.chmod(0o777)
    sockets.append(place)
    one = host(path)
    one.ask("collect", 0, 1)
    eventually(lambda: "not a private directory" in one.ask("stats")["last_error"], "it is refused")
    one.kill()
