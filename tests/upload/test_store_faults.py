"""Every fault of a store, on a real blob service behind a faulty wire: nothing lost, nothing twice, one header per part.

Each test plans its faults at a named request and fails if one of them did not fire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from collectord.testing.azurite import Azurite
from collectord.testing.blobwire import REFUSALS
from collectord.testing.proxy import FAULTS, FaultProxy
from collectord.upload.attempts import BlockedFor, Landed, Retry
from collectord.upload.azureblob import AzureBlob
from collectord.upload.records import Intent
from collectord.upload.rollover import PartState
from tests.upload.crashes import Crash, every_step, steps, wired
from tests.upload.world import HEADER, Writer, check_books, text_of

RETRY_AFTER = 9


@dataclass
class Far:
    """A container behind the proxy: `store` goes through it, `direct` and `client`, the SDK's own, do not."""

    proxy: FaultProxy
    store: AzureBlob
    direct: AzureBlob
    client: Any

    def blob(self, part: int = 0) -> Any:
        """The SDK's client of a part of the day."""
        return self.client.get_blob_client(name(part))

    def texts(self) -> dict[str, bytes]:
        return {blob.name: text_of(self.direct, blob.name) for blob in self.direct.list("")}


def name(part: int = 0) -> str:
    return f"default/default/w/default/m/default/inputs/2020/09/13/data{f'.{part}' if part else ''}.csv"


@pytest.fixture
def wire(azurite: Azurite) -> Iterator[FaultProxy]:
    with FaultProxy(azurite.port, delay=0.3, retry_after=str(RETRY_AFTER)) as proxy:
        yield proxy
        assert proxy.planned() == 0, "a fault was planned and never fired"


@pytest.fixture
def new_far(wire: FaultProxy, azurite: Azurite, new_container: Callable[[], str]) -> Iterator[Callable[[], Far]]:
    made: list[Far] = []

    def make() -> Far:
        container = new_container()
        service = BlobServiceClient.from_connection_string(azurite.connection_string())
        made.append(
            Far(
                wire,
                # "Too long" has to be longer than a busy machine takes for an answer.
                AzureBlob(container, connection_string=azurite.connection_string(wire.port), read_timeout=2.0),
                AzureBlob(container, connection_string=azurite.connection_string()),
                service.get_container_client(container),
            )
        )
        return made[-1]

    yield make
    for far in made:
        for one in (far.store, far.direct):
            one.close()


@pytest.fixture
def far(new_far: Callable[[], Far]) -> Far:
    return new_far()


@pytest.fixture
def writer(far: Far, tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "spool", far.store)
    yield writer
    writer.close()


# ---------------------------------------------------------------------- each fault, at each request

IN_DOUBT = (
    "reset", "drop", "cut", "cut_body", "later", "error", "applied_error", "timed_out", "applied_timed_out",
    "bad_gateway", "applied_bad_gateway", "not_found", "being_deleted",
)  # fmt: skip
ASKED_TO_WAIT = ("busy", "applied_busy", "throttle", "applied_throttle")
REFUSED = {
    "forbidden": "forbidden", "unauthorized": "forbidden", "bad_request": "bad_request", "too_large": "too_large",
    "immutable": "immutable", "immutable_403": "forbidden", "archived": "immutable",
    "legal_hold": "immutable", "rehydrated": "immutable",
}  # fmt: skip
CONDITIONS = ("position", "etag", "leased", "lease_mismatch", "condition")
CLOSED = ("sealed", "block_limit", "wrong_type")
ABSENT = ("no_container", "no_blob")


def test_no_fault_of_the_wire_is_left_out() -> None:
    tried = {*IN_DOUBT, *ASKED_TO_WAIT, *REFUSED, *CONDITIONS, *CLOSED, *ABSENT}
    assert {"slow", *tried} >= {*FAULTS, *REFUSALS}


def appended(writer: Writer, far: Far, fault: str) -> Retry | BlockedFor | Landed:
    """The first outcome of the second frame, whose append meets the fault; then two more frames land."""
    writer.run(1)
    far.proxy.plan("append", fault)
    intent = writer.stage(2)
    outcome = writer.appender.attempt(intent)
    writer.run(4)
    return outcome


@pytest.mark.parametrize("fault", IN_DOUBT)
def test_an_append_in_doubt_is_tried_again_and_lands_once(far: Far, writer: Writer, fault: str) -> None:
    outcome = appended(writer, far, fault)
    assert isinstance(outcome, Retry) and outcome.after_seconds <= 0.2
    check_books(far.direct, [(writer, 4)])


def test_an_answer_later_than_the_time_out_is_one_in_doubt(far: Far, azurite: Azurite, tmp_path: Path) -> None:
    impatient = AzureBlob(
        far.direct.describe().rsplit("/", 1)[1], connection_string=azurite.connection_string(far.proxy.port),
        read_timeout=0.1,
    )  # fmt: skip
    writer = Writer(tmp_path / "impatient", impatient)
    far.proxy.plan("append", "slow")
    writer.run(1)
    far.proxy.plan("append", "slow")
    assert isinstance(writer.appender.attempt(writer.stage(2)), Retry)
    writer.run(4)
    assert writer.appender.counts().settled >= 1
    check_books(far.direct, [(writer, 4)])
    writer.close()
    impatient.close()


@pytest.mark.parametrize("fault", ASKED_TO_WAIT)
def test_a_store_that_asks_to_wait_is_left_alone_so_long(far: Far, writer: Writer, fault: str) -> None:
    outcome = appended(writer, far, fault)
    assert isinstance(outcome, Retry) and RETRY_AFTER <= outcome.after_seconds <= RETRY_AFTER + 0.2
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("effect", ["", "applied_"])
def test_a_refusal_blocks_with_its_reason_until_it_heals(far: Far, writer: Writer, fault: str, effect: str) -> None:
    outcome = appended(writer, far, effect + fault)
    assert isinstance(outcome, BlockedFor) and outcome.reason == REFUSED[fault]
    assert 2.5 <= outcome.after_seconds <= 5.0
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", CONDITIONS)
def test_412_at_the_right_length_blocks_as_a_lease_would(far: Far, writer: Writer, fault: str) -> None:
    outcome = appended(writer, far, fault)
    assert isinstance(outcome, BlockedFor) and outcome.reason == "leased"
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", CONDITIONS)
def test_412_after_the_append_has_landed_is_settled_by_the_bytes(far: Far, writer: Writer, fault: str) -> None:
    assert isinstance(appended(writer, far, f"applied_{fault}"), Landed)
    assert writer.appender.counts().settled == 1
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", CLOSED)
def test_a_part_that_refuses_for_good_is_followed_by_the_next(far: Far, writer: Writer, fault: str) -> None:
    assert isinstance(appended(writer, far, fault), Landed)
    assert list(far.texts()) == [name(1), name(0)]
    assert (writer.ledger.parts(name())[0].state, writer.ledger.parts(name())[0].reason) == (PartState.CLOSED, fault)
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", CLOSED)
def test_a_frame_that_was_the_last_of_its_part_is_not_repeated_in_the_next(
    far: Far, writer: Writer, fault: str
) -> None:
    assert isinstance(appended(writer, far, f"applied_{fault}"), Landed)
    assert list(far.texts()) == [name(0)]
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("absent", ABSENT)
def test_a_part_said_to_be_closed_and_then_absent_is_asked_again(far: Far, writer: Writer, absent: str) -> None:
    """The append took effect, and its last words were lost; nobody may conclude from two untrue answers that it did not."""
    writer.run(1)
    far.proxy.plan("append", "drop", "sealed")
    far.proxy.plan("length", absent)
    writer.run(4)
    assert list(far.texts()) == [name(0)]
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", ABSENT)
def test_a_404_that_is_not_true_changes_nothing(far: Far, writer: Writer, fault: str) -> None:
    assert isinstance(appended(writer, far, fault), Landed)
    assert list(far.texts()) == [name(0)]
    check_books(far.direct, [(writer, 4)])


@pytest.mark.parametrize("fault", [*IN_DOUBT, *ASKED_TO_WAIT, *REFUSED, *CONDITIONS, *ABSENT])
def test_a_fault_of_any_other_request_neither_loses_nor_doubles(
    new_far: Callable[[], Far], tmp_path: Path, fault: str
) -> None:
    """Making the container and the blob, the first append with its header, and the two questions that settle a doubt."""
    far = new_far()
    writer = Writer(tmp_path / "spool", far.store)
    if fault != "no_container":
        far.proxy.plan("create_container", fault)
    far.proxy.plan("create", fault)
    far.proxy.plan("append", None, None, fault)
    writer.run(1)
    far.proxy.plan("append", "drop", None)
    far.proxy.plan("length", fault)
    writer.run(2)
    far.proxy.plan("append", "drop", None)
    far.proxy.plan("read", fault)
    writer.run(4)
    check_books(far.direct, [(writer, 4)])
    writer.close()


# ---------------------------------------------------------------------- what somebody else does to the store


whatever_became_of_it = pytest.mark.parametrize(
    "answer", [None, "drop", "reset"], ids=["before", "landed_unheard", "never_arrived"]
)


def staged(far: Far, writer: Writer, number: int, answer: str | None) -> Intent:
    """The frame of this number, those before it landed: not sent yet, or sent, and what became of it is not known."""
    writer.run(number - 1)
    intent = writer.stage(number)
    if answer:
        far.proxy.plan("append", answer)
        assert isinstance(writer.appender.attempt(intent), Retry)
    return intent


def put(far: Far, content: bytes, part: int = 0) -> None:
    """Another append blob in the place."""
    far.blob(part).delete_blob()
    far.blob(part).create_append_blob()
    if content:
        far.blob(part).append_block(content)


@whatever_became_of_it
def test_a_lease_of_somebody_else_blocks_until_it_ends(far: Far, writer: Writer, answer: str | None) -> None:
    intent = staged(far, writer, 2, answer)
    lease = far.blob().acquire_lease()
    outcome = writer.appender.attempt(intent)
    if answer == "drop":
        assert isinstance(outcome, Landed), "what landed before the lease can be seen during it"
    else:
        assert isinstance(outcome, BlockedFor) and outcome.reason == "leased"
    lease.release()
    writer.run(4)
    check_books(far.direct, [(writer, 4)])


@whatever_became_of_it
@pytest.mark.parametrize("how", ["sealed", "foreign_bytes", "foreign_frame_of_our_size"])
def test_what_somebody_adds_or_closes_leaves_our_rows_whole(
    far: Far, writer: Writer, answer: str | None, how: str
) -> None:
    intent = staged(far, writer, 2, answer)
    if how == "sealed":
        far.blob().seal_append_blob()
    else:
        far.blob().append_block(b"foreign,1\n" if how == "foreign_bytes" else b"f" * (intent.size - 1) + b"\n")
    writer.run(4)
    parts = 2 if how == "sealed" else 1
    assert len(far.texts()) == parts

    def without(_: str, text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(True) if not line.startswith(b"f"))

    check_books(far.direct, [(writer, 4)], without)


@whatever_became_of_it
@pytest.mark.parametrize("how", ["blob", "container"])
def test_after_a_deletion_the_day_begins_afresh_with_its_header(
    far: Far, writer: Writer, answer: str | None, how: str
) -> None:
    """What was deleted is gone by somebody's deed. An append whose answer was lost went with it, and nobody can know."""
    staged(far, writer, 3, answer)
    far.blob().delete_blob() if how == "blob" else far.client.delete_container()
    writer.run(5)
    assert far.texts() == {name(): HEADER + b"".join(row + b"\n" for n in (3, 4, 5) for row in writer.rows(n))}
    assert writer.appender.counts().replaced == 1


@pytest.mark.parametrize("make_again", [False, True])
def test_a_container_deleted_and_made_again_by_somebody(far: Far, writer: Writer, make_again: bool) -> None:
    """The service says for a while that it is being deleted."""
    writer.run(2)
    far.client.delete_container()
    if make_again:
        far.client.create_container()
    else:
        far.proxy.plan("create_container", "being_deleted", "being_deleted")
    writer.run(4)
    assert far.texts() == {name(): HEADER + b"".join(row + b"\n" for n in (3, 4) for row in writer.rows(n))}


OTHER = b"z\n1\n"
REPLACEMENTS = {
    "empty": lambda length: b"",
    "shorter": lambda length: OTHER,
    "shorter_ours": lambda length: HEADER + b"1",
    "longer": lambda length: OTHER + b"y" * length + b"\n",
    "longer_ours": lambda length: HEADER + b"y" * length + b"\n",
    "no_text": lambda length: b"\x00" * (length + 9),
}


@whatever_became_of_it
@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_blob_replaced_by_somebody_is_continued_only_under_our_header_and_if_it_is_longer(
    far: Far, writer: Writer, answer: str | None, how: str
) -> None:
    """Rows never land under another one's header, nor behind what may be torn, and the blob of somebody else keeps its bytes."""
    staged(far, writer, 3, answer)
    length = far.direct.length(name())
    assert isinstance(length, int)
    content = REPLACEMENTS[how](length)
    put(far, content)
    writer.run(5)
    ours = b"".join(row + b"\n" for n in (3, 4, 5) for row in writer.rows(n))
    if not content or (content.startswith(HEADER) and len(content) > length):
        assert far.texts() == {name(): (content or HEADER) + ours}
    else:
        assert far.texts() == {name(): content, name(1): HEADER + ours}


def test_a_blob_replaced_by_one_of_the_same_length_takes_the_rows_once(far: Far, writer: Writer) -> None:
    """The one replacement that no condition can see; `collectord verify` can."""
    writer.run(2)
    length = far.direct.length(name())
    assert isinstance(length, int)
    put(far, HEADER + b"y" * (length - len(HEADER) - 1) + b"\n")
    writer.run(4)
    ours = b"".join(row + b"\n" for n in (3, 4) for row in writer.rows(n))
    assert far.texts() == {name(): HEADER + b"y" * (length - len(HEADER) - 1) + b"\n" + ours}


@pytest.mark.parametrize("content", [b"no,header of ours\n1\n", b"\x00binary", b"no end of the line"])
def test_a_blob_of_somebody_else_in_the_place_is_left_alone(far: Far, writer: Writer, content: bytes) -> None:
    far.client.create_container()
    far.blob().create_append_blob()
    far.blob().append_block(content)
    far.blob(1).upload_blob(b"a block blob")
    writer.run(3)
    assert far.texts()[name()] == content and far.texts()[name(1)] == b"a block blob"
    check_books(far.direct, [(writer, 3)], lambda blob, text: text if blob == name(2) else b"")


# ---------------------------------------------------------------------- four daemons on one blob


def four(far: Far, spool: Path, seed: int) -> list[Writer]:
    return [Writer(spool / f"{n}", far.store, name=f"w{n}", seed=seed * 4 + n) for n in range(4)]


GROUPS = {
    "in_doubt": (IN_DOUBT, 0.35),
    "asked_to_wait": (ASKED_TO_WAIT, 0.35),
    "refused": ((*REFUSED, *(f"applied_{one}" for one in REFUSED)), 0.35),
    "conditions": ((*CONDITIONS, *(f"applied_{one}" for one in CONDITIONS)), 0.35),
    "closed": (("block_limit", "applied_block_limit", "sealed", "applied_sealed", "drop"), 0.3),
}


@pytest.mark.parametrize("group", GROUPS)
def test_four_daemons_on_one_blob_through_each_kind_of_fault(
    azurite: Azurite, new_container: Callable[[], str], tmp_path: Path, group: str
) -> None:
    """Drawn from a seed for all requests; a closed part is only closed for those who were told so."""
    faults, rate = GROUPS[group]
    seed = len(group)
    print(f"seed {seed}")
    container = new_container()
    direct = AzureBlob(container, connection_string=azurite.connection_string())
    direct.create_container()
    appends_only = group == "closed"
    with FaultProxy(
        azurite.port, rate=rate, seed=seed, faults=faults, delay=0.2,
        only=lambda method, path: not appends_only or "comp=appendblock" in path,
    ) as proxy:  # fmt: skip
        store = AzureBlob(container, connection_string=azurite.connection_string(proxy.port), read_timeout=2.0)
        writers = [Writer(tmp_path / f"{n}", store, name=f"w{n}", seed=n) for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda writer: writer.run(10), writers))
        counts = proxy.counts()
        store.close()
    assert len(counts) > 2 and proxy.injected() >= 8, f"too few faults: {counts}"
    check_books(direct, [(writer, 10) for writer in writers])
    for writer in writers:
        writer.close()
    direct.close()


@pytest.mark.parametrize("how", ["lease", "seal", "foreign", "obstacle"])
def test_four_daemons_on_one_blob_and_somebody_who_meddles(far: Far, tmp_path: Path, how: str) -> None:
    writers = four(far, tmp_path, 7)
    for writer in writers:
        writer.run(1)

    def meddle(turn: int) -> None:
        if how == "lease":
            lease = far.blob().acquire_lease()
            for writer in writers:
                assert writer.landed() >= 1
            lease.release()
        elif how == "seal":
            far.blob(turn).seal_append_blob()
        elif how == "foreign":
            far.blob().append_block(b"foreign,%d\n" % turn)
        else:
            far.blob(2 * turn + 1).upload_blob(b"f")
            far.blob(2 * turn).seal_append_blob()

    with ThreadPoolExecutor(4) as pool:
        for turn in range(2):
            running = [pool.submit(writer.run, 4 + 3 * turn) for writer in writers]
            meddle(turn)
            for one in running:
                one.result()

    def ours(blob: str, text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(True) if not line.startswith(b"f"))

    check_books(far.direct, [(writer, 7) for writer in writers], ours)
    for writer in writers:
        writer.close()


# ---------------------------------------------------------------------- crashes


def test_a_crash_between_any_two_steps_with_another_writer_on_the_blob(
    new_far: Callable[[], Far], tmp_path: Path
) -> None:
    """Intent, append, confirm: at each step the process ends, starts again, and what is in the blob decides."""
    for fuse in every_step(12):
        at = fuse.at
        far = new_far()
        other = Writer(tmp_path / f"other{at}", far.store, name="o")
        other.run(1)
        writer = Writer(tmp_path / str(at), far.store)
        far.proxy.plan("append", None, "drop")
        with wired(fuse, steps(AzureBlob)):
            try:
                writer.run(2)
            except Crash:
                pass
        writer.close()
        other.run(2)
        writer = Writer(tmp_path / str(at), far.store, seed=at)
        writer.run(3)
        for number in range(far.proxy.planned()):
            # The process ended before the fault was due.
            far.direct.create("spare", "text/csv", {})
            far.store.append("spare", b"x", number)
        check_books(far.direct, [(writer, 3), (other, 2)], lambda blob, text: b"" if blob == "spare" else text)
        writer.close()
        other.close()
