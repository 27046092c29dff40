"""Writes the tables and plots of docs/performance.md from what was measured: `python -m benchmarks.targets --page`.

A table stands between `<!-- measured: NAME -->` and `<!-- end -->`: `where`, `summary`, and one per target. The plots go to
docs/images. Everything else on the page is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.targets.figure import Figure, Measured, Series, load
from benchmarks.targets.machine import ROOT

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
BLOCK = re.compile(r"(?P<begin><!-- measured: (?P<name>[a-z0-9]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Plot:
    """How the lines of a plot are drawn; bars where x are names."""

    x: str
    y: str
    log: bool = False


PLOTS = {
    "text": Plot("CSV text, one thread", "million rows per CPU-second", log=True),
    "compressed": Plot("text + zstd level 1", "million rows per CPU-second", log=True),
    "growth": Plot("rows in a batch", "µs of the daemon's CPU per record", log=True),
    "upload": Plot("KiB in an append", "ms of CPU per MB", log=True),
}


def write(kept: Path, targets: Mapping[str, tuple[str, str]]) -> None:
    """Raises FileNotFoundError for a target that was not measured, ValueError for a page that shows not all of them."""
    where: dict[str, dict[str, str]] = {}
    found: dict[str, Measured] = {}
    for target in targets:
        text = (kept / f"{target}.json").read_text()
        where[target], found[target] = json.loads(text)["where"], load(text)
    blocks = {"where": _where(where), "summary": _summary(found, targets)}
    blocks |= {target: _table(measured.figures, where[target]) for target, measured in found.items()}
    PAGE.write_text(filled(PAGE.read_text(), blocks))
    lines = {name: drawn for measured in found.values() for name, drawn in measured.series.items()}
    if unknown := set(lines) ^ set(PLOTS):
        raise ValueError(f"plots without lines, or lines without a plot: {', '.join(sorted(unknown))}")
    for name, plot in PLOTS.items():
        draw(lines[name], plot, IMAGES / f"performance-{name}.svg")


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """The page with each block's lines replaced. Raises ValueError unless it has exactly these blocks."""
    there = [match["name"] for match in BLOCK.finditer(page)]
    if sorted(there) != sorted(blocks):
        raise ValueError(f"the page has the blocks {', '.join(there)}; measured are {', '.join(blocks)}")
    return BLOCK.sub(lambda match: match["begin"] + blocks[match["name"]] + match["end"], page)


def _where(where: Mapping[str, dict[str, str]]) -> str:
    """The machine and the versions; all targets must have been measured with the same."""
    lines = []
    for name in ("machine", "versions"):
        said = {one[name] for one in where.values()}
        if len(said) != 1:
            raise ValueError(f"not measured in the same place: {' / '.join(sorted(said))}")
        lines.append(f"{name.capitalize()}: {said.pop()}.")
    return "  \n".join(lines) + "\n"


def _summary(found: Mapping[str, Measured], targets: Mapping[str, tuple[str, str]]) -> str:
    lines = ["| target | met | missed |", "|---|---:|---:|"]
    for target, measured in found.items():
        verdicts = [one.verdict for one in measured.figures if one.bound is not None]
        if verdicts:
            met = verdicts.count("met")
            lines.append(f"| {target}. {targets[target][0]} | {met} | {len(verdicts) - met} |")
    return "\n".join(lines) + "\n"


def _table(figures: list[Figure], where: Mapping[str, str]) -> str:
    lines = ["| what | measured | 95 % interval | target | | |", "|---|---:|---:|---:|---|---|"]
    for one in figures:
        lines.append(f"| {one.what} | {one.told()} | {one.spread()} | {one.target()} | {one.verdict} | {one.note} |")
    counts = sorted({str(one.interval.count) for one in figures}, key=int)
    told = [where["date"], f"{' and '.join(counts)} samples", f"load {where['load']}"]
    if "commit" in where:
        told.append(f"commit {where['commit']}")
    return "\n".join(lines) + f"\n\n{', '.join(told)}.\n"


def draw(lines: list[Series], plot: Plot, path: Path) -> None:
    """As SVG, the same bytes for the same figures."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure as Sheet
    from matplotlib.ticker import LogLocator

    rcParams["svg.hashsalt"] = "collectord"
    sheet = Sheet(figsize=(7, 3.2), layout="constrained")
    axes = sheet.subplots()
    width = 0.8 / len(lines)
    for number, line in enumerate(lines):
        middle = [one.middle for one in line.y]
        spread = [[one.middle - one.low for one in line.y], [one.high - one.middle for one in line.y]]
        if isinstance(line.x[0], str):
            at = [place + (number - (len(lines) - 1) / 2) * width for place in range(len(line.x))]
            axes.bar(at, middle, width, yerr=spread, label=line.name, capsize=2)
            axes.set_xticks(range(len(line.x)), line.x)
        else:
            axes.errorbar(line.x, middle, yerr=spread, marker="o", capsize=2, label=line.name)
            axes.set_xscale("log")
            axes.set_xticks(line.x, [f"{x:,.0f}" for x in line.x])
            axes.minorticks_off()
    if plot.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.set(xlabel=plot.x, ylabel=plot.y)
    axes.grid(alpha=0.3, axis="y")
    if len(lines) > 1:
        sheet.legend(loc="outside right upper")
    sheet.savefig(path, format="svg", metadata={"Date": None})
