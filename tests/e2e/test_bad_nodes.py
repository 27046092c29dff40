"""What goes wrong with a node: each is told in the log, by the doctor and on the status page, with what a person should do; and where
the daemon cannot start at all, by its last words, its exit status and the doctor."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from collectord_client import Client

from collectord.doctor import Link, Surroundings, examine
from collectord.testing.azurite import ACCOUNT, Azurite
from tests import sas
from tests.conftest import ROOT
from tests.e2e import starting
from tests.e2e.process import Daemon, environment
from tests.e2e.waiting import eventually
from tests.faults.shim import Call, Shim

HOUR = 3600
GOOD, TYPO = "drain_deadline = 1.0\n", "drain_deadlin = 1.0\n"
STRANGER = 65534
SHOWN = """
const nothing = () => {}, document = { getElementById: nothing, addEventListener: nothing }, fetch = () => new Promise(nothing);
AbortSignal.timeout = nothing;
eval(process.argv[1] + "; process.stdout.write(JSON.stringify(problems(JSON.parse(process.argv[2]))))");
"""
"""What the status page lists as needing attention, for a status; without a browser."""


class Node:
    """A daemon for which all is well, with a store in Azure; and what can be done to it."""

    def __init__(self, folder: Path, azurite: Azurite) -> None:
        self.folder = folder
        self.shim = Shim(folder / "shim")
        self.container = uuid.uuid4().hex
        self.service = BlobServiceClient.from_connection_string(azurite.connection_string())
        self.sas, self.file = folder / "sas", folder / "collectord.toml"
        self.file.write_text(GOOD)
        self.account()
        self.daemon = Daemon(
            folder, env=self.shim.env, store=f"az://{self.container}", azure_account_url=f"{azurite.url}/{ACCOUNT}",
            azure_sas_file=self.sas, config=self.file, switches_interval=0.1, claim_interval=0.5, flush_interval=0.1,
        )  # fmt: skip
        self.client: Client | None = None
        self.off = 0

    def close(self) -> None:
        self.daemon.clear_away()
        if self.client is not None:
            self.client.close(0.1)
        self.service.close()
        self.shim.close()

    # ------------------------------------------------------------------ what can be broken, and mended

    def account(self, hours: float = 1) -> None:
        self.sas.write_text(sas.of_account(hours))

    def lose_container(self) -> None:
        """And the right to make another: a SAS of a container has none."""
        self.sas.write_text(sas.of_container(self.container))
        self.service.delete_container(self.container)

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.daemon.signal(signal.SIGHUP)

    def limit(self, size: int) -> None:
        assert self.daemon.process is not None
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))

    def set_clock(self, off: int) -> None:
        self.off = off
        self.shim.step_wall_clock(off)

    def fill_disk(self) -> None:
        """For the log alone, before it has a segment: who sends then hears that the spool is full."""
        self.shim.arm(Call.ALLOCATE | Call.CREATE, "/spool/log/", errno.ENOSPC)
        self.client = Client(model="m", endpoint=self.daemon.endpoint, linger=0.01)
        self.client.collector("inputs", ["n"]).collect([[1.0]])

    def free_disk(self) -> None:
        self.shim.disarm()
        assert self.client is not None
        assert self.client.flush(30), "what the daemon did not take is sent again"
        assert self.client.stats()["acknowledged"] == 1

    # ------------------------------------------------------------------ where it is told

    def status(self) -> str:
        return self.daemon.http("/status.json")[1]

    def page(self) -> str:
        """What the status page makes of it."""
        status = self.status()
        source = (ROOT / "collectord/admin/page.js").read_text()
        done = subprocess.run(["node", "-e", SHOWN, source, status], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return " | ".join(f"{word} {text}" for _, word, text in json.loads(done.stdout))

    def doctor(self) -> dict[str, Link]:
        """As on this node: with its clock."""
        given = {
            name: str(value) for name, value in self.daemon.settings.items() if value is not None and name != "config"
        }
        given["listen"] = self.daemon.endpoint
        around = Surroundings(
            now=lambda: time.time() + self.off, environment={"COLLECTORD_ENDPOINT": self.daemon.endpoint}
        )
        return {link.name: link for link in examine(self.file, given, around)}

    def log(self) -> str:
        return "\n".join(line for line in self.daemon.said().splitlines() if '"level": "error"' in line)


@pytest.fixture(scope="module")
def node(azurite: Azurite) -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="cd-"))
    folder.chmod(0o755)
    made = Node(folder, azurite)
    made.daemon.start()
    eventually(lambda: "All is well" in made.page(), "all is well")
    links = made.doctor()
    assert all(link.ok for link in links.values()), links
    assert made.log() == ""
    yield made
    made.close()
    print(made.daemon.said()[-6000:])
    assert sas.signature(made.sas.read_text()) not in made.daemon.said()
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while a daemon runs."""

    name: str
    breaks: Callable[[Node], object]
    mends: Callable[[Node], object]
    says: tuple[str, ...]
    """What is wrong and what to do, in the log, on the page and by the doctor alike."""
    link: str
    """Of the doctor's."""


FAULTS = (
    Fault("a full disk", Node.fill_disk, Node.free_disk, ("has no room for a segment", "mend what keeps uploads, the disk"), "disk"),
    Fault("a credential that is over", lambda node: node.account(-1), Node.account, ("the SAS ended at", "replace the content of"), "store"),
    Fault(
        "a container that is gone", Node.lose_container, lambda node: node.service.create_container(node.container),
        ("does not exist and could not be created", "create the container by hand"), "container",
    ),
    Fault(
        "a ConfigMap with a typo", lambda node: node.write(TYPO), lambda node: node.write(GOOD),
        ("drain_deadlin: there is no such setting", "do you mean drain_deadline?"), "settings",
    ),
    Fault(
        "memory pressure", lambda node: node.limit(200 << 20), lambda node: node.limit(resource.RLIM_INFINITY),
        ("may have 200.0 MiB, less than the memory_budget of 256.0 MiB", "raise the limit of the container"), "memory",
    ),
    Fault(
        "a clock an hour off", lambda node: node.set_clock(HOUR), lambda node: node.set_clock(0), ("s ahead of", "synchronize it (NTP)"),
        "clock",
    ),
    Fault(
        "a spool that others can read", lambda node: node.daemon.spool.chmod(0o755), lambda node: node.daemon.spool.chmod(0o700),
        ("has mode 0755: others can read what is in it", "chmod 0700"), "spool",
    ),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_goes_wrong_is_told_everywhere_until_it_is_mended(node: Node, fault: Fault) -> None:
    fault.breaks(node)
    eventually(lambda: all(word in node.status() for word in fault.says), f"the status says {fault.says}", step=0.1)
    page = node.page()
    assert all(word in page for word in fault.says), page
    eventually(lambda: all(word in node.log() for word in fault.says), f"the log says {fault.says}", step=0.1)
    link = node.doctor()[fault.link]
    assert link.ok is False, link
    assert all(word in link.line() for word in fault.says), link
    fault.mends(node)
    eventually(lambda: "All is well" in node.page(), f"it is over: {node.page()}", step=0.2)


# ---------------------------------------------------------------------- where it cannot even start


@dataclass(frozen=True)
class Refusal:
    """Something because of which a daemon does not start."""

    name: str
    settings: dict[str, str]
    """`{node}`: the folder of a daemon that runs; `{here}`: one of its own."""
    says: tuple[str, ...]
    """In the log, and as the last words."""
    doctor: tuple[str, ...]
    """What the doctor says of the same."""
    before: Callable[[Path], object] = lambda here: None
    stranger: bool = False
    """As another user than the one whose directories they are."""


def _locked(name: str) -> Callable[[Path], object]:
    def lock(here: Path) -> None:
        (here / name).mkdir()
        (here / name).chmod(0o555 if os.geteuid() else 0o755)

    return lock


def _unreadable(here: Path) -> None:
    (here / "sas").write_text("secret")
    (here / "sas").chmod(0o000)


AZURE = {"store": "az://modeldata", "azure_account_url": "http://127.0.0.1:1/a"}
OWN = {"spool": "{here}/s", "store": "{here}/st", "listen": "unix:{here}/c.sock"}
REFUSALS = (
    Refusal(
        "a credential that is missing", AZURE | {"azure_sas_file": "{here}/none"},
        ("azure_sas_file: ", "/none cannot be read: No such file"), ("azure_sas_file: ", "mend the setting"),
    ),
    Refusal(
        "a credential that cannot be read", AZURE | {"azure_sas_file": "{here}/sas"},
        ("azure_sas_file: ", "/sas cannot be read: Permission denied"), ("azure_sas_file: ", "Permission denied"), _unreadable, True,
    ),
    Refusal(
        "a container that can be none", AZURE | {"store": "az://Model_Data"}, ("store: 'az://Model_Data'", "3 to 63 lower-case letters"),
        ("3 to 63 lower-case letters", "mend the setting"),
    ),
    Refusal(
        "a ConfigMap with a typo", {"config": "{here}/c.toml"}, ("drain_deadlin: there is no such setting; do you mean drain_deadline?",),
        ("drain_deadlin", "do you mean drain_deadline?"), lambda here: (here / "c.toml").write_text(TYPO),
    ),
    Refusal(
        "a hostPath of the wrong owner for the spool", {"spool": "{here}/host"}, ("spool: ", "make it a directory that user"),
        ("spool ", "host"), _locked("host"), True,
    ),
    Refusal(
        "a hostPath of the wrong owner for the socket", {"listen": "unix:{here}/host/c.sock"}, ("listen: ", "may write: chown"),
        ("cannot make it", "where the daemon runs, chown"), _locked("host"), True,
    ),
    Refusal(
        "a second daemon on a spool", {"spool": "{node}/spool"}, ("another daemon runs on the spool", "a spool and sockets of its own"),
        ("is not what these settings say", "a second one needs a spool of its own"),
    ),
    Refusal(
        "a second daemon on a socket", {"listen": "unix:{node}/c.sock"}, ("another daemon listens on", "name another socket"),
        ("another daemon listens on", "a second daemon on this node needs a socket of its own"),
    ),
    Refusal(
        "a second daemon on a port", {"admin": "127.0.0.1:{port}"}, ("admin: 127.0.0.1:", "a second daemon on this node, has the port"),
        ("is in use, and not by a daemon on this spool", "name another one"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A start that failed, and what the doctor found."""

    status: int
    said: str
    links: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ended(node: Node) -> Iterator[dict[str, Ended]]:
    """All of them are started, one after the other; by name."""
    folder = Path(tempfile.mkdtemp(prefix="cd-"))
    folder.chmod(0o755)
    cases: list[dict[str, Any]] = []
    for number, refusal in enumerate(REFUSALS):
        here = folder / str(number)
        here.mkdir()
        here.chmod(0o777)
        refusal.before(here)
        named = {
            name: text.format(here=here, node=node.folder, port=node.daemon.admin_port)
            for name, text in (OWN | refusal.settings).items()
        }
        options = [word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", value)]
        uid = STRANGER if refusal.stranger and os.geteuid() == 0 else -1
        for command in (("serve",), ("doctor", "--json")):
            cases.append({"arguments": [*command, *options], "env": {}, "uid": uid})
    found = starting.run(cases, environment())
    yield {
        refusal.name: Ended(served["status"], served["said"], json.loads(examined["said"]))
        for refusal, served, examined in zip(REFUSALS, found[::2], found[1::2], strict=True)
    }
    shutil.rmtree(folder)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_a_start_that_fails_says_why_and_what_to_do_and_the_doctor_finds_it(
    ended: dict[str, Ended], refusal: Refusal
) -> None:
    one = ended[refusal.name]
    assert one.status == 2, one.said
    *logged, last = one.said.splitlines()
    # Some threads run already, and may say something behind it.
    (record,) = (record for record in map(json.loads, logged) if record["level"] == "error")
    assert record["event"] == "the start failed"
    assert last == f"collectord: {record['why']}", "for who looks at it in a terminal"
    assert all(word in last for word in refusal.says), last
    broken = [f"{link['link']} {link['what']}; {link['todo']}" for link in one.links if link["ok"] is False]
    assert any(all(word in line for word in refusal.doctor) for line in broken), broken
    assert "secret" not in one.said + str(one.links)
