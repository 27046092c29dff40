"""Takes rows out of blobs that have landed: `collectord erase`, step by step.

One blob (a part of a day) after the other is replaced by one without these rows. In this order:

1. It is sealed. Daemons that append to it are told so, settle what they have sent, and go on in the next part.
2. What is left of it is made beside, in a temporary file.
3. A note is written (`upload/erased.py`): where the rest goes, and what was taken out.
4. The rest is written under the next free part's name, if that is free, and never takes an append.
5. The blob is removed, if it is still the one that was sealed.

Whoever reads between 4 and 5 finds the rest twice; nobody ever misses a row. A crash before 4 leaves the blob as it was (but
sealed) and a note that is true; between 4 and 5, both. The next erasure, whatever it looks for, begins by finishing that:
if what the note promises is all there, 5 follows; if not, the note goes. No step is repeated under another name while the
first may still succeed: one program erases at a time in a store (`rewriting.LOCK`).

A daemon with a frame of which it does not know whether it has landed finds the note, and with it the frame; see there.

A store that cannot seal is asked to remove the blob only if nobody has appended meanwhile; if somebody has, all begins again.

Threads: one.
"""

from __future__ import annotations

import io
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar, cast

import xxhash

from collectord.errors import CallHuman, NeverAgain, TryAgain
from collectord.model import BlobInfo
from collectord.reader.blobs import READ_BYTES, Archived, BlobFile, split_part
from collectord.reader.cuts import Cut, Cuts, Wanted, cuts
from collectord.upload import erased
from collectord.upload.documents import Conflict
from collectord.upload.erased import Edit, Note
from collectord.upload.naming import content_type
from collectord.upload.rewriting import LOCK, BlobState, Lock, PutClosedOutcome, RewritableStore, SealOutcome
from collectord.upload.store import AlreadyExists, Blocked, NoContainer, Unknown

TRIES = 5
"""Of a request without an answer; and of a blob that cannot be sealed and grows."""
PAUSE = 0.5
"""Seconds before the second try; twice as many before each further one."""
TRIAL = "_collectord/erasures/trial"
"""A blob that is made and removed at once."""
PATIENCE = 75.0
"""Seconds to wait for another erasure; longer than a dead one's lease lives."""

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done to one blob. `note` is the name of its note."""

    note: str
    blob: str
    into: str | None
    rows: int
    frames: int
    bytes_before: int
    bytes_after: int
    writers: dict[str, int]
    period: tuple[str, int] | None
    resumed: bool = False
    """It was begun by an earlier erasure."""

    @staticmethod
    def by(name: str, note: Note, resumed: bool = False) -> Erased:
        return Erased(
            name, note.blob, note.into, note.count, note.frames, note.length, note.into_length, dict(note.writers),
            note.period, resumed,
        )  # fmt: skip


class Refused(CallHuman):
    """The store does not let this blob be replaced."""


class Eraser:
    """One erasure, under the store's lock. Its `id` names its notes and its record."""

    def __init__(
        self,
        store: RewritableStore,
        wanted: Wanted,
        *,
        progress: Callable[[int], None] = lambda size: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._progress = progress
        self._sleep = sleep
        self._lock: Lock | None = None
        self.id = secrets.token_hex(8)

    # ------------------------------------------------------------------ alone

    def __enter__(self) -> Eraser:
        """Raises CallHuman if another erasure is at work in this store, blobs cannot be removed from it, or there is no place for
        what is left of one."""
        waited = 0.0
        while True:
            found = cast(Lock | None, self._asked(lambda: self._store.lock(LOCK)))
            if found is not None:
                break
            if waited >= PATIENCE:
                raise CallHuman(f"another erasure is at work in {self._store.describe()}")
            self._sleep(1.0)
            waited += 1.0
        self._lock = found
        if waited:
            # It may have ended in the middle of a request, which may arrive yet.
            self._sleep(self._store.lateness)
        try:
            _try_scratch()
            self._try_out()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def _try_out(self) -> None:
        """A store that lets nothing be removed is found out before anything stands in it twice."""
        try:
            self._put(TRIAL, io.BytesIO(b"\n"), 1, "text/plain")
            there = self._state(TRIAL)
            if there is not None:
                self._remove(TRIAL, there.etag)
        except Refused as error:
            raise CallHuman(
                f"blobs cannot be written to and removed from {self._store.describe()}, so nothing is erased: {error}"
            ) from error

    # ------------------------------------------------------------------ what was begun

    def finish(self) -> Iterator[Erased]:
        """Finishes what earlier erasures have begun; yields every blob that they have replaced, once each.

        Raises TryAgain or CallHuman if the store does not let it.
        """
        late = self._store.lateness
        for name, note in list(erased.notes(self._store)):
            now = self._state(note.blob)
            if now is not None and now.length >= note.length and self._begins_as(note, now):
                written = self._is_written(note)
                if not written and late:
                    # What one who was killed has sent may arrive yet.
                    self._sleep(late)
                    written, late = self._is_written(note), 0.0
                # Else it was not sealed and grew, or its rest never got there: it stands as it is.
                if now.length > note.length or not written or not self._remove(note.blob, now.etag):
                    self._forget(name, note)
                    continue
            yield Erased.by(name, note, resumed=True)

    def _begins_as(self, note: Note, now: BlobState) -> bool:
        file = BlobFile(self._store, BlobInfo(note.blob, min(now.length, note.length), {}))
        return _checksum(io.BufferedReader(file, READ_BYTES)) == note.checksum

    def _is_written(self, note: Note) -> bool:
        """Whether what was left of a blob stands where its note says."""
        if note.into is None:
            return True
        there = self._state(note.into)
        if there is None or there.length != note.into_length or there.appendable:
            return False
        file = BlobFile(self._store, BlobInfo(note.into, there.length, {}))
        return _checksum(io.BufferedReader(file, READ_BYTES)) == note.into_checksum

    def _forget(self, name: str, note: Note) -> None:
        """Takes back what a note promises: the blob stays."""
        if note.into is not None and self._is_written(note):
            there = self._state(note.into)
            if there is not None:
                self._remove(note.into, there.etag)
        there = self._state(name)
        if there is not None:
            self._remove(name, there.etag)

    # ------------------------------------------------------------------ one blob

    def erase(self, blob: str, others: Iterable[str]) -> Erased | None:
        """Replaces a blob by one without the wanted rows. `others`: names of blobs that are there.

        None: it has none, or is gone.

        Raises:
            Refused: the store's policy or rights stand against it.
            NeverAgain: it is damaged.
            TryAgain: the store did not answer, or the blob grows all the time.
            CallHuman: the store refuses to be read.
        """
        for _ in range(TRIES):
            now = self._state(blob)
            if now is None:
                return None
            if now.appendable:
                sealed = self._seal(blob, now.etag)
                if isinstance(sealed, Conflict):
                    continue
                now = self._state(blob) or now
            info = BlobInfo(blob, now.length, {})
            found = cuts(self._store, info, self._wanted, self._progress)
            if not found.cuts:
                return None
            # All notes about earlier blobs of this name have come true, or are gone: this is the next.
            name = erased.name_of(blob, sum(1 for _ in erased.notes_about(self._store, blob)))
            with tempfile.TemporaryFile() as file:
                rest = cast(BinaryIO, file)
                try:
                    note = self._note(info, found, rest)
                except OSError as error:
                    raise _no_scratch(error) from None
                done = self._replace(name, note, now.etag, rest, set(others))
            if done is not None:
                return done
        raise TryAgain(f"{blob} grows all the time and cannot be sealed here; erase again when its day is over")

    def _note(self, blob: BlobInfo, found: Cuts, rest: BinaryIO) -> Note:
        """Writes what is left to `rest`, and says what that means."""
        salt = secrets.token_bytes(16)
        edits = []
        before, after = xxhash.xxh3_128(), xxhash.xxh3_128()
        with io.BufferedReader(BlobFile(self._store, blob), READ_BYTES) as file:
            at = 0
            for cut in [*found.cuts, Cut(blob.size, 0, b"")]:
                while at < cut.offset:
                    piece = file.read(min(READ_BYTES, cut.offset - at))
                    before.update(piece)
                    after.update(piece)
                    rest.write(piece)
                    at += len(piece)
                gone = file.read(cut.length)
                before.update(gone)
                after.update(cut.instead)
                rest.write(cut.instead)
                at += cut.length
                if gone:
                    edits.append(Edit(cut.offset, cut.length, len(cut.instead), erased.salted(salt, gone)))
        rest.flush()
        size = rest.tell()
        empty = size == found.header
        return Note(
            blob=blob.name, length=blob.size, checksum=before.hexdigest(), into="" if not empty else None,
            into_length=0 if empty else size, into_checksum="" if empty else after.hexdigest(), salt=salt,
            edits=tuple(edits), rows=frozenset(erased.row_hash(salt, one) for one in found.digests), count=found.rows,
            frames=found.frames, writers=dict(found.writers), events=tuple(found.events), period=found.period,
        )  # fmt: skip

    def _replace(self, name: str, note: Note, etag: str, rest: BinaryIO, taken: set[str]) -> Erased | None:
        """None: the blob has grown meanwhile."""
        note = self._placed(name, note, rest, taken)
        try:
            gone = self._remove(note.blob, etag)
        except Refused:
            self._forget(name, note)
            raise
        if gone:
            return Erased.by(name, note)
        self._forget(name, note)
        return None

    def _placed(self, name: str, note: Note, rest: BinaryIO, taken: set[str]) -> Note:
        """Writes the note, then what is left under the first free part's name."""
        while True:
            if note.into is not None:
                note = replace(note, into=_next_free(note.blob, taken, self._is_part(note.blob, taken)))
            packed = note.pack()
            self._put(name, io.BytesIO(packed), len(packed), "application/json")
            if note.into is None:
                return note
            made = self._put(note.into, rest, note.into_length, content_type(note.blob))
            if isinstance(made, NoContainer):
                raise CallHuman(f"{self._store.describe()} is gone")
            if not isinstance(made, AlreadyExists) or self._is_written(note):
                return note
            # Somebody's own part: a daemon was faster.
            taken.add(note.into)
            there = self._state(name)
            if there is not None:
                self._remove(name, there.etag)

    def _is_part(self, blob: str, taken: set[str]) -> bool:
        """Whether the number at the end of a blob's name is that of a part. Else a layout such as `inputs.{yyyy}{mm}{dd}.csv` has
        put it there, and the next number is another day: then no blob without it is there, nor was one erased."""
        stem, part, suffix = split_part(blob)
        first = f"{stem}{suffix}"
        return part > 0 and (first in taken or any(erased.notes_about(self._store, first)))

    def _put(self, name: str, content: BinaryIO, size: int, kind: str) -> PutClosedOutcome:
        self._check_lock()

        def request() -> PutClosedOutcome:
            content.seek(0)
            return self._store.put_closed(name, content, size, kind)

        return self._asked(request)

    def _remove(self, blob: str, etag: str) -> bool:
        """Whether it is gone; False if it is not the one that was seen."""
        self._check_lock()
        return not isinstance(self._asked(lambda: self._store.remove(blob, etag)), Conflict)

    def _seal(self, blob: str, etag: str) -> SealOutcome:
        """A store that does not know what sealing is says `Blocked`."""
        return self._asked(lambda: self._store.seal(blob, etag), refusals=("immutable", "forbidden", "leased"))

    def _state(self, blob: str) -> BlobState | None:
        return cast(BlobState | None, self._asked(lambda: self._store.state(blob)))

    def _check_lock(self) -> None:
        if self._lock is None or not self._lock.held:
            raise TryAgain("the store's lock for erasing was lost; erase again, and it goes on from here")

    def _asked(self, request: Callable[[], Outcome], refusals: tuple[str, ...] | None = None) -> Outcome:
        """Asks until there is an answer. `refusals`: the words that are a policy's, not the request's fault."""
        for number in range(TRIES):
            if number:
                self._sleep(PAUSE * 2 ** (number - 1))
            answer = request()
            match answer:
                case Unknown(detail):
                    continue
                case Blocked(reason, why) if refusals is None or reason in refusals:
                    raise Refused(f"{reason}: {why}")
                case _:
                    return answer
        raise TryAgain(f"{self._store.describe()}: {detail}")


def search(
    store: RewritableStore, blobs: Iterable[BlobInfo], wanted: Wanted, troubled: Callable[[str, str], None],
    progress: Callable[[int], None] = lambda size: None,
) -> Iterator[tuple[BlobInfo, Cuts]]:  # fmt: skip
    """What has to go from each blob, which may be nothing. What cannot be read is told to `troubled` (blob, why). Changes
    nothing.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused, or a blob is gone.
    """
    for blob in blobs:
        told = 0

        def tell(size: int) -> None:
            nonlocal told
            told += size
            progress(size)

        try:
            found = cuts(store, blob, wanted, tell)
        except NeverAgain as error:
            troubled(blob.name, str(error))
            continue
        except Archived as error:
            troubled(blob.name, error.why)
            continue
        finally:
            progress(max(0, blob.size - told))
        yield blob, found


def _try_scratch() -> None:
    """Nothing is sealed for an erasure that could not go on: a container's file system may be read-only all over."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"\n")
            file.flush()
    except OSError as error:
        raise _no_scratch(error) from None


def _no_scratch(error: OSError) -> CallHuman:
    return CallHuman(
        "what is left of a blob cannot be put into a temporary file, so it is not replaced; TMPDIR names another directory: "
        f"{error.strerror}"
    )


def _next_free(blob: str, taken: set[str], is_part: bool) -> str:
    stem, part, suffix = split_part(blob)
    if not is_part:
        stem, part = blob.removesuffix(suffix), 0
    while True:
        part += 1
        if (name := f"{stem}.{part}{suffix}") not in taken:
            return name


def _checksum(file: BinaryIO | io.BufferedReader[BlobFile]) -> str:
    digest = xxhash.xxh3_128()
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    return digest.hexdigest()
