"""Throws bytes at one target for a while: `python -m fuzz.run TARGET [--seconds 60] [--seed N] [--input FILE]`.

The engine is atheris, which follows the branches that an input takes, or hypothesis where atheris cannot be imported. It
runs in a child, so that an input that kills the process is kept, too: every input is written to a shared page before it is
tried. Exits with 1 on a finding, whose input is then under fuzz/findings/; `--input` tries such a file again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fuzz.target import Target, mutate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FINDINGS = HERE / "findings"
CORPUS = ROOT / "build" / "fuzz" / "corpus"
TARGETS = {
    "batch": ["tests.reference_batch", "collectord.batch"],
    "envelope": ["collectord.ingest.envelope", "collectord.ingest.validate"],
    "schema": ["collectord.schema", "collectord.upload.naming"],
    "log": ["collectord.wal.recovery", "collectord.wal.scan", "collectord.wal.segment", "collectord.wal.framing"],
    "frames": ["collectord.encode.frame", "collectord.encode.frame_reader", "collectord.encode.frame_tag"],
    "csv": ["tests.encode.oracle"],
    "telemetry": ["tests.encode.telemetry_oracle"],
    "mdc": ["collectord.ingest.heading", "collectord.ingest.records", "collectord.ingest.forms"],
}
"""Those that are given bytes, and the modules whose branches guide atheris; `daemon` runs by itself."""
MEMORY = Path("/dev/shm")
"""Where files cost no disk."""
PAGE_BYTES = 1 << 20
INPUT_AT = 16
FOUND = 77


class Page:
    """Executions and the input being tried, readable after the process is gone."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), PAGE_BYTES)

    def note(self, executions: int, data: bytes) -> None:
        kept = data[: PAGE_BYTES - INPUT_AT]
        self._map[:INPUT_AT] = executions.to_bytes(8, "little") + len(kept).to_bytes(8, "little")
        self._map[INPUT_AT : INPUT_AT + len(kept)] = kept

    @property
    def executions(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    @property
    def input(self) -> bytes:
        return self._map[INPUT_AT : INPUT_AT + int.from_bytes(self._map[8:16], "little")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "daemon"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: one by chance")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], default=engine_here())
    parser.add_argument("--input", type=Path, help="try this file once and stop")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    if options.target == "daemon":
        sys.exit(importlib.import_module("fuzz.daemon").main(options.seconds, options.seed, options.input))
    if options.input:
        load(options.target).one(options.input.read_bytes())
        print(f"{options.target}: {options.input} is no finding")
    elif options.child:
        ENGINES[options.engine](options, Page(options.child))
    else:
        sys.exit(supervise(options))


def engine_here() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "hypothesis"


def load(name: str) -> Target:
    made = importlib.import_module(f"fuzz.{name}").target()
    assert isinstance(made, Target)
    assert made.seeds, f"{name} has nothing to begin with"
    return made


def supervise(options: argparse.Namespace) -> int:
    """Runs the engine in a child and tells what came of it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        page_file = Path(folder) / "page"
        page_file.write_bytes(bytes(PAGE_BYTES))
        command = [
            sys.executable,
            "-m",
            "fuzz.run",
            options.target,
            "--child",
            str(page_file),
            "--engine",
            options.engine,
        ]
        command += ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        # Files of the child die with this folder, whatever the child dies of.
        environment = {**os.environ, "TMPDIR": folder}
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        page = Page(page_file)
    said = f"seed {options.seed}, {page.executions} executions in {time.monotonic() - began:.0f} s ({options.engine})"
    if answer.returncode == 0 and page.executions:
        print(f"{options.target}: {said}, no finding", flush=True)
        return 0
    print(answer.stdout[-3000:] + answer.stderr[-6000:])
    if not page.executions:
        print(f"{options.target}: {said}: the engine did not run")
        return 2
    FINDINGS.mkdir(exist_ok=True)
    kept = FINDINGS / f"{options.target}-{hashlib.sha256(page.input).hexdigest()[:16]}"
    kept.write_bytes(page.input)
    print(f"{options.target}: {said}, FINDING: python -m fuzz.run {options.target} --input {kept}")
    return 1


def watched(target: Target, page: Page) -> Callable[[bytes], None]:
    """`one`, noted before it is tried."""
    executions = 0

    def one(data: bytes) -> None:
        nonlocal executions
        executions += 1
        page.note(executions, data)
        target.one(data)

    return one


def with_atheris(options: argparse.Namespace, page: Page) -> None:
    import atheris

    # The first import of a module decides whether its branches are seen.
    with atheris.instrument_imports(include=TARGETS[options.target]):
        target = load(options.target)
    corpus = CORPUS / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    flags = [f"-max_total_time={int(options.seconds)}", f"-seed={options.seed}", f"-max_len={target.longest}"]
    flags += ["-rss_limit_mb=4096", "-timeout=60", f"-artifact_prefix={CORPUS.parent}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], watched(target, page), internal_libfuzzer=True)
    atheris.Fuzz()


def with_hypothesis(options: argparse.Namespace, page: Page) -> None:
    from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
    from hypothesis import strategies as st

    target = load(options.target)
    one = watched(target, page)
    changed = st.builds(
        lambda data, number: mutate(data, random.Random(number), target.seeds),
        st.sampled_from(list(target.seeds)),
        st.integers(0, (1 << 64) - 1),
    )
    noise = st.builds(
        lambda number, length: random.Random(number).randbytes(length),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, target.longest),
    )
    for data in target.seeds:
        one(data)
    ends = time.monotonic() + options.seconds
    round_of = options.seed
    while time.monotonic() < ends:
        trial = settings(
            max_examples=200, deadline=None, database=None, verbosity=Verbosity.quiet,
            phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        )(given(changed | changed | noise | st.binary(max_size=256))(lambda data: one(data)))  # fmt: skip
        seed(round_of)(trial)()
        round_of += 1


ENGINES = {"atheris": with_atheris, "hypothesis": with_hypothesis}

if __name__ == "__main__":
    os.chdir(ROOT)
    main()
