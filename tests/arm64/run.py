"""The kernels' tests on arm64: `make test-arm64`.

A Debian for arm64, whose programs qemu runs one by one, lies under `build/arm64/` and is kept. The packages that `dev.lock` pins
are fetched from here, as this machine's pip is set up; the compiler there makes the kernels, the Python there runs the tests.
`proof.py` refuses a run in which a kernel was for another machine.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.arm64.proof import MACHINE
from tests.sanitize.proof import PACKAGES, kernels_of

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "arm64"
THERE = BUILD / "root"
TREE = THERE / "tree"
SUITE, PYTHON, GLIBC = "bookworm", "3.11", 36
RULES = Path("/proc/sys/fs/binfmt_misc")
RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
TESTS = (
    "tests/test_batch.py",
    "tests/buffer/test_*.py",
    "tests/client/test_client.py",
    "tests/client/test_collector.py",
    "tests/client/test_columns.py",
    "tests/client/test_context.py",
    "tests/client/test_core.py",
    "tests/client/test_features.py",
    "tests/client/test_ids.py",
    "tests/client/test_interplay.py",
    "tests/client/test_labels.py",
    "tests/client/test_names.py",
    "tests/client/test_outbox.py",
    "tests/client/test_request.py",
    "tests/client/test_sampling.py",
    "tests/client/test_values.py",
    "tests/encode/test_*.py",
)
WITHOUT = "tests/client/test_core.py::test_its_own_tests_pass_with_the_core_in_python"
"""It runs no kernel."""
UNWANTED = shutil.ignore_patterns("*.so", "*.c", "*.cpp", "__pycache__", "build", "*.egg-info", ".hypothesis")
# With what a chroot lacks, all of which is gone with the last process.
ENTER = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def inside(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command there, in the tree; what it prints is in the answer. Nothing of this machine's environment."""
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, str(THERE),
         "env", "--chdir=/tree", *command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONPATH": "/tree:/tree/clients/python"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def asked(*command: str) -> str:
    """What a command there prints. Exits if it fails."""
    answer = inside(*command)
    if answer.returncode:
        sys.exit(f"{' '.join(command)} ended with {answer.returncode}: {answer.stdout[-5000:]}")
    return answer.stdout.strip()


@contextmanager
def emulated() -> Iterator[None]:
    """While it lasts, the kernel hands programs for arm64 to qemu; a rule that is there already is left alone."""
    if platform.machine() == MACHINE:
        sys.exit("this is arm64: `make test` tests the kernels as they are")
    if not RULE.exists():
        sys.exit(f"test-arm64 needs {RULE} (Debian: apt-get install qemu-user-static)")
    mounted = (RULES / "register").exists()
    if not mounted and subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", RULES], check=False).returncode:
        sys.exit("test-arm64 needs a kernel with binfmt_misc, and the right to mount it")
    rule = RULES / RULE.stem
    registered = rule.exists()
    if not registered:
        (RULES / "register").write_text(RULE.read_text())
    try:
        yield
    finally:
        if not registered:
            rule.write_text("-1")
        if not mounted:
            subprocess.run(["umount", RULES], check=False)


def make_root() -> None:
    """A Debian with a compiler and Python, once."""
    ready = BUILD / "root.ready"
    if not ready.exists():
        print(f"making {THERE}", flush=True)
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        log = BUILD / "debootstrap.log"
        with log.open("w") as told:
            made = subprocess.run(
                ["debootstrap", "--arch=arm64", "--variant=minbase", "--include=gcc,g++,python3-dev", SUITE, THERE],
                stdout=told, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if made.returncode:
            sys.exit(f"debootstrap ended with {made.returncode}: {log.read_text()[-3000:]}")
        ready.touch()


def pins(full_version: str) -> str:
    """`dev.lock` as it is for a Python there: pip asks the one that it runs in."""
    environment = default_environment() | {
        "python_version": PYTHON, "python_full_version": full_version, "implementation_version": full_version,
        "platform_machine": MACHINE,
    }  # type: ignore[operator]  # fmt: skip
    found = []
    for entry in (ROOT / "dev.lock").read_text().replace("\\\n", " ").splitlines():
        wanted, _, hashes = entry.partition("--hash=")
        if not wanted.strip() or wanted.startswith("#"):
            continue
        requirement = Requirement(wanted)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.append(f"{requirement.name}{requirement.specifier} --hash={hashes}\n")
    return "".join(found)


def fetch(wanted: str) -> None:
    """Puts the packages where Python there looks for them, unless they are there."""
    place, ready, asking = (
        THERE / f"usr/local/lib/python{PYTHON}/dist-packages",
        BUILD / "pins.txt",
        BUILD / "asked.txt",
    )
    if ready.exists() and ready.read_text() == wanted:
        return
    print("fetching packages", flush=True)
    ready.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    asking.write_text(wanted)
    platforms = [f"--platform=manylinux_2_{minor}_{MACHINE}" for minor in range(17, GLIBC + 1)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--only-binary=:all:", f"--target={place}",
         "--implementation=cp", f"--python-version={PYTHON}", f"--abi=cp{PYTHON.replace('.', '')}", "--abi=abi3", "--abi=none",
         *platforms, f"--platform=manylinux2014_{MACHINE}", "--platform=any", "--requirement", asking],
        check=True,
    )  # fmt: skip
    asking.rename(ready)


def copy_tree() -> None:
    """The sources, and the tests with what they read; nothing compiled."""
    shutil.rmtree(TREE, ignore_errors=True)
    for folder in ("collectord", "clients/python", "docs", "proto", "tests"):
        shutil.copytree(ROOT / folder, TREE / folder, ignore=UNWANTED)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, TREE)


def build(wanted: str) -> None:
    """Has the kernels in the tree: compiled there, or kept from the last time if nothing that makes them has changed."""
    sources = [TREE / "setup.py", TREE / "clients/python/setup.py"]
    sources += [
        path for folder in PACKAGES for path in (TREE / folder).rglob("_*") if path.suffix in (".pyx", ".pxd", ".h")
    ]
    state = hashlib.sha256(wanted.encode())
    for path in sorted(sources):
        state.update(f"{path.relative_to(TREE)} ".encode() + path.read_bytes())
    kept, ready = BUILD / "kernels", BUILD / "kernels.txt"
    if not ready.exists() or ready.read_text() != state.hexdigest():
        print("compiling the kernels", flush=True)
        ready.unlink(missing_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        for folder in ("/tree", "/tree/clients/python"):
            asked("env", f"--chdir={folder}", "python3", "setup.py", "-q", "build_ext", "--inplace")
        for kernel in kernels_of(TREE).values():
            for library in (TREE / kernel).parent.glob(f"{kernel.stem}.*.so"):
                place = kept / library.relative_to(TREE)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(library, place)
        ready.write_text(state.hexdigest())
    shutil.copytree(kept, TREE, dirs_exist_ok=True)


def main() -> None:
    """Exits if anything was found."""
    with emulated():
        make_root()
        TREE.mkdir(exist_ok=True)
        asking = "import platform; print(platform.machine(), platform.python_version())"
        machine, full_version = asked("python3", "-c", asking).split()
        print(f"{machine}, Python {full_version}, {asked('gcc', '--version').splitlines()[0]}", flush=True)
        if machine != MACHINE or not full_version.startswith(f"{PYTHON}."):
            sys.exit(f"{THERE} has to have {MACHINE} and Python {PYTHON}")
        wanted = pins(full_version)
        fetch(wanted)
        copy_tree()
        build(wanted)
        tests = sorted({str(path.relative_to(TREE)) for pattern in TESTS for path in TREE.glob(pattern)})
        if len(tests) < len(TESTS):
            sys.exit(f"some of {TESTS} match no test")
        print("testing", flush=True)
        answer = inside(
            "python3", "-m", "pytest", "-p", "tests.arm64.proof", "--timeout", "1800", "--deselect", WITHOUT, *tests
        )
        print(answer.stdout, flush=True)
    if answer.returncode:
        sys.exit(f"pytest ended with {answer.returncode}")


if __name__ == "__main__":
    main()
