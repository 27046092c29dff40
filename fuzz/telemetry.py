"""Any text as `customDimensions`: the line is the oracle's, it is JSON, and the text stands in it as the object or text that it is."""

from __future__ import annotations

import json

from collectord.encode.telemetry import TelemetryPlan
from collectord.model import StreamKind
from fuzz.target import Target
from tests.encode import telemetry_oracle
from tests.encode.test_telemetry import TAG, event_schema, traces

SCHEMA = event_schema(StreamKind.TRACE)
PLAN = TelemetryPlan(SCHEMA)
SEEDS = (
    '{"Contents":{"input":[[1,2.5e-3,-0]],"output":["é\\ud83d\\ude00"]},"Request Id":"a"}', "{ }\n", '{"a":"\\u00e9\\n\\/"}',
    '{"a":{"b":[[],{},[null,true,false]]}}', '{"a":9223372036854775807,"b":1e308}', "[1]", '"text"', "no JSON", "",
)  # fmt: skip


def target() -> Target:
    return Target(_one, [seed.encode() for seed in SEEDS])


def _one(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    batch = traces(text, text[1:])
    lines = PLAN.encode(batch, TAG)
    assert lines == telemetry_oracle.encode(SCHEMA, batch)
    for given, line in zip((text, text[1:]), lines.split(b"\n")[:-1], strict=True):
        found = json.loads(line)["customDimensions"]
        assert found == (json.loads(given) if isinstance(found, dict) else given)
