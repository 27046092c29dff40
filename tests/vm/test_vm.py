"""The page's VM, from its first line to its last, in a container whose process 1 is systemd."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs import quickstart
from tests.e2e.waiting import eventually

ROOT = quickstart.ROOT
IMAGE = "localhost/collectord-vm"
HOME = "/home/anybody"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
Inside = Callable[..., str]


def podman(*arguments: str, stdin: bytes | None = None) -> str:
    """What it prints."""
    ran = subprocess.run(["podman", "--runtime", "runc", *arguments], input=stdin, capture_output=True, check=False)
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 0, f"podman {' '.join(arguments)}: {said}"
    return said


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Runs a shell's lines as a user who may use sudo, in whose home the checkout lies."""
    name = f"collectord-vm-{uuid.uuid4().hex[:8]}"
    # pip's way to the registry is that of this machine.
    settings = tmp_path_factory.mktemp("vm") / "pip.conf"
    settings.write_text(f"[global]\ncert = {AUTHORITIES}\n")
    mounts = [
        f"--volume={path}:{there}:ro" for path, there in ((AUTHORITIES, AUTHORITIES), (settings, "/etc/pip.conf"))
    ]
    podman(
        "run", "--detach", "--name", name, "--privileged", "--systemd=always", "--network", "host",
        "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=1024:1024", *mounts, IMAGE, "/lib/systemd/systemd",
    )  # fmt: skip

    def run(script: str, user: str = "anybody") -> str:
        words = ["--user", user, "--env", f"HOME={HOME}", "--workdir", f"{HOME}/collectord", name]
        return podman("exec", "--interactive", *words, "bash", "-euo", "pipefail", stdin=script.encode())

    try:
        eventually(
            lambda: "running" in podman("exec", name, "sh", "-c", "systemctl is-system-running || :"), "it is up", 60
        )
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
        there = "\n".join(file for file in files if file and (ROOT / file).exists())
        tree = subprocess.run(
            ["tar", "--create", "--files-from=-"], cwd=ROOT, input=there.encode(), capture_output=True, check=True
        ).stdout
        podman("exec", name, "useradd", "--create-home", "anybody")
        podman(
            "exec", "--interactive", name, "tee", "/etc/sudoers.d/anybody", stdin=b"anybody ALL=(ALL) NOPASSWD: ALL\n"
        )
        podman("exec", name, "mkdir", f"{HOME}/collectord")
        podman("exec", "--interactive", name, "tar", "--extract", "--directory", f"{HOME}/collectord", stdin=tree)
        podman("exec", name, "chown", "-R", "anybody:", HOME)
        yield run
    finally:
        print(podman("exec", name, "sh", "-c", "journalctl --unit collectord --no-pager --lines 40 || :")[-6000:])
        podman("rm", "--force", "--time", "0", name)


@pytest.fixture(scope="module")
def said(inside: Inside) -> str:
    """What the page's commands print."""
    install, scoring, score, look = quickstart.blocks(quickstart.first_part("A VM"), "sh")
    wheels = quickstart.blocks(quickstart.section("Wheels and a script"), "sh")[0]
    return inside(wheels + install + scoring + quickstart.save_script() + score + look)


def test_the_page_works_from_its_first_line_to_its_last(said: str) -> None:
    quickstart.compare(said, ["durable: True 200 rows", *quickstart.blocks(quickstart.first_part("A VM"), "text")])


def start(inside: Inside) -> None:
    inside("sudo systemctl start collectord")
    status = "sudo collectord status --config /etc/collectord/collectord.toml || :"
    eventually(lambda: "is ready" in inside(status), "it is ready", 60)


def landed(inside: Inside) -> int:
    books = inside("sudo collectord flush --config /etc/collectord/collectord.toml; sudo collectord ledger --config /etc/collectord/collectord.toml")  # fmt: skip
    assert "out of balance" not in books
    return sum(int(rows.replace(",", "")) for rows in re.findall(r"landed ([\d,]+)", books))


@pytest.mark.usefixtures("said")
def test_it_has_no_rights_and_its_files_are_its_own(inside: Inside) -> None:
    main = "$(sudo systemctl show --property MainPID --value collectord)"
    status = inside(f"sudo cat /proc/{main}/status")
    assert re.search(r"CapEff:\s+0+\n", status)
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert re.search(r"Seccomp:\s+2\n", status)
    assert "MemoryMax=1073741824" in inside("sudo systemctl show --property MemoryMax collectord")
    assert inside("ls -ld /run/collectord").startswith("drwxr-xr-x")
    modes = inside("sudo stat --format '%U %a' /var/lib/collectord /var/lib/collectord/spool")
    assert modes == "collectord 700\ncollectord 700\n"
    exposure = re.search(
        r"Overall exposure level for \S+: (\d+\.\d)", inside("sudo systemd-analyze security collectord")
    )
    assert exposure
    assert float(exposure[1]) < 2.5


@pytest.mark.usefixtures("said")
def test_a_doctor_who_is_root_leaves_nothing_that_the_daemon_could_not_use(inside: Inside) -> None:
    inside("sudo collectord doctor --config /etc/collectord/collectord.toml")
    assert inside("sudo find /var/lib/collectord/ -user root") == ""


@pytest.mark.usefixtures("said")
def test_killed_it_comes_back_and_stopped_it_leaves_nothing_behind(inside: Inside) -> None:
    before = landed(inside)
    inside("sudo systemctl kill --signal KILL collectord; cd scoring; venv/bin/python score.py")
    assert "NRestarts=1" in inside("sudo systemctl show --property NRestarts collectord")
    inside("cd scoring; venv/bin/python score.py; sudo systemctl stop collectord")
    assert '"complete": true' in inside("sudo journalctl --unit collectord --output cat --no-pager --lines 8")
    assert "Result=success" in inside("sudo systemctl show --property Result collectord")
    start(inside)
    eventually(lambda: landed(inside) == before + 400, "each row landed once", 60)


@pytest.mark.usefixtures("said")
def test_the_directory_that_a_container_has_mounted_is_still_the_one_after_a_restart(inside: Inside) -> None:
    before = inside("stat --format %i /run/collectord")
    inside("sudo systemctl stop collectord; sudo systemctl start collectord; sudo systemctl restart collectord")
    assert inside("stat --format %i /run/collectord") == before


@pytest.mark.usefixtures("said")
def test_reload_takes_a_changed_file(inside: Inside) -> None:
    start(inside)
    inside(
        "echo 'flush_interval = 7' | sudo tee --append /etc/collectord/collectord.toml; sudo systemctl reload collectord"
    )
    journal = "sudo journalctl --unit collectord --no-pager"
    eventually(lambda: '"changed": ["flush_interval"]' in inside(journal), "it is read", 60)
