"""The Grafana dashboard, as a value: is it keeping up, is anything lost, how fresh is the data, what does it cost.

`render.py` writes it into the chart. The dashboard's JSON model:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SECONDS_PER_MONTH = 2_628_000
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OURS = '{node=~"$node"}'


@dataclass(frozen=True)
class Panel:
    """A title, what it tells, and queries by legend."""

    title: str
    tells: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    thresholds: tuple[float, ...] = ()
    """Values from which it turns yellow, then red."""


@dataclass(frozen=True)
class Row:
    """A question and the panels that answer it."""

    title: str
    panels: tuple[Panel, ...] = field(default_factory=tuple)


def rate(name: str, by: str = "") -> str:
    of = f"sum by ({by}) " if by else "sum"
    return f"{of}(rate({name}{OURS}[$__rate_interval]))"


def quantile(q: float, name: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{OURS}[$__rate_interval])))"


ROWS = (
    Row(
        "Is it keeping up?",
        (
            Panel(
                "Rows", "What comes in and what lands; over a few minutes both are the same.",
                {"received": rate("collectord_records_received_total"), "landed": rate("collectord_records_landed_total")},
                "rows/s", width=12,
            ),
            Panel(
                "Log used", "Of its budget. When it is full, clients get no credit.",
                {"{{node}}": f"collectord_wal_bytes{OURS} / collectord_wal_budget_bytes{OURS}"},
                "percentunit", width=6, thresholds=(0.5, 0.8),
            ),
            Panel(
                "Rows that wait", "In the log, on their way to the store.",
                {"{{node}}": f"collectord_waiting_records{OURS}"}, width=6,
            ),
            Panel(
                "Uploads", "Attempts that did not land, by what the store said.",
                {"{{code}}": rate("collectord_upload_failures_total", "code")}, "ops",
            ),
            Panel(
                "Time per step", "99 of 100 take less.",
                {
                    "encode": quantile(0.99, "collectord_encode_duration_seconds"),
                    "upload": quantile(0.99, "collectord_upload_duration_seconds"),
                    "seal to landed": quantile(0.99, "collectord_flush_duration_seconds"),
                },
                "s",
            ),
            Panel(
                "Clients", "Connected, and how often a batch had to wait.",
                {
                    "connected": f"sum(collectord_sessions{OURS})",
                    "waits: {{cause}}": rate("collectord_credit_waits_total", "cause"),
                },
            ),
        ),
    ),
    Row(
        "Is anything lost?",
        (
            Panel(
                "Given up by clients", "Rows that were never sent, by reason; 0 is well.",
                {"{{reason}}": f"{rate('collectord_client_dropped_total', 'reason')} > 0"}, "rows/s",
            ),
            Panel(
                "Refused", "Rows that can never be accepted, by reason; 0 is well.",
                {"{{reason}}": f"{rate('collectord_records_rejected_total', 'reason')} > 0"}, "rows/s",
            ),
            Panel(
                "Set aside", "Rows in quarantine and parked, and partitions whose blob takes nothing.",
                {
                    "quarantine": f"sum(collectord_quarantine_records{OURS})",
                    "parked": f"sum(collectord_parked_records{OURS})",
                    "blocked partitions": f"sum(collectord_blocked_partitions{OURS})",
                },
            ),
        ),
    ),
    Row(
        "How fresh is the data?",
        (
            Panel(
                "Oldest row that has not landed", "About a flush interval is well.",
                {"{{node}}": f"collectord_freshness_seconds{OURS}"}, "s", width=12, thresholds=(180, 600),
            ),
            Panel(
                "Daemons", "That answer, and the version that they run.",
                {"{{version}}": f"count by (version) (collectord_build_info{OURS})"}, width=12,
            ),
        ),
    ),
    Row(
        "What does it cost?",
        (
            Panel(
                "Appends per month", "At the present rate; each is a write operation of the account.",
                {"appends": f"{rate('collectord_frames_landed_total')} * {SECONDS_PER_MONTH}"}, kind="stat", width=6,
            ),
            Panel(
                "Writing, per month", "Appends at the price of 10,000 write operations above.",
                {"cost": f"{rate('collectord_frames_landed_total')} * {SECONDS_PER_MONTH} / 10000 * $write_price"},
                "currencyUSD", "stat", 6,
            ),
            Panel(
                "Stored, per month", "Bytes that a month at the present rate adds.",
                {"bytes": f"{rate('collectord_bytes_landed_total')} * {SECONDS_PER_MONTH}"}, "bytes", "stat", 6,
            ),
            Panel(
                "Keeping a month of it", "What that costs in each month that it is kept.",
                {"cost": f"{rate('collectord_bytes_landed_total')} * {SECONDS_PER_MONTH} / 1e9 * $storage_price"},
                "currencyUSD", "stat", 6,
            ),
        ),
    ),
)  # fmt: skip


def queries() -> list[str]:
    """All of them, as Grafana has them."""
    return [query for row in ROWS for panel in row.panels for query in panel.queries.values()]


def render() -> dict[str, Any]:
    """The dashboard as JSON values."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        panels.append({"type": "row", "title": row.title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > 24:
                x, y = 0, y + 8
            panels.append(_panel(panel, x, y))
            x += panel.width
        y += 8
    return {
        "title": "collectord",
        "uid": "collectord",
        "schemaVersion": 39,
        "tags": ["collectord"],
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "node", "type": "query", "datasource": DATASOURCE, "includeAll": True, "allValue": ".*",
                    "multi": True, "query": "label_values(collectord_build_info, node)", "refresh": 2,
                    "current": {"text": "All", "value": "$__all"},
                },
                _constant("write_price", "Price of 10,000 write operations", "0.065"),
                _constant("storage_price", "Price of a gigabyte and month", "0.0184"),
            ]
        },
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }  # fmt: skip


def _constant(name: str, label: str, value: str) -> dict[str, Any]:
    return {"name": name, "label": label, "type": "textbox", "query": value, "current": {"text": value, "value": value}}


def _panel(panel: Panel, x: int, y: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [
        {"color": color, "value": value}
        for color, value in zip(("yellow", "red"), panel.thresholds, strict=False)
    ]  # fmt: skip
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.tells,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend, "datasource": DATASOURCE}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }
