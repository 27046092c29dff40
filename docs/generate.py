"""Writes the tables of docs/operations.md and docs/configuration.md from the code that they describe.

    python docs/generate.py            writes them
    python docs/generate.py --check    changes nothing; exits with 1 and names the tables that differ

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`. Everything else is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from collectord import batch, condition, recipe, schema, switches, tenants
from collectord.address import MAX_SOCKET_PATH
from collectord.assembly import FRAME_PAYLOAD_SHARE, INGEST_SHARE, LOG_SHARE
from collectord.buffer.seal import MAX_FRAME_ROWS
from collectord.coherence import CLIENT_BYTES
from collectord.daemon import NAMES_SHARE
from collectord.ingest import (
    admission,
    following,
    forms,
    gate,
    heading,
    mdc,
    mdc_http,
    purses,
    reception,
    records,
    remembered,
    service,
    session,
    shares,
    validate,
)
from collectord.metrics import TABLE
from collectord.notation import is_secret, is_size
from collectord.pipeline import known, lag, parking
from collectord.settings import AT_ONCE, QUARANTINE_SHARE, Settings
from collectord.telemetry import delivery, envelope
from collectord.upload import remedies, rollover, store, template

DOCS = Path(__file__).resolve().parent
ALERTS = DOCS.parent / "deploy" / "helm" / "collectord" / "files" / "alerts.yaml"
BLOCK = re.compile(r"(?P<begin><!-- generated: (?P<name>[a-z]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)

_OF_THE_MACHINE = {"node": "the host's name", "app_insights_key": "`AML_APP_INSIGHTS_KEY`"}
"""Defaults that differ from machine to machine."""

_UNITS = {
    "seconds": "seconds",
    "bytes": "bytes",
    "records": "rows",
    "dropped": "rows",
    "batches": "batches",
    "frames": "frames",
    "partitions": "partitions",
    "streams": "streams",
    "sessions": "clients",
    "clients": "clients",
    "failures": "failures",
    "expires": "seconds",
    "findings": "appends and blobs",
    "segments": "segments",
    "depth": "partitions",
    "waits": "batches",
    "marks": "clients",
    "answers": "answers",
    "payloads": "payloads",
    "incomplete": "payloads",
    "reports": "reports",
    "connections": "connections",
    "needed": "0 or 1",
    "held": "0 or 1",
    "lost": "0 or 1",
    "draining": "0 or 1",
    "problem": "0 or 1",
    "version": "changes",
    "pending": "settings",
    "export": "events",
    "blocked": "0 or 1",
}
"""The last of these words in a metric's name tells what it counts."""


def settings_table() -> str:
    """Every setting, in the order of `settings.Settings`."""
    rows = []
    for name, field in Settings.model_fields.items():
        option = "environment or file only" if is_secret(field.annotation) else f"`--{name.replace('_', '-')}`"
        rows.append(
            (
                f"`{name}`",
                option,
                f"`COLLECTORD_{name.upper()}`",
                _default(name, field),
                _allowed(field),
                "at once" if name in AT_ONCE else "restart",
                str(field.description),
            )
        )
    return _table(("setting", "option", "variable", "default", "allowed", "a change", "meaning"), rows)


def metrics_table() -> str:
    """Every metric, in the order of `metrics.TABLE`."""
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            _unit(metric.name),
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in TABLE
    ]
    return _table(("metric", "kind", "unit", "labels", "meaning"), rows)


def alerts_table() -> str:
    """Every alert of the chart, with an anchor that its page link leads to."""
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["alerts"]
    rows = [
        (
            f'<a id="{alert["alert"].lower()}"></a>{alert["alert"]}',
            alert["severity"],
            f"`{alert['expr']}` for {alert['for']}",
            alert["meaning"],
            alert["action"],
        )
        for alert in alerts
    ]
    return _table(("alert", "severity", "when", "meaning", "action"), rows)


def remedies_table() -> str:
    """What to do about refusals of Azure, in the order of `remedies.REMEDIES`."""
    filled = {"mend": "replace it", "skew": "… s ahead of or behind", "st": "…", "se": "…", "sp": "…", "aud": "…"}
    rows = [(one.when, one.says.format_map(filled)) for one in remedies.REMEDIES]
    return _table(("symptom", "what the log, the status and the doctor say"), rows)


def limits_table() -> str:
    """Every limit, with its number taken from the code that enforces it."""
    return _table(("limit", "value", "setting", "when it is reached", "seen in"), [_limit(*limit) for limit in LIMITS])


def _limit(what: str, value: str, setting: str, then: str, seen: str) -> tuple[str, ...]:
    return what, value, f"`{setting}`" if setting else "fixed", then, seen


def _size(number: float) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size and number * 10 % size == 0:
            return f"{number / size:g} {unit}"
    return f"{number:,.0f} bytes" if number < 1 << 20 else f"{number / (1 << 20):.1f} MiB"


def _setting(name: str) -> Any:
    return Settings.model_fields[name].default


def _days(name: str) -> str:
    days = _setting(name)
    return f"{days:g} day{'' if days == 1 else 's'}"


_REJECTED = '`collectord_records_rejected_total{reason="%s"}`'
_WAITS = '`collectord_credit_waits_total{cause="%s"}`'
_ANSWERED = '`collectord_mdc_answers_total{code="%s"}`'
_MEMORY, _SPOOL = _setting("memory_budget"), _setting("spool_budget")

LIMITS: Sequence[tuple[str, str, str, str, str]] = (
    # what, value, setting, what happens, metric
    ("message", _size(_setting("max_message_bytes")), "max_message_bytes", "the stream ends with RESOURCE_EXHAUSTED; our client splits before", "the client's `stats()`"),
    ("rows of a batch", f"{batch.MAX_ROWS:,}", "", "rejected", _REJECTED % "too_many_rows"),
    ("columns of a schema", f"{_setting('max_columns'):,}", "max_columns", "rejected", _REJECTED % "too_many_columns"),
    ("column name", _size(_setting("max_column_name_bytes")), "max_column_name_bytes", "rejected", _REJECTED % "bad_name"),
    ("part of a stream's name", f"{_setting('max_name_bytes')} bytes", "max_name_bytes", "rejected", _REJECTED % "bad_name"),
    ("header row as text", _size(schema.MAX_HEADER_TEXT), "", "rejected", _REJECTED % "header_too_large"),
    ("one text value", _size(_setting("max_value_bytes")), "max_value_bytes", "the whole batch is rejected", _REJECTED % "value_too_large"),
    ("one row as text, at worst-case quoting", _size(schema.MAX_ROW_TEXT), "", "the whole batch is rejected", _REJECTED % "row_too_large"),
    ("correlation id, request id", _size(batch.MAX_ID_BYTES), "", "the whole batch is rejected", _REJECTED % "value_too_large"),
    ("age of a scoring time", _days("late_days"), "late_days", "rejected", _REJECTED % "time_out_of_window"),
    ("scoring time ahead", _days("early_days"), "early_days", "rejected", _REJECTED % "time_out_of_window"),
    ("services that a client follows", f"{following.MAX_FOLLOWED:,}", "", "the stream ends; our client follows no more", '`collectord_streams_refused_total{reason="protocol"}`'),
    ("switches: the document; services; fractions of one", f"{_size(switches.MAX_BYTES)}; {switches.MAX_SERVICES:,}; {switches.MAX_DESIGNATIONS}", "", "not read, the last good ones count; not written", "`collectord_switches_problem`"),
    ("a recipe's condition; its requests", f"{condition.LONGEST:,} characters; {recipe.MAX_REQUESTS:,}", "", "not read, the last good ones count; not written", "`collectord_switches_problem`"),
    ("schemas of a client", f"{validate.MAX_SCHEMAS_PER_CLIENT:,}", "", "rejected until it connects again", _REJECTED % "too_many_schemas"),
    ("columns of all schemas of a client", f"{validate.MAX_COLUMNS_PER_CLIENT:,}", "", "rejected until it connects again", _REJECTED % "too_many_schemas"),
    ("counts in one report of dropped rows", f"{validate.MAX_DROP_COUNTS:,}", "", "the rest of the report is left out", "the daemon's log"),
    ("rejects that a client has not read", f"{session.MAX_UNREAD_REJECTS:,}", "", "nothing more is read from that client", ""),
    ("connected clients", f"{_MEMORY // CLIENT_BYTES:,}: what the memory budget has for, {_size(CLIENT_BYTES)} each", "max_clients", "one more is refused with RESOURCE_EXHAUSTED and tries again", '`collectord_streams_refused_total{reason="limit"}`'),
    ("remembered clients", f"{_setting('max_remembered'):,}", "max_remembered", "the one silent for longest is forgotten, if it is an hour; else RESOURCE_EXHAUSTED", "`collectord_remembered_sessions`"),
    ("clients of a tenant", "none", "tenants", "one more is refused with RESOURCE_EXHAUSTED and tries again", '`collectord_streams_refused_total{reason="limit"}`'),
    ("clients of a tenant that are not remembered, in an hour", f"{purses.NEWCOMERS:,}", "", "one more is refused with RESOURCE_EXHAUSTED and tries again", '`collectord_streams_refused_total{reason="limit"}`'),
    ("streams that have not greeted, where other machines reach the port", f"{reception.MAX_STRANGERS}", "", "one more is refused", '`collectord_streams_refused_total{reason="limit"}`'),
    ("bytes, rows a second of a tenant, or of a service where none is named", "none", "quota_bytes", "they wait with their clients, who have no credit meanwhile; the v2 door answers 503", '`collectord_credit_waits_total{cause="quota"}`'),
    ("partitions of a tenant", "none", "tenants", "rows of one more are rejected", _REJECTED % "too_many_streams"),
    ("services told apart where no tenant is named", f"{purses.MAX_PURSES:,}", "", "the rest have quota and turns together", ""),
    ("log, open partitions and clients of a tenant, or of a service where none is named", f"{_setting('tenant_share'):.0%} of what the others leave", "tenant_share", "rows wait with their clients, who have no credit meanwhile, and the v2 door answers 503; of one partition more they are rejected; one client more is refused", f"{_WAITS % 'share'}, {_REJECTED % 'too_many_streams'}, `collectord_tenant_log_bytes`"),
    ("names of streams in the books", f"1/{NAMES_SHARE} of a segment: {_size(_setting('segment_bytes') / NAMES_SHARE)}, of a tenant or service `tenant_share` of what the others leave; a name counts {shares.NAME_BYTES} bytes more than it has", "segment_bytes", "rows of one more are rejected, and reports of dropped rows leave it out", f"{_REJECTED % 'too_many_streams'}, `collectord_stream_name_bytes`"),
    ("refusals and reports of dropped rows of a tenant, or of a service where none is named, in the log", f"{_size(purses.REPORT_BYTES)}/s, {_size(purses.HELD_REPORTS)} at once", "", "refusals wait with their client; a report is left out, and the next one has its numbers too", "`collectord_reports_left_out_total`"),
    ("lines of the books about dropped rows that a tenant, or service, brings up", f"{purses.NEW_COUNTS:,} an hour, {purses.HELD_COUNTS:,} at once", "", "the rest of the report is left out", "the daemon's log"),
    ("token", f"{tenants.SHORTEST_TOKEN} to {tenants.LONGEST_TOKEN} characters", "", "UNAUTHENTICATED, or 401", '`collectord_streams_refused_total{reason="token"}`'),
    ("tenants; their file", f"{tenants.MAX_TENANTS:,}; {_size(tenants.MAX_FILE_BYTES)}", "", "the start is refused; later, the last good file counts", "`collectord_tenants_problem`"),
    ("connections of a listener", f"`max_clients` + {reception.SPARE_CONNECTIONS}, and {reception.SPARE_DESCRIPTORS} descriptors stay free", "max_clients", "hung up on", ""),
    ("streams of a connection", f"{service.STREAMS_PER_CONNECTION}", "", "the next one waits for its turn", ""),
    ("a connection that does not greet", f"{service.HELLO_SECONDS:g} s", "", "hung up on", ""),
    ("a connection without a stream", f"{service.IDLE_SECONDS:g} s", "", "closed in order", ""),
    ("messages that are not whole yet", f"{reception.PRESSURE_SHARE / INGEST_SHARE:.3g} of the memory budget: {_size(_MEMORY / INGEST_SHARE * reception.PRESSURE_SHARE)}", "memory_budget", "the streams silent for longest end with RESOURCE_EXHAUSTED", '`collectord_streams_refused_total{reason="memory"}`'),
    ("memory of a client's schemas", _size(validate.MAX_SCHEMA_BYTES_PER_CLIENT), "", "rejected until it connects again", _REJECTED % "too_many_schemas"),
    ("memory of all schemas", _size(validate.MAX_SCHEMA_BYTES), "", "the stream that has the most ends with RESOURCE_EXHAUSTED", "`collectord_schema_bytes`"),
    ("memory of a silent client's sequence", _days("mark_days"), "mark_days", "forgotten; what it sends again is at-least-once", ""),
    ("memory of schemas and plans for writing", f"{_size(known.KEPT_BYTES)} each", "", "the oldest are read from the log again", ""),
    ("open partitions", f"{_setting('max_streams'):,}", "max_streams", "rows of one more are rejected", f"{_REJECTED % 'too_many_streams'}, `collectord_open_partitions`"),
    ("unacknowledged bytes of a client", _size(admission.FIRST_CREDIT), "", f"it waits; at least {_size(admission.LEAST_CREDIT)} when many share the budget", ""),
    ("unacknowledged bytes of all clients", f"1/{INGEST_SHARE} of the memory budget: {_size(_MEMORY / INGEST_SHARE)}", "memory_budget", f"clients wait in turn; each batch counts {_size(gate.ENTRY_OVERHEAD)} more than its bytes", "`collectord_unacknowledged_bytes`"),
    ("log payload in one frame", f"1/{FRAME_PAYLOAD_SHARE} of the memory budget: {_size(_MEMORY / FRAME_PAYLOAD_SHARE)}", "memory_budget", "the frame is cut", '`collectord_frames_sealed_total{cause="bytes"}`'),
    ("rows of a frame", f"{MAX_FRAME_ROWS:,}", "", "the frame is cut", '`collectord_frames_sealed_total{cause="bytes"}`'),
    ("log", f"{LOG_SHARE:.0%} of the spool budget: {_size(_SPOOL * LOG_SHARE)}", "spool_budget", "credit becomes 0, clients fill their outboxes", "`collectord_wal_bytes`, `collectord_wal_budget_bytes`"),
    ("waiting for blocked blobs", f"{parking.SHARE:.0%} of the log: {_size(_SPOOL * LOG_SHARE * parking.SHARE)}", "spool_budget", f"from {parking.REFUSE_AT:.0%} on rows of blocked partitions are rejected", f"{_REJECTED % 'stream_blocked'}, `collectord_parked_bytes`"),
    ("quarantine", f"{QUARANTINE_SHARE:.0%} of the spool budget: {_size(_SPOOL * QUARANTINE_SHARE)}", "quarantine_budget", "what is poison blocks its own stream", "`collectord_quarantine_bytes`"),
    ("segment of the log", _size(_setting("segment_bytes")), "segment_bytes", "the next one is begun", "`collectord wal ls`"),
    ("one append: frame and header", _size(store.MAX_APPEND), "", "fewer rows are taken", ""),
    ("appends of a part", f"{rollover.MAX_APPENDS:,}", "", "the next part is begun: `data.1.csv.zst`", "`collectord ls`"),
    ("appends under way", f"{_setting('uploads')}", "uploads", "the others wait in the log", "`collectord_freshness_seconds`"),
    ("blob name", _size(template.MAX_NAME), "", "long parts are cut and get a hash", "`collectord ls`"),
    ("level of a blob name", f"{template.MAX_LEVEL} bytes", "", "cut likewise", "`collectord ls`"),
    ("v2 door: body", f"1/{mdc.BODY_SHARE} of the memory budget, at most {_size(mdc.MAX_BODY_BYTES)}", "memory_budget", "413", _ANSWERED % 413),
    ("v2 door: records in memory", f"1/{mdc.RECORDS_SHARE} of the memory budget: {_size(_MEMORY / mdc.RECORDS_SHARE)}, counting 200 bytes for an object, 64 for an array, 40 for a comma", "memory_budget", "413", _ANSWERED % 413),
    ("v2 door: rows times columns", f"{records.MAX_CELLS:,}", "", "413", _ANSWERED % 413),
    ("v2 door: rows as a batch", _size(forms.MAX_PAYLOAD_BYTES), "", "413", _ANSWERED % 413),
    ("v2 door: columns, names, values, rows, times", "as of every batch", "", "413 or 400, with the reason", f"{_REJECTED % '…'}, {_ANSWERED % 413}"),
    ("v2 door: nesting of a value", "about 250", "", "400", _ANSWERED % 400),
    ("v2 door: bodies under way", f"1/{mdc.HELD_SHARE} of the memory budget: {_size(_MEMORY / mdc.HELD_SHARE)}", "memory_budget", f"a payload waits {mdc.ROOM_SECONDS:g} s for room, then 503", f"`collectord_mdc_held_bytes`, {_ANSWERED % 503}"),
    ("v2 door: time for a body", f"{mdc.BODY_SECONDS:g} s", "", "408", _ANSWERED % 408),
    ("v2 door: connections", f"{_setting('mdc_connections')}", "mdc_connections", "503", f"`collectord_mdc_open_connections`, {_ANSWERED % 503}"),
    ("v2 door: time for the first headers", f"{mdc_http.HEADER_SECONDS:g} s", "", "hung up on", ""),
    ("v2 door: a header; headers", f"{mdc_http.HEADER_BYTES:,} bytes; {mdc_http.MAX_HEADERS}", "", "400", ""),
    ("v2 door: trace id", f"{heading.MAX_TRACE} characters", "", "400", _ANSWERED % 400),
    ("v2 door: remembered payloads", f"{remembered.MAX_PAYLOADS:,}, for {remembered.WINDOW_NS / 3.6e12:g} hour", "", "the oldest is forgotten; sent again, it is stored again", "`collectord_mdc_remembered_payloads`"),
    ("events: an item of Application Insights", _size(envelope.MAX_ITEM), "", "the event goes whole into a blob, the item refers to it", "`collectord_export_large_total`"),
    ("events: of one request", f"{delivery.MAX_ITEMS}; {_size(delivery.MAX_BYTES)}", "", "the rest goes with the next", ""),
    ("events: read from the log and not delivered, per exporter", f"{delivery.HELD_ITEMS:,}; {_size(delivery.HELD_BYTES)}", "", "no more is read", "`collectord_export_lag_bytes`"),
    ("events: log that is kept for exporters alone", f"{_size(_setting('export_max_lag_bytes'))}, at most {lag.SHARE:.0%} of what it may use", "export_max_lag_bytes", "the oldest are given up", "`collectord_export_expired_total`"),
    ("events: waiting for an exporter's endpoint", f"{_setting('export_max_lag_hours'):g} hours", "export_max_lag_hours", "they are given up", "`collectord_export_expired_total`"),
    ("path of a unix socket, absolute or from the working directory", f"{MAX_SOCKET_PATH} bytes", "listen", "the start is refused, the length named", ""),
)  # fmt: skip

TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "metrics": metrics_table,
    "limits": limits_table,
    "alerts": alerts_table,
    "remedies": remedies_table,
}
PAGES: Mapping[Path, tuple[str, ...]] = {
    DOCS / "configuration.md": ("settings",),
    DOCS / "operations.md": ("metrics", "alerts", "remedies", "limits"),
}


def _unit(name: str) -> str:
    found = [_UNITS[word] for word in name.split("_") if word in _UNITS]
    if name == "collectord_build_info":
        return ""
    if not found:
        raise SystemExit(f"{name}: docs/generate.py does not know what it counts")
    return found[-1]


def _default(name: str, field: FieldInfo) -> str:
    if name in _OF_THE_MACHINE:
        return _OF_THE_MACHINE[name]
    value = field.default
    if value is None or value == "":
        return "not set"
    if name == "socket_mode":
        return f"`{value:04o}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    if isinstance(value, int) and value >= 1 << 20:
        return f"`{_size(value).replace(' ', '')}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    signs = {"ge": "≥", "gt": ">", "le": "≤"}
    bounds = [
        f"{sign} {_bound(value, field)}"
        for rule in field.metadata
        for attribute, sign in signs.items()
        if (value := getattr(rule, attribute, None)) is not None
    ]
    if bounds:
        return " and ".join(bounds)
    return "`true`, `false`" if annotation is bool else ""


def _bound(value: float, field: FieldInfo) -> str:
    if isinstance(field.default, int) and value == 0o777:
        return f"{int(value):04o}"
    if is_size(field) and value >= 1 << 10:
        return _size(value).replace(" bytes", "")
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines).replace(
        "|  |", "| |"
    )


def generated(text: str, tables: Sequence[str]) -> str:
    """A page with its tables as the code has them now. Raises ValueError if a table has no place, or a place no table."""
    places = [found["name"] for found in BLOCK.finditer(text)]
    if sorted(places) != sorted(tables):
        raise ValueError(f"the page has places for {sorted(places)}; there are tables for {sorted(tables)}")
    return BLOCK.sub(lambda found: f"{found['begin']}{TABLES[found['name']]()}{found['end']}", text)


def stale(text: str, tables: Sequence[str]) -> list[str]:
    """The names of the tables that differ from the code."""
    now = generated(text, tables)
    before, after = ({found["name"]: found[0] for found in BLOCK.finditer(page)} for page in (text, now))
    return [name for name in after if before[name] != after[name]]


def main(arguments: Sequence[str], pages: Mapping[Path, Sequence[str]] = PAGES) -> int:
    """Returns the exit status."""
    if list(arguments) not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    status = 0
    for page, tables in pages.items():
        text = page.read_text(encoding="utf-8")
        differing = stale(text, tables)
        if arguments and differing:
            print(
                f"{page.name}: {', '.join(differing)} differ from the code; run python docs/generate.py",
                file=sys.stderr,
            )
            status = 1
        if not arguments:
            page.write_text(generated(text, tables), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
