"""Two commits, one benchmark, run in turn: `python -m benchmarks.compare OLD NEW encode [-k EXPRESSION] [--pairs N]`.

OLD and NEW are commits, which are checked out and built under `build/compare`, or directories with a built tree. SUITE is a folder
of `benchmarks`; each tree runs its own. What both have is compared, of each run the least time of a test and the numbers told
beside it: the ratio NEW / OLD of neighbouring runs, with its 95 % interval (`benchmarks/pairs.py`). Suites that measure in their own process
are timed by CPU, the others as they time themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.pairs import FEWEST, PAIRS, interval, ratio

ROOT = Path(__file__).resolve().parents[1]
TREES = ROOT / "build" / "compare"
IN_PROCESS = ("encode", "client")
Samples = dict[str, float]


def tree(name: str) -> Path:
    """The built tree of a commit, made if need be, or the directory of that name."""
    if (Path(name) / "collectord").is_dir():
        return Path(name).resolve()
    told = subprocess.run(
        ["git", "rev-parse", "--verify", f"{name}^{{commit}}"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    commit = told.stdout.strip()
    place = TREES / commit[:12]
    if not (place / ".built").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        # No worktree of git's: nothing is left to be told of it when the folder goes.
        with subprocess.Popen(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", str(place)], stdin=archive.stdout, check=True)
        assert archive.returncode == 0
        for folder in (place, place / "clients" / "python"):
            build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
            subprocess.run(build, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (place / ".built").touch()
    return place


def run(place: Path, suite: str, options: list[str]) -> Samples:
    """One run of a tree's suite: seconds by test, and the other numbers that it told."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.json"
        timer = ["--benchmark-timer=time.process_time", "--benchmark-max-time=0.2"] if suite in IN_PROCESS else []
        done = subprocess.run(
            [sys.executable, "-m", "pytest", f"benchmarks/{suite}", "--benchmark-enable", f"--benchmark-json={said}",
             "--benchmark-min-rounds=3", "--timeout=900", *timer, *options],
            cwd=place, env=_environment(place), capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{place}: benchmarks/{suite} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        found: Samples = {}
        for one in json.loads(said.read_text())["benchmarks"]:
            found[one["name"]] = one["stats"]["min"]
            for what, value in one["extra_info"].items():
                if isinstance(value, int | float) and value > 0:
                    found[f"{one['name']}: {what}"] = float(value)
        return found


def check(place: Path) -> None:
    """That the tree's own packages are what its runs import."""
    code = "import collectord, collectord_client; print(collectord.__file__, collectord_client.__file__, sep='\\n')"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=_environment(place), check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    assert all(Path(one).is_relative_to(place) for one in said), f"{place} runs {said}"


def compare(
    old: Path, new: Path, suite: str, options: list[str], pairs: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Samples of what both have. The order changes from round to round."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for number in range(pairs):
        if number % 2:
            after, before = run(new, suite, options), run(old, suite, options)
        else:
            before, after = run(old, suite, options), run(new, suite, options)
        for name in before.keys() & after.keys():
            samples = found.setdefault(name, ([], []))
            samples[0].append(before[name])
            samples[1].append(after[name])
    # What never changes, such as how many rows there are, is no figure.
    return {
        name: samples
        for name, samples in sorted(found.items())
        if len(samples[0]) == pairs and len({*samples[0], *samples[1]}) > 1
    }


def table(found: dict[str, tuple[list[float], list[float]]]) -> str:
    width = max(map(len, found))
    lines = [f"{'':{width}}  {'old':>12}{'new':>12}   new / old  95 %"]
    for name, (old, new) in found.items():
        of = ratio(new, old)
        sure = "less" if of.high < 1 else "more" if of.low > 1 else ""
        lines.append(
            f"{name:{width}}  {interval(old).middle:12.4g}{interval(new).middle:12.4g}   {of.middle:9.3f}"
            f"  {of.low:.3f} to {of.high:.3f}  {sure}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a commit, or a directory with a built tree")
    parser.add_argument("new")
    parser.add_argument("suite", choices=sorted(path.parent.name for path in (ROOT / "benchmarks").glob("*/test_*.py")))
    parser.add_argument("-k", metavar="EXPRESSION", help="as pytest takes it: some of the suite")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"at least {FEWEST}, {PAIRS} for a claim")
    given = parser.parse_args()
    if given.pairs < FEWEST:
        parser.error(f"--pairs is {given.pairs}; an interval takes at least {FEWEST}")
    old, new = tree(given.old), tree(given.new)
    for place in (old, new):
        check(place)
    found = compare(old, new, given.suite, ["-k", given.k] if given.k else [], given.pairs)
    if not found:
        raise SystemExit(f"the two have no benchmark in common in {given.suite}")
    print(f"{given.suite}: {given.old} and {given.new}, {given.pairs} pairs\n{table(found)}")


def _environment(place: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(place), str(place / "clients" / "python")])}


if __name__ == "__main__":
    main()
