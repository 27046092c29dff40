"""The daemon's switches follow the document in the store, and whoever changes it loses nothing of what others did."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collectord.errors import CallHuman, TryAgain
from collectord.switchboard import CACHE_FILE, Switchboard, change, read
from collectord.switches import DOCUMENT, NOTHING, BadSwitches, Rules
from collectord.testing.clock import ManualClock
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.documents import Document, GetOutcome, Written
from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import Blocked, Unknown
from tests.e2e.waiting import eventually

OFF, ON = {"collect_model_data": False}, {"collect_model_data": True}


def put(store: MemoryStore, data: bytes) -> None:
    found = store.get_document(DOCUMENT)
    written = store.put_document(DOCUMENT, data, found.etag if isinstance(found, Document) else None)
    assert isinstance(written, Written), written


def board(store: MemoryStore, spool: Path, interval: float = 5.0, rules: Rules | None = None) -> Switchboard:
    made = Switchboard(store, spool, ManualClock(), rules or Rules(), interval)
    made.open()
    return made


def switched(board: Switchboard, webservice: str = "s") -> bool | None:
    return board.rules.switches.of(webservice).collect_model_data


# ---------------------------------------------------------------------- changing the document


def test_a_change_makes_the_document_and_the_container() -> None:
    store = MemoryStore(container=False)
    assert change(store, "s", OFF, lambda _: None)[0].version == 1
    assert json.loads(bytes(store.blobs[DOCUMENT].content)) == {"format": 1, "version": 1, "services": {"s": OFF}}
    assert read(store).of("s").collect_model_data is False


def test_of_many_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    store = LocalDirectory(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: change(store, f"s{n}", OFF), range(8)))
    assert read(store).version == 8
    assert set(read(store).services) == {f"s{n}" for n in range(8)}


def test_a_lost_answer_does_not_make_two_changes() -> None:
    store = MemoryStore()
    store.plan("put_document", Fault(Unknown("reset"), "after"))
    assert change(store, "s", OFF, lambda _: None)[0].version == read(store).version == 1


def test_a_store_that_does_not_answer_is_said() -> None:
    for operation in ("get_document", "put_document"):
        store = MemoryStore()
        store.plan(operation, *[Fault(Unknown("down"))] * 100)
        with pytest.raises(TryAgain, match="down"):
            change(store, "s", OFF, lambda _: None)


def test_a_store_that_takes_long_not_to_answer_is_not_asked_again_for_ever() -> None:
    store = MemoryStore()
    store.plan("get_document", *[Fault(Unknown("down"))] * 100)
    with pytest.raises(TryAgain, match="down"):
        change(store, "s", OFF, lambda _: None, now=lambda: 40.0 * len(store.requests))
    assert len(store.requests) == 1


def test_a_store_that_refuses_is_said() -> None:
    for operation in ("get_document", "put_document"):
        store = MemoryStore()
        store.plan(operation, Fault(Blocked("forbidden", "403")))
        with pytest.raises(CallHuman, match=r"refuses _collectord/services.json: forbidden: 403"):
            change(store, "s", OFF, lambda _: None)


def test_a_broken_document_is_not_written_over() -> None:
    store = MemoryStore()
    put(store, b"{")
    with pytest.raises(BadSwitches, match="not JSON"):
        change(store, "s", OFF)
    assert bytes(store.blobs[DOCUMENT].content) == b"{"


# ---------------------------------------------------------------------- following it


def test_each_service_that_is_switched_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    here = board(store, tmp_path)
    with caplog.at_level(logging.INFO, "collectord.switches"):
        for service, patch in (("s", OFF), ("t", ON), ("s", ON)):
            change(store, service, patch)
            here.look()
        del store.blobs[DOCUMENT]
        here.look()
    said = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "a service is switched"]
    assert [(fields["webservice"], fields["to"]) for fields in said] == [
        ("s", OFF), ("t", ON), ("s", ON), ("s", {}), ("t", {})
    ]  # fmt: skip


def test_rules_follow_the_document_and_are_told_once(tmp_path: Path) -> None:
    store, told = MemoryStore(), []
    here = board(store, tmp_path)
    here.lead_to(told.append)
    assert told == [Rules()]
    here.look()
    assert told == [Rules()]
    assert here.age == 0.0
    change(store, "s", OFF)
    here.look()
    here.look()
    assert [rules.switches.version for rules in told] == [0, 1]
    assert switched(here) is False
    change(store, "s", ON)
    here.look()
    assert switched(here) is True
    del store.blobs[DOCUMENT]
    here.look()
    assert here.rules == told[-1] == Rules()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff\xfe", b'{"format": 9, "version": 1}',
        b'{"format": 1, "version": 9, "services": {"s": {"collect_model_data": 3}}}',
    ],
)  # fmt: skip
def test_the_last_good_document_counts_while_it_is_broken(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    here = board(store, tmp_path)
    here.look()
    store.blobs[DOCUMENT].content[:] = data
    store.blobs[DOCUMENT].etag = "broken"
    for _ in range(3):
        here.look()
    assert switched(here) is False
    assert "the last good one counts" in here.problem
    assert caplog.text.count("switches may be old") == 1
    again = board(store, tmp_path)
    again.look()
    assert switched(again) is False, "also after a restart"
    put(store, NOTHING.patched("s", ON).render())
    here.look()
    assert (switched(here), here.problem) == (True, "")


@pytest.mark.parametrize("answer", [Unknown("down"), Blocked("forbidden", "403"), Blocked("too_large", "10 MB")])
def test_the_last_good_document_counts_while_the_store_does_not_answer(
    tmp_path: Path, answer: Unknown | Blocked
) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    board(store, tmp_path).look()
    store.plan("get_document", Fault(answer))
    here = board(store, tmp_path)
    assert (switched(here), here.age) == (False, None), "of the last run"
    here.look()
    assert switched(here) is False
    assert answer.detail in here.problem
    here.look()
    assert here.problem == ""


def test_what_is_kept_for_the_next_start_is_private_and_may_be_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    board(store, tmp_path).look()
    kept = tmp_path / CACHE_FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_bytes(b"{")
    here = board(store, tmp_path)
    assert here.rules == Rules()
    assert "cannot be read" in caplog.text
    here.look()
    assert switched(here) is False


def test_a_change_counts_at_once_where_it_was_made(tmp_path: Path) -> None:
    store, told = MemoryStore(), []
    here = board(store, tmp_path)
    here.lead_to(told.append)
    here.change("s", OFF)
    assert switched(here) is False
    assert told[-1] is here.rules
    assert switched(board(store, tmp_path)) is False, "and is kept"
    asked = len(store.requests)
    here.look()
    assert len(told) == 2
    assert len(store.requests) == asked + 1


@pytest.mark.parametrize(
    "recipe",
    [
        {"requests": -1, "until": "2026-12-01T12:00:00Z"},
        {"where": "score >> 1", "until": "2026-12-01T12:00:00Z"},
        {"requests": 1},
        {"until": "2026-12-01T12:00:00Z"},
        [],
    ],
)
def test_a_recipe_that_makes_no_sense_leaves_all_switches_as_they_were(tmp_path: Path, recipe: object) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    here = board(store, tmp_path)
    here.look()
    broken = {"format": 1, "version": 2, "services": {"s": ON, "t": {"capture": recipe}}}
    put(store, json.dumps(broken).encode())
    here.look()
    assert switched(here) is False
    assert "t.capture: " in here.problem
    with pytest.raises(BadSwitches, match=r"t.capture: "):
        change(store, "s", ON)
    for ask in (lambda: change(store, "u", {"capture": recipe}), lambda: here.change_here("u", {"capture": recipe})):
        if recipe != {"requests": 1}:
            with pytest.raises(BadSwitches):
                ask()
    assert here.rules.switches.version == 1


def test_a_recipe_is_given_its_end_and_an_id_of_its_own(tmp_path: Path) -> None:
    """So that the same one can be given again, and begins anew."""
    store = MemoryStore()
    here = board(store, tmp_path)
    ids = set()
    for act in here.change, here.change_here, here.change:
        act("s", {"capture": {"requests": 5}})
        found = here.rules.switches.of("s").capture
        assert found is not None
        left = found.until_ns - time.time_ns()
        assert 23 * 3600 * 10**9 < left <= 24 * 3600 * 10**9
        ids.add(found.id)
    assert len(ids) == 3
    assert here.rules.switches.of("s").capture == read(store).of("s").capture
    here.change_here("s", {"capture": None})
    assert here.rules.switches.of("s").capture is None


def test_a_change_for_this_node_only_ends_with_the_next_version(tmp_path: Path) -> None:
    store = MemoryStore()
    change(store, "s", {**OFF, "sampling": {"inputs": 0.5}})
    here = board(store, tmp_path)
    here.look()
    here.change_here("s", ON)
    assert switched(here) is True
    assert here.rules.switches.of("s").sampling == {"inputs": 0.5}
    assert here.here == {"s": ON}
    assert here.rules.switches.version == read(store).version == 1
    here.look()
    assert switched(here) is True
    change(store, "other", ON)
    here.look()
    assert (switched(here), here.here) == (False, {})
    with pytest.raises(BadSwitches):
        here.change_here("s", {"sampling": 3})


class Held(MemoryStore):
    """The next read is answered after `meanwhile`, in another thread, which is waited for but a moment."""

    meanwhile: Callable[[], object] | None = None
    thread: threading.Thread | None = None

    def get_document(self, name: str) -> GetOutcome:
        found = super().get_document(name)
        if self.meanwhile is not None:
            self.thread, self.meanwhile = threading.Thread(target=self.meanwhile), None
            self.thread.start()
            self.thread.join(0.1)
        return found


def test_a_look_that_was_under_way_does_not_undo_a_change(tmp_path: Path) -> None:
    store = Held()
    change(store, "s", ON)
    here = board(store, tmp_path)
    store.meanwhile = lambda: here.change("s", OFF)
    here.look()
    assert store.thread is not None
    store.thread.join(10)
    assert (switched(here), read(store).version) == (False, 2)


def test_a_change_counts_at_once_whatever_version_it_makes(tmp_path: Path) -> None:
    """Somebody has edited the document, or removed it, and it was not looked at since."""
    store = MemoryStore()
    put(store, json.dumps({"format": 1, "version": 9, "services": {"s": ON}}).encode())
    here = board(store, tmp_path)
    here.look()
    del store.blobs[DOCUMENT]
    here.change("s", OFF)
    assert (switched(here), here.rules.switches.version) == (False, 1)


def test_what_is_wrong_is_said_once_though_its_details_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = MemoryStore()
    store.plan("get_document", *(Fault(Unknown(f"reset at {n}")) for n in range(3)))
    here = board(store, tmp_path)
    for _ in range(3):
        here.look()
    assert caplog.text.count("switches may be old") == 1
    assert "reset at 2" in here.problem
    here.look()
    assert "read again" in caplog.text


def test_an_end_does_not_wait_for_a_change_that_hangs(tmp_path: Path) -> None:
    answer, asked = threading.Event(), threading.Event()

    def hang(name: str) -> None:
        asked.set()
        answer.wait(30)

    store = MemoryStore()
    store.get_document = hang  # type: ignore[method-assign, assignment]
    here = board(store, tmp_path)
    changing = threading.Thread(target=here.change, args=("s", OFF))
    changing.start()
    assert asked.wait(10)
    assert not here.stop(0.01)
    answer.set()
    changing.join(10)
    assert here.stop(10)
    with pytest.raises(TryAgain, match="nothing was changed"):
        here.change("s", ON)


def test_changes_for_this_node_are_shown_together(tmp_path: Path) -> None:
    here = board(MemoryStore(), tmp_path)
    here.change_here("s", {**OFF, "sampling": {"inputs": 0.5}})
    here.change_here("s", {**ON, "sampling": {"labels": None}})
    assert here.here == {"s": {**ON, "sampling": {"inputs": 0.5, "labels": None}}}


def test_the_thread_looks_and_outlives_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    store.plan("get_document", Fault(ZeroDivisionError("ours")))
    here = board(store, tmp_path, interval=1e-3)
    here.start()
    eventually(lambda: switched(here) is False, "it looks again")
    assert here.stop(5.0)
    assert "could not be looked at" in caplog.text


def test_without_an_interval_the_store_is_never_asked(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / CACHE_FILE).write_bytes(NOTHING.patched("s", OFF).render())
    here = board(store, tmp_path, interval=0.0)
    here.start()
    assert here.stop(0.0)
    here.await_look(60.0)
    assert (here.rules, store.requests) == (Rules(), [])


def test_a_start_waits_for_the_first_look_but_not_for_ever(tmp_path: Path) -> None:
    store = MemoryStore()
    change(store, "s", OFF)
    here = board(store, tmp_path)
    here.await_look(0.0)
    assert switched(here) is None
    here.start()
    here.await_look(30.0)
    assert switched(here) is False
    assert here.stop(5.0)
