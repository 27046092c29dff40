"""The kernels' tests with the kernels under AddressSanitizer and UndefinedBehaviorSanitizer: `make test-sanitize`.

Everything lies under `build/sanitize/`: per flavour a copy of the sources with kernels of its own, all of Cython's checks
on. First a canary that reads and adds too far must be caught; then the tests run; `proof.py` refuses a run in which a
kernel was not instrumented.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Distribution, Extension

from tests.sanitize.proof import PACKAGES, kernels_of

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitize"
FLAVOURS: Mapping[str, list[str]] = {"native": [], "portable": ["-DCOLLECTORD_PORTABLE"]}
TESTS = (
    "tests/test_batch.py",
    "tests/buffer/test_assemble.py",
    "tests/client/test_core.py",
    "tests/client/test_pending.py",
    "tests/encode/test_csv*.py",
    "tests/encode/test_jsonl.py",
    "tests/encode/test_telemetry.py",
    "tests/encode/test_frame.py",
    "tests/encode/test_gzip.py",
)
WITHOUT = "tests/client/test_core.py::test_its_own_tests_pass_with_the_core_in_python"
"""It runs no kernel."""
WORKERS = len(os.sched_getaffinity(0))
"""Compilers, and processes for tests, of a flavour."""
COMPILE = [
    "-std=c++17", "-O1", "-g", "-fno-omit-frame-pointer", "-D_GLIBCXX_ASSERTIONS",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
    # Python's own flags may have -fwrapv, which would make every overflow a defined one.
    "-fno-wrapv",
]  # fmt: skip
CHECKED = {
    "language_level": 3, "boundscheck": True, "wraparound": True, "initializedcheck": True, "cdivision": True,
    "embedsignature": True,
}  # fmt: skip


def runtime() -> dict[str, str]:
    """What puts the sanitizers into a Python that knows nothing of them. Exits if they are not on this machine."""
    compiler = os.environ.get("CXX", "g++")
    found = []
    # libstdc++ must be there from the start, or the runtime does not find what throws.
    for name in ("libasan.so", "libubsan.so", "libstdc++.so"):
        try:
            answer = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"test-sanitize needs {compiler}: {error}")
        path = Path(answer.stdout.strip())
        if not path.is_absolute() or not path.exists():
            sys.exit(f"test-sanitize needs {name} of {compiler} (Debian: libasan and libubsan come with g++)")
        found.append(str(path.resolve()))
    return {
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:abort_on_error=0:exitcode=97",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=97",
        # Every object in a block of its own, with poisoned bytes around it.
        "PYTHONMALLOC": "malloc",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }


def build(sources: Mapping[str, Path], place: Path, more: list[str]) -> dict[str, Path]:
    """Compiles kernels by module name into `place`; what did not change is kept."""
    extensions = [
        Extension(
            module, [str(path.relative_to(ROOT))], language="c++", extra_compile_args=[*COMPILE, *more],
            extra_link_args=["-fsanitize=address,undefined"], include_dirs=[str(path.parent)],
            depends=[str(header) for header in path.parent.glob("_*.h")],
        )
        for module, path in sources.items()
    ]  # fmt: skip
    made = cythonize(
        extensions, build_dir=str(place / "cpp"), compiler_directives=CHECKED, quiet=True, nthreads=WORKERS
    )
    command = Distribution({"ext_modules": made}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(place / "lib"), str(place / "obj")
    command.parallel = WORKERS
    command.ensure_finalized()
    command.run()
    return {module: Path(command.get_ext_fullpath(module)) for module in sources}


def prepare(flavour: str) -> Path:
    """A copy of the sources whose kernels are instrumented."""
    place = BUILD / flavour
    tree = place / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    unwanted = shutil.ignore_patterns("*.so", "*.c", "*.cpp", "__pycache__", ".hypothesis")
    for folder in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=unwanted)
    shutil.copy2(ROOT / "pyproject.toml", tree)
    kernels = {kernel: ROOT / path for kernel, path in kernels_of(ROOT).items()}
    for module, library in build(kernels, place, FLAVOURS[flavour]).items():
        shutil.copy2(library, tree / kernels[module].parent.relative_to(ROOT))
    return tree


def try_canary(environment: Mapping[str, str]) -> None:
    """Exits unless a read behind a buffer and an overflow end the process and are named."""
    (library,) = build({"canary": Path(__file__).with_name("canary.pyx")}, BUILD / "canary", []).values()
    for call, said in (("beyond(8)", "heap-buffer-overflow"), ("overflow(2**31 - 1)", "signed integer overflow")):
        command = [sys.executable, "-c", f"import canary; canary.{call}"]
        answer = subprocess.run(
            command, env={**environment, "PYTHONPATH": str(library.parent)}, capture_output=True, text=True
        )
        if answer.returncode == 0 or said not in answer.stderr:
            sys.exit(f"the sanitizers did not catch canary.{call}: {answer.returncode}\n{answer.stderr}")
        print(f"canary.{call}: caught ({said})", flush=True)


def run(flavour: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Builds a flavour and runs the tests on it; what they print is in the answer."""
    tree = prepare(flavour)
    tests = sorted({str(path.relative_to(tree)) for pattern in TESTS for path in tree.glob(pattern)})
    if len(tests) < len(TESTS):
        sys.exit(f"some of {TESTS} match no test")
    # The report of a sanitizer goes to the file descriptor, which is therefore left alone.
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.sanitize.proof", "--capture=sys", "--timeout", "1800",
         "--numprocesses", str(WORKERS), "--dist", "worksteal", "--deselect", WITHOUT, *tests],
        cwd=tree, env={**environment, "PYTHONPATH": f"{tree}:{tree / 'clients/python'}"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def main(flavours: Sequence[str]) -> None:
    """Those of `FLAVOURS` that are named, or all. Exits if anything was found."""
    if not flavours or not FLAVOURS.keys() >= set(flavours):
        sys.exit(f"there are {', '.join(FLAVOURS)}, not {' '.join(flavours) or 'none'}")
    os.chdir(ROOT)
    environment = {**os.environ, **runtime(), "PYTHONDONTWRITEBYTECODE": "1"}
    try_canary(environment)
    print(f"building and testing, side by side: {', '.join(flavours)}", flush=True)
    with ProcessPoolExecutor(len(flavours)) as pool:
        answers = {flavour: pool.submit(run, flavour, environment) for flavour in flavours}
        for flavour, answer in answers.items():
            print(f"---- {flavour}\n{answer.result().stdout}", flush=True)
    for flavour, answer in answers.items():
        if status := answer.result().returncode:
            sys.exit(f"{flavour}: pytest ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1:] or list(FLAVOURS))
