"""What the ledger says of exporters outlives it."""

from __future__ import annotations

from pathlib import Path

from collectord.model import Cursor, Lsn
from collectord.upload.exported import ExportState, ExportTotals, Mark
from collectord.upload.ledger import Ledger

STATE = ExportState(
    Cursor(Lsn(1 << 40), 7), (Cursor(Lsn(4096), 0), Cursor(Lsn(4096), 99)), (Mark(Lsn(8192), 1_700_000_000_000_000_000),),
    ExportTotals(1, 2, 3, 4),
)  # fmt: skip


def test_a_state_is_read_back_as_it_was_put(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.exported.get("app_insights") is None
    ledger.exported.put("app_insights", ExportState(Cursor(Lsn(1), 0)))
    ledger.exported.put("app_insights", STATE)
    ledger.exported.put("otlp", ExportState(Cursor(Lsn(5), 0)))
    ledger.close()
    again = Ledger(tmp_path)
    assert again.exported.get("app_insights") == STATE
    assert again.exported.keep_only(["otlp"]) == {"app_insights": STATE}
    assert again.exported.keep_only(["otlp"]) == {}
    assert again.exported.get("app_insights") is None
    assert again.exported.get("otlp") == ExportState(Cursor(Lsn(5), 0))
    again.close()


def test_a_log_that_is_begun_anew_begins_above_what_an_exporter_has_passed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.exported.put("otlp", STATE)
    assert ledger.lsn_floor() == 1 << 40
    ledger.close()
