"""One holder of a spool at a time, whoever dies, hangs, loses answers or copies the directory."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from collectord.errors import SpoolFull
from collectord.testing.clock import ManualClock
from collectord.testing.store import LOST, UNSENT, Fault, MemoryStore
from collectord.upload.claim import Claim, Claimant, document_of, place_of
from collectord.upload.documents import Conflict, Document
from collectord.upload.store import Blocked, Unknown

SPOOL = bytes(range(16))


class Memory(dict[str, str]):
    """What a spool remembers; a copy of it is a copied spool."""

    def remember(self, key: str, value: str) -> None:
        self[key] = value

    def recall(self, key: str) -> str | None:
        return self.get(key)

    def copied(self) -> Memory:
        return Memory(self)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(container=False)


def claim(
    store: MemoryStore, clock: ManualClock, memory: Memory, place: str = "here", *, force: bool = False,
    unknown_past: bool = False,
) -> Claim:  # fmt: skip
    return Claim(
        store, SPOOL, memory, clock, node="n1", place=place, interval=60.0, force=force, unknown_past=unknown_past
    )


def settle(one: Claim) -> float:
    """Steps until it has nothing to do at once."""
    for _ in range(10):
        if (pause := one.step()) > 0:
            return pause
    raise AssertionError("it never rests")


def live(one: Claim, clock: ManualClock, seconds: float) -> None:
    """Time passes, and the holder renews."""
    for _ in range(int(seconds // 60)):
        clock.advance(60)
        settle(one)


def written(store: MemoryStore) -> Claimant:
    found = store.get_document(document_of(SPOOL))
    assert isinstance(found, Document)
    holder = Claimant.unpack(found.data)
    assert holder is not None
    return holder


def test_a_first_claim_makes_container_and_document_and_holds_at_once(store: MemoryStore, clock: ManualClock) -> None:
    one = claim(store, clock, Memory())
    assert not one.held
    assert one.why
    assert settle(one) == 60
    assert one.held
    assert (written(store).epoch, written(store).node, written(store).released) == (1, "n1", False)


def test_it_is_held_for_two_intervals_after_the_last_renewal_that_was_sent(
    store: MemoryStore, clock: ManualClock
) -> None:
    one = claim(store, clock, Memory())
    settle(one)
    clock.advance(60)
    store.plan("put_document", *[UNSENT] * 100)
    assert settle(one) == 5
    clock.advance(59)
    settle(one)
    assert one.held
    clock.advance(1)
    assert not one.held
    settle(one)
    assert "could not be taken or renewed" in one.why
    store.heal()
    settle(one)
    assert one.held, "nobody took it meanwhile"
    assert store.fired


@pytest.mark.parametrize("times", [1, 2, 3])
def test_lost_answers_neither_lose_the_claim_nor_give_it_twice(
    store: MemoryStore, clock: ManualClock, times: int
) -> None:
    store.create_container()
    store.plan("put_document", *[LOST] * times)
    one = claim(store, clock, Memory())
    for _ in range(2 * times + 2):
        one.step()
        clock.advance(1)
    assert one.held
    assert not one.superseded
    store.plan("put_document", *[LOST] * times)
    for _ in range(2 * times + 2):
        one.step()
        clock.advance(1)
    assert one.held
    assert written(store).epoch == 1


def test_a_store_that_is_down_at_the_start_is_claimed_when_it_comes_back(
    store: MemoryStore, clock: ManualClock
) -> None:
    store.plan("get_document", *[Fault(Unknown("down"))] * 3)
    one = claim(store, clock, Memory())
    for _ in range(3):
        assert settle(one) == 5
        assert "down" in one.why
    assert settle(one) == 60
    assert one.held


def test_a_restart_in_the_same_place_after_a_kill_takes_it_at_once(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    settle(claim(store, clock, memory))
    again = claim(store, clock, memory)
    settle(again)
    assert again.held
    assert written(store).epoch == 2


@pytest.mark.parametrize("landed", [True, False])
def test_a_kill_while_it_was_being_taken_is_recognized(store: MemoryStore, clock: ManualClock, landed: bool) -> None:
    memory = Memory()
    settle(claim(store, clock, memory))
    store.plan("put_document", LOST if landed else UNSENT)
    claim(store, clock, memory).step()
    again = claim(store, clock, memory)
    settle(again)
    assert again.held
    assert not again.superseded


def test_a_released_claim_is_taken_at_once_from_anywhere(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    one = claim(store, clock, memory)
    settle(one)
    one.release()
    assert not one.held
    other = claim(store, clock, memory.copied(), "")
    settle(other)
    assert other.held


def test_a_copy_cannot_be_taken_over_while_the_original_lives(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    original = claim(store, clock, memory)
    settle(original)
    adopter = claim(store, clock, memory.copied(), "")
    for _ in range(600):
        clock.advance(1)
        if clock.monotonic() % 60 < 1:
            original.step()
        adopter.step()
        assert original.held
        assert not adopter.held
    assert adopter.superseded, "its daemon has renewed since the copy was made"
    assert "held, or was finished, by 'n1'" in adopter.why


def test_a_claim_that_stands_still_is_taken_after_the_holder_has_stopped(
    store: MemoryStore, clock: ManualClock
) -> None:
    """At no moment do both hold it, and the one who lost it stays stopped, also after its own restart."""
    memory = Memory()
    original = claim(store, clock, memory)
    settle(original)
    live(original, clock, 120)
    copy = memory.copied()
    adopter = claim(store, clock, copy, "")
    waited = 0
    while not adopter.held:
        adopter.step()
        assert not (adopter.held and original.held)
        clock.advance(1)
        waited += 1
    assert 150 <= waited <= 152
    settle(original)
    assert original.superseded
    assert not original.held
    assert "held, or was finished, by" in original.why
    adopter.release()
    settle(original)
    restarted = claim(store, clock, memory)
    settle(restarted)
    assert restarted.superseded
    assert not restarted.held
    heir = claim(store, clock, copy, "elsewhere")
    settle(heir)
    assert heir.held, "the directory that was adopted knows all that landed"


def test_a_copy_from_before_its_daemon_s_last_renewal_is_behind(store: MemoryStore, clock: ManualClock) -> None:
    """What the daemon landed after the copy was made is not in the copy's ledger."""
    memory = Memory()
    original = claim(store, clock, memory)
    settle(original)
    copy = memory.copied()
    live(original, clock, 60)
    clock.advance(1000)
    adopter = claim(store, clock, copy, "")
    settle(adopter)
    assert adopter.superseded
    late = claim(store, clock, memory.copied(), "")
    settle(late)
    clock.advance(150)
    settle(late)
    assert late.held


def test_a_full_disk_does_not_end_the_claim(store: MemoryStore, clock: ManualClock) -> None:
    """Uploading is what makes room."""

    class Full(Memory):
        full = False

        def remember(self, key: str, value: str) -> None:
            if self.full:
                raise SpoolFull("no room")
            super().remember(key, value)

    memory = Full()
    one = claim(store, clock, memory)
    settle(one)
    memory.full = True
    live(one, clock, 600)
    assert one.held
    memory.full = False
    again = claim(store, clock, memory)
    settle(again)
    assert again.held, "what could not be written down is not held against it"


def test_of_two_adopters_one_wins(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    settle(claim(store, clock, memory))
    two = [claim(store, clock, memory.copied(), "") for _ in range(2)]
    for _ in range(200):
        for one in two:
            one.step()
        assert not all(one.held for one in two)
        clock.advance(1)
    assert [one.held for one in two] == [True, False]
    assert two[1].superseded


def test_a_race_for_the_same_tag_is_decided_by_the_store(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    one = claim(store, clock, memory)
    settle(one)
    one.release()
    store.plan("put_document", Fault(Conflict()))
    other = claim(store, clock, memory, "there")
    assert other.step() == 0
    assert not other.held
    settle(other)
    assert other.held


def test_force_takes_it_from_whomever(store: MemoryStore, clock: ManualClock) -> None:
    memory = Memory()
    original = claim(store, clock, memory)
    settle(original)
    other = claim(store, clock, memory.copied(), "", force=True)
    settle(other)
    assert other.held
    live(original, clock, 60)
    assert original.superseded


def test_a_ledger_begun_anew_may_take_an_unknown_claim_but_waits_for_its_holder(
    store: MemoryStore, clock: ManualClock
) -> None:
    settle(claim(store, clock, Memory()))
    same_place, memory = claim(store, clock, Memory(), unknown_past=True), Memory()
    settle(same_place)
    assert same_place.held
    elsewhere = claim(store, clock, memory, "there", unknown_past=True)
    assert settle(elsewhere) == 5
    # After a restart the ledger may be whole already; what it waits for is the same.
    elsewhere = claim(store, clock, memory, "there")
    assert settle(elsewhere) == 5
    assert not elsewhere.superseded
    clock.advance(150)
    settle(elsewhere)
    assert elsewhere.held


def test_another_store_is_not_taken_for_the_spool_s_own_by_an_adopter(clock: ManualClock) -> None:
    memory = Memory()
    settle(claim(MemoryStore(), clock, memory))
    wrong = MemoryStore()
    adopter = claim(wrong, clock, memory, "")
    settle(adopter)
    assert adopter.superseded
    assert "is it the store" in adopter.why
    daemon = claim(wrong, clock, memory)
    settle(daemon)
    assert daemon.held, "a daemon may be given another store"


def test_a_document_that_somebody_removed_is_made_again(store: MemoryStore, clock: ManualClock) -> None:
    one = claim(store, clock, Memory())
    settle(one)
    del store.blobs[document_of(SPOOL)]
    live(one, clock, 60)
    assert one.held
    assert written(store).epoch == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"nonsense", b'{"format": 2}'])
def test_a_document_that_says_nothing_is_never_overwritten(store: MemoryStore, clock: ManualClock, data: bytes) -> None:
    store.create_container()
    store.put_document(document_of(SPOOL), data, None)
    one = claim(store, clock, Memory())
    settle(one)
    assert not one.held
    assert "cannot be understood" in one.why
    assert store.blobs[document_of(SPOOL)].content == data


def test_a_refusal_is_told(store: MemoryStore, clock: ManualClock) -> None:
    store.plan("get_document", Fault(Blocked("forbidden", "403 AuthorizationFailure")))
    one = claim(store, clock, Memory())
    settle(one)
    assert "AuthorizationFailure" in one.why


def test_a_copied_directory_has_another_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.touch()
    second.touch()
    assert place_of(first) == place_of(first) != place_of(second)


def test_a_request_of_a_killed_program_that_is_carried_out_late_is_still_ours(
    store: MemoryStore, clock: ManualClock
) -> None:
    """Two programs on one spool are killed while they take it; the first one's request arrives after the second's was sent."""
    memory = Memory()
    settle(claim(store, clock, memory))
    before = store.get_document(document_of(SPOOL))
    assert isinstance(before, Document)
    late = claim(store, clock, memory)
    store.plan("put_document", Fault(Unknown("lost"), UNSENT))
    late.step()
    second = claim(store, clock, memory)
    store.plan("put_document", Fault(Unknown("lost"), UNSENT))
    second.step()
    store.put_document(document_of(SPOOL), late._mine.pack(), before.etag)
    settle(second)
    assert second.held and not second.superseded


def test_what_keeps_it_from_being_renewed_is_logged_once_and_so_is_its_end(
    store: MemoryStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it holds too: nothing is uploaded then, and nobody else would say so. Other words are said again, other numbers not."""
    caplog.set_level(logging.INFO, "collectord")

    def said() -> list[str]:
        found = [f"{record.levelname} {vars(record)['fields'].get('why', '')}".strip() for record in caplog.records]
        caplog.clear()
        return found

    one = claim(store, clock, Memory())
    refused = [Fault(Blocked("forbidden", f"403: {seconds} s ahead")) for seconds in (10, 11)]
    store.plan("get_document", *refused, Fault(Unknown("no answer")))
    for _ in range(3):
        settle(one)
    assert said() == ["ERROR 403: 10 s ahead", "WARNING no answer"]
    settle(one)
    assert one.held
    assert said() == ["INFO"], "it is claimed"
    for number in (1, 2):
        store.plan("put_document", Fault(Blocked("forbidden", f"key {number}")))
        clock.advance(60)
        settle(one)
    assert said() == ["ERROR key 1"]
    settle(one)
    assert said() == ["INFO"], "it is renewed again"
    clock.advance(60)
    settle(one)
    assert said() == []
