"""The client's table of kinds is the daemon's."""

from __future__ import annotations

from collectord_client.telemetry.kinds import KINDS

from collectord.kinds import EVENTS


def test_the_tables_are_the_same() -> None:
    theirs = {
        int(kind): (one.table, [(column.name, int(column.type)) for column in one.columns])
        for kind, one in EVENTS.items()
    }
    ours = {kind: (one.table, list(zip(one.names, one.types, strict=True))) for kind, one in KINDS.items()}
    assert ours == theirs
    assert len(ours) == 5
