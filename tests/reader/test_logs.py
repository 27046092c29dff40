"""What has landed of a service's log: the newest first, whatever lies there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from collectord.errors import CallHuman, TryAgain
from collectord.logline import LogLine
from collectord.model import HOUR_NS
from collectord.reader import logs
from collectord.reader.logs import Effort, Follower, newest, survey
from collectord.testing.store import MemoryStore, StoredBlob
from collectord.upload.store import Blocked, Unknown
from tests.landed_events import folder, item

NOON = 1_763_726_400_000_000_000
SECOND = 1_000_000_000


class Store(MemoryStore):
    """With events in it."""

    def land(self, at: int, *items: Mapping[str, Any] | bytes, writer: str = "w", **where: str) -> str:
        name = f"{folder(at, **where)}{writer}.jsonl"
        blob = self.blobs.setdefault(name, StoredBlob())
        for one in items:
            blob.content += one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() + b"\n"
        return name


def read(
    store: Store, lines: int = 100, since_ns: int = 0, severity: int = 0, service: str = "svc"
) -> tuple[list[str], Effort]:
    effort = Effort()
    found = newest(store, survey(store, service), lines, since_ns, severity, effort)
    assert found == sorted(found, key=lambda line: line.order)
    return [line.message for line in found], effort


def test_all_nodes_tables_models_and_parts_are_merged_by_time() -> None:
    store = Store()
    store.land(NOON, item("b", NOON + 2), item("d", NOON + 4), writer="one")
    store.land(NOON, item("a", NOON + 1), item("c", NOON + 3), writer="two")
    store.land(NOON, item("e", NOON + 5000), writer="two.1", model="other")
    store.land(NOON, item("f", NOON + 6000, kind="exception", type="E"), table="exceptions")
    store.land(NOON, item("", NOON + 7000, kind="request", name="g", success=False), table="requests")
    store.land(NOON, item("", NOON + 8000, kind="request", name="well", success=True), table="requests")
    store.land(NOON, item("of another", NOON), webservice="other")
    store.land(NOON, item("", NOON, kind="customMetric"), table="customMetrics")
    store.blobs["_collectord/telemetry/traces/what/is/this"] = StoredBlob(bytearray(b"x"))
    found, effort = read(store)
    assert sorted(found[:4]) == ["a", "b", "c", "d"]
    assert found[4:] == ["e", "E: f", "g failed: "]
    assert effort.broken == 0
    assert survey(store, "svc").services == {"svc", "other"}


def test_hours_are_read_backwards_and_no_further_than_needed() -> None:
    store = Store()
    for back in range(48):
        at = NOON - back * HOUR_NS
        store.land(at, *(item(f"{back} {number}", at + number * SECOND) for number in range(10)))
    found, _ = read(store, lines=25)
    assert found[0] == "2 5"
    assert found[-1] == "0 9"
    assert len(found) == 25
    assert sum(operation == "read" for operation, *_ in store.requests) == 3
    found, _ = read(store, since_ns=NOON - HOUR_NS + 7 * SECOND)
    assert found == ["1 7", "1 8", "1 9", *(f"0 {number}" for number in range(10))]
    assert read(store, lines=0)[0] == []


def test_a_large_blob_is_read_from_its_end_and_every_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the reads cut it."""
    store = Store()
    store.land(NOON, *(item(f"{number} {'ä' * (number % 97)}", NOON + number * SECOND) for number in range(200)))
    everything, _ = read(store, lines=1000)
    assert [text.split()[0] for text in everything] == [str(number) for number in range(200)]
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(logs, "FIRST_READ", size)
        monkeypatch.setattr(logs, "READ_BYTES", 2 * size)
        found, effort = read(store, lines=5)
        assert found == everything[-5:]
        assert effort.bytes_read < 4000
    assert read(store, lines=1000)[0] == everything


def test_an_event_that_is_there_twice_is_given_once() -> None:
    store = Store()
    twice = item("twice", NOON, id_="11111111-1111-4111-8111-111111111111")
    store.land(NOON, twice, twice, item("x", NOON + SECOND))
    store.land(NOON, twice, writer="other")
    assert read(store)[0] == ["twice", "x"]


def test_what_is_no_event_is_counted_and_the_rest_is_read() -> None:
    store = Store()
    broken = [
        b"no json\n",
        b"[1]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"itemType": "trace"}\n',
        b"\xff\xfe\n",
        b"\0\0\n",
    ]
    harmless = [b"\n", b'{"itemType": "later"}\n', b"{}\n"]
    store.land(NOON, item("first", NOON), *broken, *harmless, item("last", NOON + SECOND), b'{"itemType": "torn')
    found, effort = read(store)
    assert found == ["first", "last"]
    assert effort.broken == len(broken)


def test_a_line_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LINE", 10_000)
    monkeypatch.setattr(logs, "FIRST_READ", 1000)
    store = Store()
    store.land(NOON, b"x" * 1_000_000 + b"\n", item("last", NOON))
    found, effort = read(store)
    assert found == ["last"]
    assert effort.broken == 1
    assert effort.bytes_read < 100_000


def test_only_what_is_severe_enough_is_given_however_far_back_it_is() -> None:
    store = Store()
    store.land(NOON - HOUR_NS, item("bad", NOON - HOUR_NS, severityLevel=3))
    store.land(NOON, *(item("well", NOON + number, severityLevel=1) for number in range(500)))
    assert read(store, lines=2, severity=2)[0] == ["bad"]


def test_one_question_reads_so_much_and_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 1000)
    store = Store()
    for back in range(10):
        store.land(NOON - back * HOUR_NS, item("x" * 400, NOON - back * HOUR_NS))
    found, effort = read(store)
    assert 0 < len(found) < 10
    assert not effort.complete


def test_a_store_that_does_not_answer_or_refuses_is_no_empty_log() -> None:
    store = Store()
    store.land(NOON, item("x", NOON))
    for answer, error in ((Unknown("down"), TryAgain), (Blocked("denied", "no"), CallHuman)):
        store.read = lambda *_, answer=answer: answer  # type: ignore[method-assign, assignment, misc]
        with pytest.raises(error):
            read(store)


def test_names_are_escaped_as_the_writers_did() -> None:
    store = Store()
    store.land(NOON, item("x", NOON), webservice="a%2Fb %25")
    assert read(store, service="a/b %")[0] == ["x"]
    assert survey(store, "x").services == {"a/b %"}
    assert read(store, service="a")[0] == []


def messages(lines: Sequence[LogLine]) -> list[str]:
    return [line.message for line in lines]


def test_who_follows_hears_of_each_line_once_also_of_writers_and_hours_that_come() -> None:
    store = Store()
    name = store.land(NOON, item("before", NOON))
    follower = Follower(store, "svc", survey(store, "svc"))
    assert follower.look(NOON) == []
    store.land(NOON, item("one", NOON + 1000), b'{"torn')
    store.land(NOON, item("two", NOON + 2000), writer="v")
    assert messages(follower.look(NOON)) == ["one", "two"]
    assert follower.look(NOON) == []
    store.blobs[name].content += b'": 1}\n' + json.dumps(item("three", NOON + 3000)).encode() + b"\n"
    later = NOON + HOUR_NS
    store.land(later, item("four", later))
    assert messages(follower.look(later)) == ["three", "four"]
    store.land(later, item("of a stream that is not known yet", later), model="other")
    assert follower.look(later) == []
    follower.survey()
    assert messages(follower.look(later)) == ["of a stream that is not known yet"]
    store.blobs[name].content[:] = json.dumps(item("of a blob that was replaced", NOON)).encode() + b"\n"
    assert messages(follower.look(later)) == ["of a blob that was replaced"]


def test_after_a_look_that_failed_nothing_is_missing_and_nothing_comes_twice() -> None:
    store = Store()
    store.land(NOON - HOUR_NS, item("there", NOON))
    follower = Follower(store, "svc", survey(store, "svc"))
    store.land(NOON - HOUR_NS, item("one", NOON + 1))
    store.land(NOON, item("two", NOON + 1000))
    real = store.read
    answers = iter([None, Unknown("down")])
    store.read = lambda *words: next(answers) or real(*words)  # type: ignore[method-assign]
    with pytest.raises(TryAgain):
        follower.look(NOON)
    store.read = real  # type: ignore[method-assign]
    assert messages(follower.look(NOON)) == ["one", "two"]
