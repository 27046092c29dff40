"""Events become rows: a block of the columns of their kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..block import BOOL, FLOAT64, INT64, Block, Part
from ..columns import DROP, Rules
from ..values import _packed, texts
from . import contents, cuts
from .dimensions import Budget, Plain, encode
from .event import Event
from .kinds import DEPENDENCY, KINDS, REQUEST
from .operation import bare

CONTENTS = "Contents"
CONTAINER, REQUEST_ID, CLIENT_REQUEST_ID = "Container Id", "Request Id", "Client Request Id"
WORKSPACE, SERVICE, RESPONSE = "Workspace Name", "Service Name", "Response Value"
"""The keys of Azure ML's inference server."""
FORMS = {FLOAT64: "d", INT64: "q", BOOL: "?"}
ITSELF = (REQUEST, DEPENDENCY)
"""Kinds whose operation is the event's own, not the one that it belongs to."""


class Rows:
    """Makes the rows of one client."""

    def __init__(self, instance: str, constants: dict[str, Plain], rules: Rules | None) -> None:
        self._instance = instance
        self._rules = rules
        self._constants = constants
        """Dimensions that every event has."""
        self.cut = 0
        """Events of which something was cut."""
        self.altered = 0
        """Those of which something was written otherwise than it was given."""

    def block(self, kind: int, events: Sequence[Event]) -> Block:
        """The rows of events of one kind."""
        types = KINDS[kind].types
        rows = [self._row(event) for event in events]
        parts = [_part(type, [row[at] for row in rows]) for at, type in enumerate(types)]
        return Block(None, types, len(rows), None, tuple(parts))

    def _row(self, event: Event) -> tuple[Any, ...]:
        told = dict(event.cuts) if event.cuts else {}
        own: list[Any] = []
        room = cuts.EVENT_BYTES
        for (column, _), value in zip(KINDS[event.kind].own, event.own, strict=True):
            if isinstance(value, str):
                value = cuts.fit(column, cuts.sound(value), max(room // 2, cuts.SHORT), told)
                room -= cuts.weight(value)
            own.append(value)
        operation = event.operation
        budget = Budget()
        dimensions = self._constants | event.dimensions
        if event.contents is not None:
            dimensions[CONTENTS] = contents.read(event.contents, budget)
        id: str | None = None
        parent: str | None = None
        name: str | None = None
        if operation is not None:
            id, name = operation.id, operation.name
            parent = operation.parent if event.kind in ITSELF else operation.span
            request = operation.request_id
            if request is not None and self._rules is not None and self._rules.request:
                # What must not leave as the id of rows must not leave here either, also where it is the operation's.
                if bare(request) == id:
                    id = self._rules.hashed(request)[:32]
                request = None if self._rules.request == DROP else self._rules.hashed(request)
            if request is not None:
                dimensions[REQUEST_ID] = request
            if operation.client_request_id:
                dimensions[CLIENT_REQUEST_ID] = operation.client_request_id
        text = encode(dimensions, told, max(room, cuts.SHORT))
        self.cut += bool(told)
        self.altered += event.altered or budget.altered
        return (id, parent, name, self._instance, text, *own)


def _part(kind: int, values: list[Any]) -> Part:
    if kind not in FORMS:
        return texts(values)[1]
    mask = bytes([value is not None for value in values]) if None in values else None
    return Part(_packed(FORMS[kind], values, mask), None, mask)
