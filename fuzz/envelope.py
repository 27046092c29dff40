"""Messages of a stream as a session takes them: the envelope by hand, against protobuf; then what is in it."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError, Rejected
from collectord.ingest.envelope import Kind, unwrap
from collectord.ingest.validate import DAY_NS, Declared, Shared, Window, counted_drops
from fuzz.target import Target
from tests.reference_batch import NOW, make_schema, schema_message, simple
from tests.reference_batch import ColumnType as T

WINDOW = Window(35 * DAY_NS, DAY_NS, 60)
KNOWN = make_schema(T.FLOAT64, T.STRING)
CONTENTS = {
    Kind.HELLO: "hello",
    Kind.DECLARE: "declare",
    Kind.BATCH: "batch",
    Kind.DROPPED: "dropped",
    Kind.FOLLOW: "follow",
}


def target() -> Target:
    return Target(one, seeds())


def one(data: bytes) -> None:
    try:
        found = unwrap(data)
    except ProtocolError:
        return
    kind, content = found if found is not None else (None, memoryview(b""))
    _agrees_with_protobuf(data, kind, bytes(content))
    try:
        if kind is Kind.HELLO:
            pb.Hello.FromString(bytes(content))
        elif kind is Kind.DECLARE:
            Declared(Shared()).declare(pb.Declare.FromString(bytes(content)).schema)
        elif kind is Kind.DROPPED:
            kept, refused = counted_drops(pb.Dropped.FromString(bytes(content)))
            assert refused >= 0
            assert counted_drops(pb.Dropped.FromString(kept)) == (kept, 0)
        elif kind is Kind.FOLLOW:
            pb.Follow.FromString(bytes(content))
        elif kind is Kind.BATCH:
            _batch(content)
    except DecodeError:
        return  # A session answers it with ProtocolError.


def _agrees_with_protobuf(data: bytes, kind: Kind | None, content: bytes) -> None:
    """Where protobuf reads the message, too, it finds the same."""
    try:
        message = pb.ClientMessage.FromString(data)
    except DecodeError:
        return
    assert message.WhichOneof("message") == (CONTENTS[kind] if kind else None)
    if kind is not None:
        inside = getattr(message, CONTENTS[kind])
        again = type(inside).FromString(content)
        assert again.SerializeToString(deterministic=True) == inside.SerializeToString(deterministic=True)


def _batch(content: memoryview) -> None:
    declared = Declared(Shared())
    assert declared.declare(KNOWN.raw) is None
    try:
        found = batch.find(content)
        judged = declared.judge(content, found, WINDOW, NOW)
        assert judged.rows == found.rows > 0
    except Rejected as rejected:
        assert rejected.detail
    seen = batch.glance(content)
    assert 0 <= seen.rows <= batch.MAX_ROWS
    assert seen.sequence >= 0
    assert len(seen.schema_id) in (0, 16)


def seeds() -> list[bytes]:
    stream = pb.Stream(model="m", webservice="näher")
    messages = [
        pb.ClientMessage(hello=pb.Hello(client_id=bytes(16), pid=7, sdk="sdk", version="1", token="t")),
        pb.ClientMessage(declare=pb.Declare(schema=KNOWN.raw)),
        pb.ClientMessage(declare=pb.Declare(schema=schema_message(T.INT8, T.INT8, tensor=True).SerializeToString())),
        pb.ClientMessage(batch=simple(KNOWN, 3)),
        pb.ClientMessage(dropped=pb.Dropped(counts=[pb.DropCount(stream=stream, reason="outbox_full", rows=9)] * 2)),
    ]
    return [message.SerializeToString() for message in messages] + [b"\x7a\x01x" + messages[0].SerializeToString()]
