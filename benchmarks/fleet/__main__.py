"""Prints the tables of docs/capacity.md and draws its plot: `python -m benchmarks.fleet [--svg FILE]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.fleet.simulate import Outcome, World, simulate

NODES = (1, 3, 10, 30, 100, 300, 1000, 3000, 5000)


def table(outcomes: list[Outcome], each: list[float]) -> str:
    """Markdown."""
    lines = [
        "| nodes | appends/s | lost races per append | requests per append | median, p99 until landed | not landed | blocks a day, parts "
        "| a month, shared | a month, `{node}` |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one, apart in zip(outcomes, each, strict=True):
        lines.append(
            f"| {one.nodes:,} | {one.appends_per_second:.2f} | {one.races_per_append:.2f} "
            f"| {one.writes_per_append + one.reads_per_append:.1f} | {one.median_seconds:.2f} s, {one.p99_seconds:.2f} s "
            f"| {one.backlogged:.1%} | {one.blocks_per_day:,.0f}, {one.parts_per_day} | ${one.dollars_per_month:,.2f} | ${apart:,.2f} |"
        )
    return "\n".join(lines)


def draw(outcomes: list[Outcome], path: Path) -> None:
    """Lost races and waiting against the number of nodes, as SVG."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "collectord"
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    races, waits = figure.subplots(1, 2)
    nodes = [one.nodes for one in outcomes]
    races.plot(nodes, [one.races_per_append for one in outcomes], marker="o")
    races.set(xscale="log", xlabel="nodes that share a blob", ylabel="lost races per append")
    waits.plot(nodes, [one.median_seconds for one in outcomes], marker="o", label="median")
    waits.plot(nodes, [one.p99_seconds for one in outcomes], marker="o", label="p99")
    waits.set(xscale="log", yscale="log", xlabel="nodes that share a blob", ylabel="seconds from sealed to landed")
    waits.legend()
    for axes in (races, waits):
        axes.grid(alpha=0.3)
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    world = World()
    parser.add_argument("--append-ms", type=float, default=world.append_seconds * 1e3, help="median of an append")
    parser.add_argument("--read-ms", type=float, default=world.read_seconds * 1e3, help="median of a read")
    parser.add_argument("--flush-interval", type=float, default=world.flush_interval, help="seconds")
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated, behind a warm-up")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--svg", type=Path, help="where to draw the plot; needs matplotlib")
    given = parser.parse_args()
    world = World(given.append_ms / 1e3, given.read_ms / 1e3, flush_interval=given.flush_interval)
    outcomes = [simulate(nodes, world, 60 * given.minutes) for nodes in given.nodes]
    # With a blob of its own, nobody races with a node.
    alone = simulate(1, world, 60 * given.minutes).dollars_per_month
    print(table(outcomes, [nodes * alone for nodes in given.nodes]))
    if given.svg is not None:
        draw(outcomes, given.svg)


if __name__ == "__main__":
    main()
