"""A daemon's status for people, in a terminal: what `collectord status` prints and `collectord top` keeps up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

MIB = 1 << 20


def head(status: Mapping[str, Any]) -> RenderableType:
    """Who it is, and the numbers of the whole daemon."""
    waiting, log, rates, latency = status["waiting"], status["log"], status["rates"], status["latency"]
    memory, cost, totals = status["memory"], status["cost"], status["totals"]
    facts = Table.grid(padding=(0, 2))
    listens = [*status["listen"], *([f"{status['mdc']} (v2 SDK)"] if status["mdc"] else [])]
    rows = [
        ("listens on", ", ".join(listens)),
        ("store", status["store"]),
        ("clients", str(len(status["clients"]))),
        (
            "throughput",
            f"{rates['received_rows']:,.0f} rows/s received, {rates['landed_rows']:,.0f} rows/s and "
            f"{_bytes(rates['landed_bytes'])}/s landed",
        ),
        (
            "waiting",
            f"{waiting['rows']:,} rows of {waiting['partitions']:,} partitions, oldest {waiting['oldest_seconds']:.1f} s",
        ),
        ("log", f"{log['bytes'] / MIB:,.0f} of {log['budget_bytes'] / MIB:,.0f} MiB"),
        ("memory", f"{_bytes(memory['resident_bytes'])} of {_bytes(memory['budget_bytes'])}"),
        ("an append", _spread(latency["append"])),
        ("a sync", _spread(latency["sync"])),
        (
            "not collected",
            f"{totals['rejected']:,} rows rejected, {totals['dropped']:,} dropped, {totals['quarantined']:,} in quarantine",
        ),
        (
            "cost",
            f"{cost['per_month']:,.2f} a month expected: {cost['operations_per_hour']:,.0f} appends and "
            f"{_bytes(cost['bytes_per_hour'])} an hour",
        ),
    ]
    if events := status["events"]:
        requests, dependencies = events["request"], events["dependency"]
        rows.append((
            "application",
            f"{requests['per_minute']:,.1f} requests a minute, {_or_none(requests['average_ms'], ' ms')} on average, "
            f"{_or_none(requests['failed_percent'], ' %')} failed; {dependencies['per_minute']:,.1f} dependencies, "
            f"{events['exception']['per_minute']:,.1f} exceptions, {events['trace']['per_minute']:,.1f} traces",
        ))  # fmt: skip
    parked, shelf = status["parked"], status["quarantine"]
    if parked["files"]:
        room = f"{parked['bytes'] / MIB:,.0f} of {parked['budget_bytes'] / MIB:,.0f} MiB"
        rows.append(("parked", f"{parked['rows']:,} rows of blocked streams, {room}"))
    if shelf["items"]:
        rows.append(("quarantine", f"{shelf['rows']:,} rows in {shelf['items']:,} items; `collectord quarantine ls`"))
    for export in status["exports"]:
        lag = f"{export['lag_bytes'] / MIB:,.1f} MiB behind" if export["lag_bytes"] else "nothing waits"
        rows.append((
            f"events to {export['name']}", f"{export['delivered']:,} delivered, {lag}; {export['target']}"
        ))  # fmt: skip
    for name, value in rows:
        facts.add_row(name, Text(value))
    return Group(
        Text.assemble(
            (f"collectord {status['version']}", "bold"), " is ", (status["state"], "bold"), f", pid {status['pid']}, up "
            f"{status['uptime_seconds']:.0f} s",
        ),
        facts,
    )  # fmt: skip


def streams(status: Mapping[str, Any], most: int | None = None) -> RenderableType:
    """Three lines for each stream, the first ones if `most` is given: names are long, so numbers have a line of their own."""
    if not status["streams_in_all"]:
        return Text("nothing was received yet")
    shown: Sequence[Mapping[str, Any]] = status["streams"][:most]
    heads = ("received", "landed", "waiting", "rejected", "dropped", "bytes/h", "appends/h", "a month")
    lines = [Text(_columns(heads), style="bold")]
    for row in shown:
        cost = row["cost"]
        waiting = row["in_log"] + row["parked"] + row["quarantined"]
        counts = (row["received"], row["landed"], waiting, row["rejected"], row["dropped"])
        lines += [
            Text.assemble((row["stream"] or "(stream unknown)", "bold"), f", collected: {row['collected']}"),
            Text(row["blob"] or "nothing landed since the start", style="dim"),
            Text(_columns((
                *(f"{count:,}" for count in counts), _bytes(cost["bytes_per_hour"]),
                f"{cost['operations_per_hour']:,.0f}", f"{cost['per_month']:,.2f}",
            ))),
        ]  # fmt: skip
        if row["last_error"]:
            lines.append(Text(f"last error: {row['last_error']}", style="red"))
    if more := status["streams_in_all"] - len(shown):
        lines.append(Text(f"and {more:,} more streams", style="dim"))
    return Group(*lines)


def problems(status: Mapping[str, Any], most: int | None = None) -> list[RenderableType]:
    """What needs somebody, or may soon: a line each; of so many blobs at most if `most` is given, the blocked ones first."""
    lines: list[RenderableType] = []

    def say(word: str, style: str, text: str) -> None:
        lines.append(Text.assemble((word, style), text))

    if status["held"]:
        say("nothing is uploaded", "red", f": {status['held']}")
    if status["log_lost"]:
        say("the log was gone at the start", "red", ": rows that had not landed by then are lost")
    if refused := status["parked"]["refused_partitions"]:
        say(f"rows of {refused} blocked partitions are rejected", "red", ": no more may wait")
    if status["settings"]["problem"]:
        say("the file of settings does not count", "yellow", f": {status['settings']['problem']}")
    if status["settings"]["pending"]:
        say("a restart is needed for", "yellow", f": {', '.join(status['settings']['pending'])}")
    if status["switches"]["problem"]:
        say("the switches may be old", "yellow", f": {status['switches']['problem']}")
    for one in status.get("machine", ()):  # a daemon of an earlier version does not look at it
        say(f"the machine below ({one['about']})", "yellow", f": {one['what']}; {one['todo']}")
    if status["tls"] and status["tls"]["problem"]:
        say("the certificate does not count", "yellow", f": {status['tls']['problem']}")
    if status["tenants"]["problem"]:
        say("the file of tenants does not count", "yellow", f": {status['tenants']['problem']}")
    for export in status["exports"]:
        if export["trouble"]:
            word, style = ("blocked", "red") if export["blocked"] else ("retrying", "yellow")
            say(word, style, f" events to {export['name']}: {export['trouble']}")
        if lost := export["refused"] + export["expired"]:
            say(f"{lost:,} events to {export['name']} were given up", "red", ": docs/telemetry.md")
    troubles = sorted(status["troubles"], key=lambda trouble: not trouble["blocked"])
    shown = troubles[:most]
    for trouble in shown:
        word, style = ("blocked", "red") if trouble["blocked"] else ("retrying", "yellow")
        say(word, style, f" {trouble['blob']}: {trouble['detail']} (again in {trouble['again_in_seconds']} s)")
    if more := len(troubles) - len(shown):
        say("", "", f"and {more:,} more blobs in trouble")
    if status["last_error"] and not troubles:
        say("", "", f"last error: {status['last_error']}")
    return lines


def _columns(cells: Sequence[str]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, (12, 12, 11, 9, 8, 9, 10, 8), strict=True))


def _bytes(value: float | None) -> str:
    if value is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def _spread(latency: Mapping[str, Any]) -> str:
    if latency["p50"] is None:
        return "none in the last 5 minutes"
    return f"median {latency['p50'] * 1000:,.1f} ms, p99 {latency['p99'] * 1000:,.1f} ms"


def _or_none(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:,.1f}{unit}"
