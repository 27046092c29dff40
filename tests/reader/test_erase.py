"""`collectord erase`: the wanted rows go and no others, daemons notice nothing, and no crash loses or doubles a row."""

from __future__ import annotations

import errno
import io
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from collectord.buffer.assemble import ids_of_uuids
from collectord.encode.frame import CODECS, FrameEncoder
from collectord.encode.frame_reader import iter_frames
from collectord.errors import CallHuman, TryAgain
from collectord.model import FrameTag, IdLayout
from collectord.reader.blobs import data_blobs
from collectord.reader.cat import cat
from collectord.reader.cuts import Wanted
from collectord.reader.erase import PATIENCE, Eraser
from collectord.reader.erasure import Erasure, Scope, erase, wanted_of
from collectord.reader.erasures import recorded
from collectord.reader.verify import verify
from collectord.reader.where import Effort, where
from collectord.testing.azurite import Azurite
from collectord.testing.store import LOST, UNSENT, Fault, MemoryStore, StoredBlob
from collectord.upload import erased
from collectord.upload.azureblob import AzureBlob
from collectord.upload.localdir import LocalDirectory
from collectord.upload.naming import codec_of
from collectord.upload.rewriting import RewritableStore
from collectord.upload.store import Appended, Blocked, NotAppendable, Unknown
from tests.reader.test_where import HEADER as CSV_HEADER
from tests.reader.test_where import V7, put, row
from tests.upload.crashes import Crash, Fuse, every_step, steps, wired
from tests.upload.world import Writer

A, B = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
DAY = "w/2026/11/21/data.csv"
EVERYWHERE = Scope()


def ids(*wanted: str) -> Wanted:
    return Wanted(wanted)


def do(store: RewritableStore, wanted: Wanted, scope: Scope = EVERYWHERE) -> Erasure:
    return erase(store, wanted, scope, do=True)


def texts(store: RewritableStore) -> bytes:
    return b"".join(cat(store, data_blobs(store)))


def clean(store: RewritableStore) -> None:
    assert verify(store, data_blobs(store)).findings == []


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


# ---------------------------------------------------------------------- which rows


@pytest.mark.parametrize("layout", [None, IdLayout.UUID, IdLayout.TEXT])
@pytest.mark.parametrize("codec", CODECS)
def test_the_ids_rows_go_and_all_other_frames_stay_byte_for_byte(
    store: MemoryStore, codec: str, layout: IdLayout | None
) -> None:
    first, mixed = row(B, "1") + row(V7, "2"), row(A, "1") + row(B) + row(A) + row(V7, '"A,"') + row(A, '"\n,A"')
    put(store, codec, first, mixed, row(A) + row(A, "2"), row(B, "9"), layout=layout)
    name = next(iter(store.blobs))
    before = bytes(store.blobs[name].content)
    other = [frame for frame in iter_frames(codec, _file(before)) if A.encode() not in frame.text]

    result = do(store, ids(A))

    assert result.complete
    (done,) = result.record.parts if result.record else []
    assert (done.blob, done.rows, done.bytes_before) == (name, 5, len(before))
    assert done.into == f"{DAY[:-4]}.1.csv{name.removeprefix(DAY)}"
    assert [blob.name for blob in data_blobs(store)] == [done.into]
    after = bytes(store.blobs[done.into].content)
    assert done.bytes_after == len(after)
    for frame in other:
        assert before[frame.offset : frame.offset + frame.length] in after
    whole = b"".join(frame.text for frame in iter_frames(codec, _file(after)))
    assert whole.endswith(first + row(B) + row(V7, '"A,"') + row(B, "9"))
    assert A.encode() not in whole
    clean(store)
    assert list(where(store, data_blobs(store), A, Effort(), _no_trouble)) == []
    assert len(list(where(store, data_blobs(store), B, Effort(), _no_trouble))) == 3
    assert do(store, ids(A)).record.parts == []  # type: ignore[union-attr]


def _file(data: bytes) -> object:
    import io

    return io.BytesIO(data)


def _no_trouble(blob: str, why: str) -> None:
    raise AssertionError(f"{blob}: {why}")


def test_without_yes_nothing_is_written(store: MemoryStore) -> None:
    put(store, "zstd", row(A) + row(B), layout=IdLayout.UUID)
    before = {name: bytes(blob.content) for name, blob in store.blobs.items()}
    result = erase(store, ids(A), EVERYWHERE, do=False)
    assert [(one.rows, one.frames) for one in result.affected] == [(1, 1)]
    assert not result.complete
    assert {name: bytes(blob.content) for name, blob in store.blobs.items()} == before
    assert not any(blob.sealed for blob in store.blobs.values())


def test_in_a_store_where_nothing_has_landed_there_is_nothing_to_do(tmp_path: Path) -> None:
    result = do(LocalDirectory(tmp_path / "none"), ids(A))
    assert result.complete
    assert not (tmp_path / "none").exists()


def test_a_part_of_which_nothing_is_left_goes_whole(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(A), layout=IdLayout.UUID)
    result = do(store, ids(A))
    assert [part.into for part in result.record.parts] == [None]  # type: ignore[union-attr]
    assert data_blobs(store) == []


def test_conditions_on_columns_all_have_to_hold_in_whole_cells(store: MemoryStore) -> None:
    put(store, "gzip", row(A, "x") + row(B, "xx") + row(B, "x") + row(B, '"x,"'))
    result = do(store, wanted_of((), ["$aml_dc_correlation_id=" + B, "a\n=x"]))
    assert result.complete
    assert texts(store).endswith(row(A, "x") + row(B, "xx") + row(B, '"x,"'))
    assert do(store, wanted_of((), ["no_such_column=x"])).affected == []


@pytest.mark.parametrize(
    ("ids_", "cells"), [([], []), (["a"], ["b=c"]), ([""], []), ([], ["a"]), ([], ["=x"]), ([], ["a="])]
)
def test_what_nobody_can_have_meant_is_refused(ids_: list[str], cells: list[str]) -> None:
    with pytest.raises(CallHuman):
        wanted_of(ids_, cells)


def test_only_the_named_days_and_streams_are_looked_at(store: MemoryStore) -> None:
    for name in ("a/2026/11/20/data.csv", "a/2026/11/21/data.csv", "b/2026/11/21/data.csv"):
        put(store, "zstd", row(A), row(B), name=name)
    scope = Scope("a/*", date(2026, 11, 21), date(2026, 11, 22))
    result = do(store, ids(A), scope)
    assert [part.blob for part in result.record.parts] == ["a/2026/11/21/data.csv.zst"]  # type: ignore[union-attr]
    assert texts(store).count(row(A)) == 2


# ---------------------------------------------------------------------- lines of JSON


def _line(writer: str, number: int, correlation: str, values: list[int]) -> bytes:
    fields = {
        "specversion": "1.0", "id": f"{writer}-1-{number}", "source": "s", "type": "t", "time": "2026-11-21T03:04:05Z",
        "correlationid": correlation, "data": [{"v": value} for value in values],
        "contentrange": f"bytes 0-1/2 rows 0-{len(values) - 1}/*",
    }  # fmt: skip
    fields["contentrange"] = f"rows 0-{len(values) - 1}/*"
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def test_requests_in_lines_of_json_go_whole_and_verify_knows_of_the_gap(store: MemoryStore) -> None:
    writer = "ab" * 16
    lines = [_line(writer, number, f"id-{number}", [number, 7]) for number in range(4)]
    store.blobs["w/2026/11/21/03/x.jsonl"] = StoredBlob(bytearray(b"".join(lines)))
    clean(store)
    assert do(store, ids("id-1", "id-0")).complete
    (blob,) = data_blobs(store)
    assert bytes(store.blobs[blob.name].content) == lines[2] + lines[3]
    clean(store)
    assert do(store, Wanted(cells=(("v", "3"),))).complete
    (blob,) = data_blobs(store)
    assert bytes(store.blobs[blob.name].content) == lines[2]
    clean(store)
    store.blobs[blob.name].content += _line(writer, 5, "id-5", [1])
    assert verify(store, data_blobs(store)).findings, "a line that nobody erased is missed"


def test_telemetry_that_names_an_id_goes_in_whatever_form(store: MemoryStore) -> None:
    # A service may be called so; its blobs are lines all the same.
    folder = "_collectord/telemetry/traces/s/g/w/large/m/1/2026/11/21/03/"
    kept = b'{"itemId":"1","message":"nothing"}\n'
    lines = [
        json.dumps({"customDimensions": {"Contents": json.dumps({"id": A})}}).encode() + b"\n",
        json.dumps({"operation_Id": A.replace("-", "")}).encode() + b"\n",
        kept,
        json.dumps({"message": f"scored {A}."}).encode() + b"\n",
    ]
    store.blobs[folder + "aa.jsonl"] = StoredBlob(bytearray(b"".join(lines)))
    store.blobs["_collectord/telemetry/large/1.txt"] = StoredBlob(bytearray(b"x" * 100 + A.encode()), appendable=False)
    store.blobs["_collectord/telemetry/large/2.txt"] = StoredBlob(bytearray(b"x" * 100), appendable=False)
    assert do(store, ids(A)).complete
    left = {name: bytes(blob.content) for name, blob in store.blobs.items() if "/telemetry/" in name}
    assert left == {folder + "aa.1.jsonl": kept, "_collectord/telemetry/large/2.txt": b"x" * 100}


def test_a_large_item_is_asked_for_at_once(store: MemoryStore) -> None:
    """Each request is a round trip, and there may be thousands of such blobs."""
    name = "_collectord/telemetry/large/1.json"
    store.blobs[name] = StoredBlob(bytearray(b"x" * (1 << 20) + A.encode()), appendable=False)
    assert erase(store, ids(A), EVERYWHERE, do=False).affected
    assert [blob for operation, blob, _ in store.requests if operation == "read" and blob == name] == [name]


# ---------------------------------------------------------------------- what stands in the way


@pytest.mark.parametrize(
    ("reason", "why"), [("immutable", "409 BlobImmutableDueToPolicy"), ("leased", "412 LeaseIdMissing")]
)
def test_what_may_not_be_changed_is_refused_by_name_and_the_others_are_erased(
    store: MemoryStore, reason: str, why: str
) -> None:
    put(store, "zstd", row(A), row(B), name="a/2026/11/21/data.csv")
    put(store, "zstd", row(A), row(B), name="b/2026/11/21/data.csv")
    store.plan("seal", Fault(Blocked(reason, why)))
    result = do(store, ids(A))
    assert not result.complete
    assert result.record is not None
    assert [one["blob"] for one in result.record.refused] == ["a/2026/11/21/data.csv.zst"]
    assert f"{reason}: {why}" in result.record.refused[0]["why"]
    assert [part.blob for part in result.record.parts] == ["b/2026/11/21/data.csv.zst"]
    assert any("REFUSED" in line for line in result.lines())


def test_an_archived_blob_is_named_as_unread_and_the_others_are_erased(store: MemoryStore) -> None:
    """As what an earlier erasure has left may be: a block blob, which a rule of the account has moved there."""
    put(store, "zstd", row(A), row(B), name="a/2026/11/21/data.csv")
    put(store, "zstd", row(A), row(B), name="b/2026/11/21/data.csv")
    store.plan("read", Fault(Blocked("immutable", "409 BlobArchived")))
    result = do(store, ids(A))
    assert not result.complete
    assert [one["blob"] for one in result.unread] == ["a/2026/11/21/data.csv.zst"]
    assert result.unread[0]["why"].startswith("409 BlobArchived: it has to be rehydrated")
    assert [part.blob for part in result.record.parts] == ["b/2026/11/21/data.csv.zst"]  # type: ignore[union-attr]


def test_a_blob_that_may_be_sealed_but_not_removed_is_refused_and_stands_once(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B))
    store.plan("remove", None, Fault(Blocked("immutable", "409 BlobImmutableDueToPolicy")))
    result = do(store, ids(A))
    assert [one["blob"] for one in result.record.refused] == [DAY + ".zst"]  # type: ignore[union-attr]
    assert [blob.name for blob in data_blobs(store)] == [DAY + ".zst"]
    assert list(erased.notes(store)) == []


def test_where_nothing_may_be_removed_nothing_is_begun(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B))
    store.plan("remove", *[Fault(Blocked("forbidden", "403 AuthorizationPermissionMismatch"))] * 9)
    with pytest.raises(CallHuman, match=r"removed.*403"):
        do(store, ids(A))
    assert not store.locks
    assert not store.blobs[DAY + ".zst"].sealed
    assert [blob.name for blob in data_blobs(store)] == [DAY + ".zst"]
    store.heal()
    assert do(store, ids(A)).complete


def test_where_there_is_no_place_for_what_is_left_nothing_is_sealed(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod whose root is read-only. It has to be said before the part that daemons write to is closed."""

    def refuse() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/']")

    put(store, "zstd", row(A), row(B))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(CallHuman, match=r"TMPDIR.*No usable temporary directory"):
        do(store, ids(A))
    assert not store.locks
    assert not store.blobs[DAY + ".zst"].sealed
    monkeypatch.undo()
    assert do(store, ids(A)).complete


def test_a_disk_that_is_full_of_what_is_left_is_said_and_the_blob_stays(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if len(data) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    put(store, "zstd", row(A), row(B))
    before = bytes(store.blobs[DAY + ".zst"].content)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(CallHuman, match="No space left on device"):
        do(store, ids(A))
    assert bytes(store.blobs[DAY + ".zst"].content) == before
    assert list(erased.notes(store)) == []
    monkeypatch.undo()
    assert do(store, ids(A)).complete


def test_what_a_killed_one_has_sent_is_waited_for_before_its_note_goes(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B), layout=IdLayout.UUID)
    store.plan("put_closed", None, None, *[Fault(Unknown("no answer"), "later")] * 5)
    with pytest.raises(TryAgain), Eraser(store, ids(A), sleep=lambda seconds: None) as eraser:
        eraser.erase(DAY + ".zst", [DAY + ".zst"])
    store.heal()
    store.lateness = 80.0
    slept: list[float] = []

    def arrive(seconds: float) -> None:
        slept.append(seconds)
        store.release()

    with Eraser(store, ids("nobody"), sleep=arrive) as eraser:
        assert [part.blob for part in eraser.finish()] == [DAY + ".zst"]
    assert slept == [80.0]
    assert texts(store).endswith(row(B))
    assert len(data_blobs(store)) == 1


def test_of_blobs_that_cannot_be_read_nobody_says_that_they_lack_a_column(store: MemoryStore) -> None:
    put(store, "zstd", row(A))
    store.blobs[DAY + ".zst"].content[20] ^= 1
    done = erase(store, Wanted(cells=(("x", "1"),)), EVERYWHERE, do=False)
    assert [one["blob"] for one in done.unread] == [DAY + ".zst"]
    assert done.notes == []


def test_what_is_damaged_is_named_and_left_alone(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B))
    blob = store.blobs[DAY + ".zst"]
    blob.content[-50] ^= 1
    before = bytes(blob.content)
    result = do(store, ids(A))
    assert not result.complete
    assert [one["blob"] for one in result.unread] == [DAY + ".zst"]
    assert bytes(store.blobs[DAY + ".zst"].content) == before


def test_plain_text_that_ends_amid_a_row_is_not_said_to_be_free_of_the_id(store: MemoryStore) -> None:
    put(store, "none", row(B) + row(A)[:-2])
    before = bytes(store.blobs[DAY].content)
    result = do(store, ids(A))
    assert not result.complete
    assert [one["blob"] for one in result.unread] == [DAY]
    assert bytes(store.blobs[DAY].content) == before


@pytest.mark.parametrize("codec", CODECS)
def test_rows_that_are_no_csv_are_named_without_being_quoted(store: MemoryStore, codec: str) -> None:
    bad = row(A, "secret") + (b"\xff" + row(A, "secret") if codec == "none" else row(B, "secret,secret"))
    if codec == "none":
        put(store, codec, bad)
    else:
        encoder = FrameEncoder(codec)
        found = ids_of_uuids(UUID(A).bytes + UUID(B).bytes, 16)
        frames = encoder.header_frame(CSV_HEADER) + encoder.data_frame(bad, FrameTag(bytes(16), 1, 2), found)
        store.blobs[DAY + encoder.suffix] = StoredBlob(bytearray(frames))
    result = do(store, ids(A))
    assert not result.complete
    assert len(result.unread) == 1
    assert "secret" not in json.dumps(result.as_fields())
    assert result.record is not None
    assert "secret" not in result.record.as_json()


def test_where_a_store_cannot_seal_what_grows_meanwhile_is_done_again(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "none", row(A), row(B))
    store.plan("seal", *[Fault(Blocked("bad_request", "409 FeatureNotSupported"))] * 5)
    remove, grown = store.remove, []

    def grow(blob: str, etag: str) -> object:
        if blob == DAY and not grown:
            grown.append(store.append(blob, row(A, "2") + row(B, "2"), len(store.blobs[blob].content)))
        return remove(blob, etag)

    monkeypatch.setattr(store, "remove", grow)
    result = do(store, ids(A))
    assert grown
    assert result.complete
    assert len(data_blobs(store)) == 1
    assert texts(store).endswith(row(B) + row(B, "2"))
    assert A.encode() not in texts(store)


def test_the_day_or_version_at_the_end_of_a_name_is_not_taken_for_a_part(store: MemoryStore) -> None:
    """Earlier layouts could end so: what is left stays with its day, whichever day there is, and parts keep their numbers."""
    for day in ("08", "09"):
        put(store, "zstd", row(A) + row(B), row(B, day), name=f"m/inputs.202611{day}.csv")
    assert do(store, ids(A)).complete
    assert [blob.name for blob in data_blobs(store)] == ["m/inputs.20261108.1.csv.zst", "m/inputs.20261109.1.csv.zst"]
    assert do(store, ids(B)).complete
    assert not data_blobs(store)


def test_a_part_whose_first_was_erased_is_a_part_still(store: MemoryStore) -> None:
    put(store, "zstd", row(A) + row(B) + row(V7))
    assert do(store, ids(A)).complete
    assert do(store, ids(B)).complete
    assert [blob.name for blob in data_blobs(store)] == [f"{DAY[:-4]}.2.csv.zst"]


def test_a_next_part_that_a_daemon_has_made_meanwhile_is_left_to_it(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B))
    with Eraser(store, ids(A)) as eraser:
        put(store, "zstd", row(B, "8"), name=f"{DAY[:-4]}.1.csv")
        done = eraser.erase(DAY + ".zst", [])
    assert done is not None
    assert done.into == f"{DAY[:-4]}.2.csv.zst"
    assert sorted(blob.name for blob in data_blobs(store)) == [f"{DAY[:-4]}.1.csv.zst", f"{DAY[:-4]}.2.csv.zst"]
    assert [note.into for _, note in erased.notes(store)] == [done.into]


@pytest.mark.parametrize("operation", ["seal", "put_closed", "remove", "state"])
@pytest.mark.parametrize("fault", [LOST, UNSENT])
def test_answers_that_are_lost_are_asked_for_again(store: MemoryStore, operation: str, fault: Fault) -> None:
    put(store, "zstd", row(A), row(B), layout=IdLayout.UUID)
    store.plan(operation, fault, fault)
    with Eraser(store, ids(A), sleep=lambda seconds: None) as eraser:
        eraser.erase(DAY + ".zst", [DAY + ".zst"])
    assert store.fired == 2
    assert A.encode() not in texts(store)
    assert texts(store).endswith(row(B))
    assert len(data_blobs(store)) == 1
    clean(store)


def test_a_store_that_never_answers_is_given_up_and_what_was_begun_is_finished_later(store: MemoryStore) -> None:
    put(store, "zstd", row(A), row(B), layout=IdLayout.UUID)
    store.plan("remove", None, *[UNSENT] * 5)
    with pytest.raises(TryAgain), Eraser(store, ids(A), sleep=lambda seconds: None) as eraser:
        eraser.erase(DAY + ".zst", [DAY + ".zst"])
    assert len(data_blobs(store)) == 2
    result = do(store, ids("somebody else"))
    assert [(part.blob, part.resumed) for part in result.record.parts] == [(DAY + ".zst", True)]  # type: ignore[union-attr]
    assert texts(store).endswith(row(B))
    assert do(store, ids(A)).record.parts == []  # type: ignore[union-attr]
    assert len(recorded(store)) == 1


def test_two_do_not_erase_at_a_time(store: MemoryStore) -> None:
    waited = []
    with (
        Eraser(store, ids(A)),
        pytest.raises(CallHuman, match="another erasure"),
        Eraser(store, ids(A), sleep=waited.append),
    ):
        pass
    assert sum(waited) == PATIENCE
    store.locks.clear()
    with Eraser(store, ids(A)) as first:
        store.locks.clear()  # It has slept for longer than its lock lives.
        with pytest.raises(TryAgain, match="lock"):
            first._remove("x", "y")


def test_the_record_and_the_notes_name_nobody(store: MemoryStore) -> None:
    put(store, "zstd", row("secret-id", "secret-value") + row(B), row(B, "9"))
    put(store, "none", row("secret-id", "secret-value") + row(B), name="n/2026/11/21/data.csv")
    do(store, ids("secret-id"))
    do(store, wanted_of((), ["a\n=secret-value"]))
    control = {name: bytes(blob.content) for name, blob in store.blobs.items() if name.startswith("_collectord/")}
    assert len([name for name in control if name.startswith("_collectord/erasures/")]) == 2
    assert not [name for name, text in control.items() if b"secret" in text]
    assert [part.rows for part in recorded(store)] == [1, 1]


# ---------------------------------------------------------------------- daemons, and crashes

HEADER = b"$aml_dc_correlation_id,b\n"
GONE = ("w-2-1", "w-5-0", "w-5-1", "w-5-2")
"""A row of a frame, and all rows of the one whose answer was lost."""


def _expected(writer: Writer, until: int, gone: tuple[str, ...] = GONE) -> Counter[bytes]:
    rows = (one for number in range(1, until + 1) for one in writer.rows(number))
    return Counter(one for one in rows if one.split(b",")[0].decode() not in gone)


def _there(store: RewritableStore) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for blob in data_blobs(store):
        lines = b"".join(cat(store, [blob])).splitlines()
        assert lines[:1] == [HEADER.strip()]
        found.update(lines[1:])
    return found


_STEPS = ("seal", "put_closed", "remove")
"""All that changes anything. (Its lock goes with a process.)"""


@pytest.fixture(params=["memory", "directory"])
def anew(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], RewritableStore]:
    """A store of one's own for each number."""
    if request.param == "memory":
        return lambda number: MemoryStore()
    return lambda number: LocalDirectory(tmp_path / f"store {number}")


def _lose_answer(writer: Writer, number: int) -> None:
    """A frame lands, and its writer is killed before it learns of it."""
    store = writer.appender._store

    class Lost(Exception):
        pass

    def lost(*given: object) -> object:
        outcome = append(*given)  # type: ignore[arg-type]
        if isinstance(outcome, Appended):
            raise Lost
        return outcome

    append = store.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "append", lost)
        with pytest.raises(Lost):
            writer.appender.attempt(writer.stage(number))


@pytest.mark.parametrize("doubtful", [1, 5])
def test_wherever_an_erasure_dies_each_row_is_there_once_and_the_erased_ones_are_gone_in_the_end(
    tmp_path: Path, anew: Callable[[int], RewritableStore], doubtful: int
) -> None:
    """A daemon goes on before and after; one frame's answer was lost before the erasure began."""
    gone = GONE if doubtful == 5 else ("w-1-0", "w-1-1")
    for fuse in every_step(6):
        store = anew(fuse.at)
        writer = Writer(tmp_path / f"spool {fuse.at}", store, header=HEADER)
        store.create_container()
        writer.run(doubtful - 1)
        _lose_answer(writer, doubtful)
        writer.close()
        try:
            with wired(fuse, [(type(store), _STEPS)]), Eraser(store, Wanted(gone)) as eraser:
                _erase_all(eraser, store)
        except Crash:
            pass
        writer = Writer(tmp_path / f"spool {fuse.at}", store, header=HEADER)
        writer.run(doubtful + 2)
        with Eraser(store, Wanted(gone)) as eraser:
            list(eraser.finish())
            _erase_all(eraser, store)
        writer.run(doubtful + 4)
        assert _there(store) == _expected(writer, doubtful + 4, gone), f"crash at step {fuse.at}"
        assert writer.ledger.intents() == []
        writer.close()


@pytest.mark.parametrize("seed", range(16))
def test_whatever_befalls_daemons_and_erasures_in_whatever_order(tmp_path: Path, seed: int) -> None:
    """Answers lost and requests unsent, daemons and erasures killed anywhere: the account is right in the end."""
    chance, store = random.Random(seed), MemoryStore()
    names = ["a", "b", "c"]

    def start(name: str) -> Writer:
        return Writer(tmp_path / name, store, name=name, header=HEADER, seed=chance.randrange(1 << 30))

    writers = {name: start(name) for name in names}
    gone: set[str] = set()
    for _ in range(40):
        name = chance.choice(names)
        writer = writers[name]
        store.heal()
        if chance.random() < 0.7:
            store.plan("append", *chance.choices([None, LOST, UNSENT], k=3))
            until, fuse = writer.landed() + chance.randrange(1, 4), Fuse(chance.randrange(1, 60))
            try:
                with wired(fuse, steps(MemoryStore)):
                    writer.run(until)
            except Crash:
                writer.close()
                writers[name] = start(name)
            continue
        landed = range(1, writer.landed() + 2)
        gone |= {chance.choice(writer.rows(chance.choice(landed))).split(b",")[0].decode() for _ in range(2)}
        fuse = Fuse(chance.randrange(1, 24))
        try:
            with wired(fuse, [(MemoryStore, _STEPS)]):
                do(store, Wanted(tuple(sorted(gone))))
        except Crash:
            pass
    store.heal()
    until = {name: writer.landed() + 3 for name, writer in writers.items()}
    for name, writer in writers.items():
        writer.run(until[name])
    assert do(store, Wanted(tuple(sorted(gone)))).complete
    expected: Counter[bytes] = Counter()
    for name, writer in writers.items():
        expected += _expected(writer, until[name], tuple(gone))
        writer.close()
    assert _there(store) == expected
    assert store.fired
    assert sum(part.rows for part in recorded(store)) == sum(
        len(writer.rows(number)) for name, writer in writers.items() for number in range(1, until[name] + 1)
    ) - sum(expected.values())


def _erase_all(eraser: Eraser, store: RewritableStore) -> None:
    blobs = [blob.name for blob in data_blobs(store)]
    for blob in blobs:
        done = eraser.erase(blob, blobs)
        blobs += [done.into] if done and done.into else []


def test_a_frame_in_doubt_is_found_through_several_erasures_and_one_that_never_landed_is_sent(
    tmp_path: Path, store: MemoryStore
) -> None:
    writer, other = (
        Writer(tmp_path / name, store, name=name, header=HEADER, seed=seed) for seed, name in enumerate("wo")
    )
    writer.run(4)
    _lose_answer(writer, 5)
    other.run(2)
    store.plan("append", UNSENT)
    other.appender.attempt(other.stage(3))  # Not sent, which nobody knows.
    for one in ("w-2-1", "w-4-0", "o-1-0", "w-5-1"):
        assert do(store, ids(one)).complete
    writer.run(6)
    other.run(4)
    gone = ("w-2-1", "w-4-0", "o-1-0", "w-5-1")
    assert _there(store) == _expected(writer, 6, gone) + _expected(other, 4, gone)
    assert writer.appender.counts().settled == 1
    assert other.appender.counts().settled == 0
    writer.close()
    other.close()


def test_a_poisoned_frame_that_was_erased_is_known_to_have_landed(tmp_path: Path, store: MemoryStore) -> None:
    writer = Writer(tmp_path / "spool", store, header=HEADER)
    writer.run(4)
    _lose_answer(writer, 5)
    assert do(store, ids("w-5-0", "w-5-1", "w-5-2")).complete
    (intent,) = writer.ledger.intents()
    assert not writer.appender.is_absent(intent)
    writer.run(5)
    writer.close()


def test_while_the_notes_cannot_be_read_a_frame_in_doubt_waits(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "spool", store, header=HEADER)
    writer.run(1)
    _lose_answer(writer, 2)
    assert do(store, ids("w-2-0")).complete
    (intent,) = writer.ledger.intents()
    with monkeypatch.context() as patch:
        patch.setattr(store, "read", _silent)
        outcome = writer.appender.attempt(intent)
        assert not isinstance(outcome, NotAppendable)
        assert "silent" in getattr(outcome, "detail", "")
        assert writer.ledger.intents() == [intent]
    writer.run(3)
    assert _there(store) == _expected(writer, 3, ("w-2-0",))
    writer.close()


def _silent(blob: str, offset: int, length: int) -> Unknown:
    return Unknown("silent")


def test_on_the_blob_service_a_daemon_goes_on_through_an_erasure(
    tmp_path: Path, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    store = AzureBlob(new_container(), connection_string=azurite.connection_string())
    try:
        writer = Writer(tmp_path / "spool", store, header=HEADER)
        writer.run(4)
        _lose_answer(writer, 5)
        assert do(store, ids(*GONE)).complete
        writer.run(8)
        assert do(store, ids("w-7-0")).complete
        writer.run(9)
        assert _there(store) == _expected(writer, 9, (*GONE, "w-7-0"))
        writer.close()
        assert codec_of(data_blobs(store)[0].name) == "none"
        assert not isinstance(store.read(erased.NOTES, 0, 1), Unknown)
    finally:
        store.close()


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ("loan-7", True), ("for loan-7.", True), ('["loan-7"]', True), ("line\nloan-7", True), ("\tloan-7\t", True), ("é loan-7", True),
        ("loan-70", False), ("xloan-7", False), ("1loan-7 and loan-7a", False), ("loan-8", False), ("LOAN-7", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["traces/s/g/w/svc/m/1/2026/11/21/03/aa.jsonl", "large/2026/11/21/1.json"])
def test_an_id_of_ones_own_takes_no_telemetry_of_another_that_begins_like_it(
    place: str, said: str, goes: bool, store: MemoryStore
) -> None:
    for text in (said, json.dumps({"id": said})):
        name = "_collectord/telemetry/" + place
        line = json.dumps({"message": "x", "customDimensions": {"Contents": text}}).encode() + b"\n"
        store.blobs[name] = StoredBlob(bytearray(line))
        assert do(store, ids("loan-7")).complete
        left = b"".join(bytes(blob.content) for key, blob in store.blobs.items() if key.startswith(name[:-10]))
        assert left == (b"" if goes else line), text
        for key in [key for key in store.blobs if "/telemetry/" in key]:
            del store.blobs[key]
