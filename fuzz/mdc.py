"""Payloads of the v2 SDK: headers and a body. Whatever is accepted becomes a batch that the log's readers accept, and lands
value by value as a slow reader of the JSON has it; whatever is refused is refused with a sentence.

An input is lines of headers, an empty line, and the body.
"""

from __future__ import annotations

import json

from collectord import batch
from collectord.errors import Rejected
from collectord.ingest.forms import Forms, payload
from collectord.ingest.heading import read_heading
from collectord.ingest.payload import BadPayload
from collectord.ingest.records import read
from collectord.ingest.validate import DAY_NS, Window, judge
from collectord.model import Stream
from fuzz.target import Target
from tests.ingest.payloads import expected, headers, rows, same
from tests.reference_batch import NOW

WINDOW = Window(35 * DAY_NS, DAY_NS, 60)
GOOD = headers()


def target() -> Target:
    return Target(one, seeds(), 8192)


def one(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    given = GOOD | dict(_header(line) for line in head.splitlines() if line)
    try:
        heading = read_heading(given, Stream())
    except BadPayload as bad:
        assert str(bad)
        heading = read_heading(GOOD, Stream())
    try:
        count, columns = read(body, {})
        rules = Forms().rules(heading.stream, columns)
        raw = payload(rules, heading, heading.correlation_id or "id", count, columns)
        judged = judge(raw, batch.find(raw), rules, WINDOW, NOW)
    except (BadPayload, Rejected) as refused:
        assert str(refused)
        return
    assert judged.rows == count
    landed = [{name: row[name] for name in list(row)[: len(columns)]} for row in rows(rules.schema, raw)]
    assert same(landed, expected(body)), f"{landed} landed of {body!r}"


def _header(line: bytes) -> tuple[str, str]:
    """As aiohttp gives it."""
    name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
    known = {one.lower(): one for one in GOOD}
    return known.get(name.strip().lower(), name.strip()), value.strip()


def seeds() -> list[bytes]:
    records = [
        [
            {"a": 1, "b": 2.5, "c": "x", "d": True, "e": None},
            {"a": -1, "b": 0.1, "c": "é\n漢😀", "d": False, "e": None},
        ],
        [{"n": 2**63}, {"n": 2**64 - 1}, {}],
        [{"n": 2**64}, {"n": -(2**63) - 1}, {"n": 1.5}],
        [{"x": 1}, {"x": 2.5}, {"x": 2**53 + 1}],
        [{"x": "a"}, {"x": [1, {"b": None}]}, {"x": 1e300}],
        [{":": ":"}, {"\\": '"'}],
    ]
    heads = [
        b"",
        b"ce-time: 2020-09-13T12:26:40.5Z\nce-model: m\nce-source: /subscriptions/s/resourceGroups/g/providers/"
        b"Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e/deployments/d",
        b"Content-Type: application/octet-stream",
        b"ce-time: 1600000000.25\nce-type: azureml.inference.x\nce-x-request-id: \xe9\ntrace-id:",
    ]
    bodies = [json.dumps(one).encode() for one in records] + [
        b"[]",
        b"{}",
        b'[{"a":1,"a":2}]',
        b'[{"\\u003a":1,"x":"\\ud83d\\ude00"}]',
    ]
    return [head + b"\n\n" + body for head in heads[:1] for body in bodies] + [
        head + b"\n\n" + bodies[0] for head in heads
    ]
