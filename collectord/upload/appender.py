"""A frame gets into its blob exactly once, whatever is lost on the way.

`stage` makes the bytes and the intention durable, `attempt` sends them and settles what the store answers. Restarting
is running: an intent that is open after a crash goes through the same `attempt`.

Promises
  * Nothing is sent before its bytes are synced under `frames_dir` and its intent stands in the ledger, position included.
  * The bytes of an open intent never change; its position is written down before it is used.
  * "Refused" is never taken for "landed before" or for "failed": the bytes at the position decide.
  * An append at 0 carries header frame and data frame together. No append and no create is unconditional.
  * What stood at the position before an erasure replaced the blob counts as well: the notes of `erased.py` tell.

Assumptions
  * At most one open intent per base at a time: the caller's duty. (Other writers may share the blob.)
  * Frames of different writers differ: they carry writer and sequence, or ids that are unique per row. Plain text whose
    ids the user gave himself, and gave twice, is not enough; such a layout needs `{writer}` in its names.

Threads: `stage` and `attempt` may be called from any thread, for one intent from one thread at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import xxhash

from collectord.clock import Clock
from collectord.model import Cursor, FrameTag, Partition, Stream
from collectord.upload import erased, reconcile, rollover
from collectord.upload.attempts import Attempt, Attempts, BlockedFor, Counts, Landed, Retry
from collectord.upload.framefiles import FrameFiles, checksum
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout, codec_of, content_type
from collectord.upload.records import Intent
from collectord.upload.rollover import PartState
from collectord.upload.store import (
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    BlobStore,
    Blocked,
    Created,
    Failure,
    NoContainer,
    NotAppendable,
    Unknown,
    WrongPosition,
)

MAX_STEPS = 24
"""Appends of one attempt: with many writers on one blob each may lose the race a few times."""
FIRST_HEAD = 4096
"""Bytes that hold nearly every header frame; read at each lost race."""
PROBE = 4096
KEPT_NAMES = 1000
"""Bases remembered: making one takes longer than to ask the ledger for its parts."""
METADATA = {"collectord": "1"}
"""Stands at every blob we create: the version of this format of parts, headers and frames."""


class FrameFormat(Protocol):
    """What the appender has to know of the codecs."""

    def first_frame_text(self, codec: str, head: bytes) -> bytes | None:
        """The text of the first frame of a blob that begins with `head`; for codec `none` its first record, LF included.

        None: `head` is too short to tell. Raises ValueError if a blob of ours does not begin like this.
        """
        ...


def _nobody_asks(finding: str, blob: str) -> None:
    """Nobody wants to hear of it."""


class Appender:
    """Brings frames of one spool into one store. `frames_dir` is made (0700); files in it that nobody wants are removed, unless
    the ledger has to be rebuilt first."""

    def __init__(
        self,
        store: BlobStore,
        ledger: Ledger,
        frames_dir: Path,
        layout: Layout,
        codec: FrameFormat,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._frames = FrameFiles(frames_dir)
        self._layout = layout
        self._base = lru_cache(KEPT_NAMES)(layout.base)
        self._codec = codec
        self._clock = clock
        self._attempts = Attempts(clock, chance, (intent.frame_id for intent in ledger.intents()))
        self.on_finding: Callable[[str, str], None] = _nobody_asks
        """Told, on the thread that appends, what was found (a name of `Counts`: settled, races, replaced, rolled) and where."""
        if not ledger.rebuild_needed:
            self.sweep()

    def sweep(self) -> None:
        """Removes the files that no intent names; while nothing is staged."""
        self._frames.sweep(self._ledger.intents())

    def counts(self) -> Counts:
        """A snapshot."""
        return self._attempts.counts()

    def base(self, stream: Stream, partition: Partition) -> str:
        """The name that `stage` will use: the key by which the caller keeps to one open intent."""
        return self._base(stream, partition)

    def stage(
        self,
        stream: Stream,
        partition: Partition,
        header: bytes,
        header_frame: bytes,
        frame: bytes,
        tag: FrameTag,
        rows: int,
        after: Cursor,
    ) -> Intent:
        """Makes a frame ready to be sent: its bytes synced, its place chosen, both written down. Sends nothing.

        `header` is the text of the header row, `header_frame` the same as the codec writes it, `frame` the rows;
        `tag.sequence` comes from `Ledger.next_frame_id`, `after` is the cursor once the rows have landed. Raises
        `SpoolFull` or `SpoolUnusable`; then nothing was staged and the same frame may be staged again.
        """
        if not frame or len(header_frame) + len(frame) > MAX_APPEND:
            raise ValueError(
                f"a frame with its header has 1 to {MAX_APPEND} bytes, not {len(header_frame) + len(frame)}"
            )
        base = self._base(stream, partition)
        hashed = header_hash(header)
        place = rollover.first_place(self._ledger.parts(base), hashed)
        data = header_frame + frame
        intent = Intent(
            frame_id=tag.sequence,
            base=base,
            part=place.part,
            position=place.position,
            header=hashed,
            header_length=len(header_frame),
            length=len(data),
            checksum=checksum(data),
            rows=rows,
            stream_key=stream.key(),
            partition=partition,
            after=after,
            created_ns=self._clock.wall_ns(),
        )
        self._frames.write(intent, data)
        self._ledger.stage(intent)
        return intent

    def attempt(self, intent: Intent) -> Attempt:
        """One pass of the recipe: as many requests as it takes until the frame landed or one of them failed.

        To be repeated, with the same intent, until it is `Landed`. Raises `SpoolFull` or `SpoolUnusable` where the
        ledger cannot be used (the intent stays open), `ValueError` if the intent is not open.
        """
        # An earlier attempt may have moved it since the caller got hold of it.
        intent = self._ledger.intent(intent.frame_id)
        data = self._frames.read(intent)
        if isinstance(data, Blocked):
            return self._failed(intent, data)
        try:
            return self._send(intent, data)
        except BaseException:
            # It may even have landed, and the ledger was not told.
            self._attempts.left_unanswered(intent.frame_id)
            raise

    def _send(self, intent: Intent, data: bytes) -> Attempt:
        for number in range(MAX_STEPS):
            blob = self._layout.blob(intent.base, intent.part)
            ours = memoryview(data)[0 if intent.position == 0 else intent.header_length :]
            if not number and (elsewhere := self._replaced_by_erasure(intent, blob, ours)) is not None:
                # Before anything is sent: another blob of its name may by chance be as long as the one that is gone was.
                return elsewhere
            outcome = self._store.append(blob, ours, intent.position)
            step: Intent | Attempt
            match outcome:
                case Appended(end, blocks):
                    if end != intent.position + len(ours):
                        self._attempts.left_unanswered(intent.frame_id)
                        return self._failed(intent, Unknown(f"{blob}: appended, but up to {end}"))
                    return self._landed(intent, blob, end, blocks)
                case Absent():
                    step = self._create(intent, blob, ours)
                case NoContainer():
                    step = self._create_container(intent)
                case WrongPosition(detail):
                    step = self._settle(intent, blob, ours, detail)
                case NotAppendable(reason):
                    step = self._leave(intent, blob, ours, reason)
                case Unknown():
                    self._attempts.left_unanswered(intent.frame_id)
                    step = self._failed(intent, outcome)
                case Blocked():
                    step = self._failed(intent, outcome)
            if not isinstance(step, Intent):
                return step
            intent = step
        return self._failed(intent, Unknown(f"{intent.base}: other writers were faster {MAX_STEPS} times"))

    def is_absent(self, intent: Intent) -> bool:
        """Whether an open frame is surely not in its blob, and will not get there unless it is sent once more.

        Where an append of it may have landed, the store is asked, once none can arrive any more.
        """
        rest = self._attempts.may_arrive(intent.frame_id, self._store.lateness)
        if rest is None:
            return True
        if rest > 0:
            return False
        intent = self._ledger.intent(intent.frame_id)
        data = self._frames.read(intent)
        if isinstance(data, Blocked):
            return False
        blob = self._layout.blob(intent.base, intent.part)
        length = self._store.length(blob)
        if isinstance(length, Blocked | Unknown):
            return False
        ours = memoryview(data)[0 if intent.position == 0 else intent.header_length :]
        end = intent.position + len(ours)
        if length is not None and length >= end and self._holds(blob, intent.position, ours) is not False:
            return False
        return erased.held(self._store, blob, intent.position, ours) is False

    def forget(self, intent: Intent) -> None:
        """The ledger has given an intent up: its bytes are not needed any more."""
        self._frames.remove(intent)
        self._attempts.over(intent.frame_id)

    # ------------------------------------------------------------------ one step

    def _create(self, intent: Intent, blob: str, ours: memoryview) -> Intent | Attempt:
        if (settled := self._replaced_by_erasure(intent, blob, ours)) is not None:
            return settled
        if intent.position:
            replaced = erased.was_replaced(self._store, blob)
            if isinstance(replaced, Blocked | Unknown):
                return self._failed(intent, replaced)
            if replaced:
                # What an erasure has left of it stands in a later part, and so does what comes now.
                return self._next_part(intent, intent.header, intent.position, PartState.CLOSED, "erased")
            # Somebody has deleted it. Before anything else is sent, the place must say that it begins afresh.
            self._count("replaced", blob)
            intent = self._ledger.move(intent, 0, self._clock.wall_ns())
        outcome = self._store.create(blob, content_type(blob), METADATA)
        match outcome:
            case Created() | AlreadyExists():
                return intent
            case NoContainer():
                return self._create_container(intent)
            case Blocked() | Unknown():
                return self._failed(intent, outcome)

    def _create_container(self, intent: Intent) -> Intent | Attempt:
        outcome = self._store.create_container()
        match outcome:
            case Created() | AlreadyExists():
                return intent
            case Blocked() | Unknown():
                return self._failed(intent, outcome)

    def _settle(self, intent: Intent, blob: str, ours: memoryview, detail: str) -> Intent | Attempt:
        """After "the condition did not hold": have we landed, has somebody else, or is it something else."""
        length = self._store.length(blob)
        if isinstance(length, Blocked | Unknown):
            return self._failed(intent, length)
        if length is None:
            return intent
        finding = reconcile.judge(intent.position, len(ours), length)
        match finding:
            case reconcile.Held():
                return self._failed(intent, Blocked("leased", f"{blob}: refused at its length {length}: {detail}"))
            case reconcile.Replaced():
                if (elsewhere := self._replaced_by_erasure(intent, blob, ours)) is not None:
                    return elsewhere
                self._count("replaced", blob)
                if length == 0:
                    return self._ledger.move(intent, 0, self._clock.wall_ns())
                # It may end amid a frame or a row, behind which nothing could be read.
                return self._next_part(intent, None, length, PartState.FOREIGN, "shorter than before")
            case reconcile.Compare():
                if (settled := self._compare(intent, blob, ours, length)) is not None:
                    return settled
            case reconcile.Foreign():
                pass
        if (elsewhere := self._replaced_by_erasure(intent, blob, ours)) is not None:
            return elsewhere
        self._count("races", blob)
        # Another writer's append, or another blob: one that somebody has put in its place may well be longer.
        return self._judge_header(intent, blob, length)

    def _leave(self, intent: Intent, blob: str, ours: memoryview, reason: str) -> Intent | Attempt:
        """The part takes no more; but an earlier attempt may have been the last that it took."""
        length = self._store.length(blob)
        if isinstance(length, Blocked | Unknown):
            return self._failed(intent, length)
        if length is None and reason != "wrong_type":
            # Closed and absent contradict each other; the next append finds out. (What is no blob has no length.)
            return intent
        end = intent.position + len(ours)
        if length is not None and length >= end and (settled := self._compare(intent, blob, ours, length)) is not None:
            return settled
        if (elsewhere := self._replaced_by_erasure(intent, blob, ours)) is not None:
            return elsewhere
        rest = self._attempts.may_arrive(intent.frame_id, self._store.lateness)
        if rest is not None and rest > 0:
            # What is truly closed takes no late append either. But not every refusal is true, and to leave on a false one
            # while an append may yet arrive would double the frame.
            return Retry(rest, f"{blob} takes no more ({reason}), and an earlier append to it may be on its way")
        header = intent.header if intent.position else None
        return self._next_part(intent, header, length or 0, PartState.CLOSED, reason)

    def _compare(self, intent: Intent, blob: str, ours: memoryview, length: int) -> Intent | Attempt | None:
        """Whether an earlier attempt has landed in a blob that is long enough. None: other bytes stand there."""
        same = self._holds(blob, intent.position, ours)
        if isinstance(same, Blocked | Unknown):
            return self._failed(intent, same)
        if same is None:
            return intent
        if not same:
            return None
        self._count("settled", blob)
        return self._landed(intent, blob, intent.position + len(ours), None, length)

    def _replaced_by_erasure(self, intent: Intent, blob: str, ours: memoryview) -> Attempt | None:
        """Whether an earlier attempt has landed in a blob of this name that an erasure has replaced since. None: it has not.

        Asked only where an append of it may have landed at all.
        """
        if self._attempts.may_arrive(intent.frame_id, 0.0) is None:
            return None
        held = erased.held(self._store, blob, intent.position, ours)
        if isinstance(held, Blocked | Unknown):
            return self._failed(intent, held)
        if not held:
            return None
        self._count("settled", blob)
        return self._landed(intent, blob, intent.position + len(ours), None)

    def _judge_header(self, intent: Intent, blob: str, length: int) -> Intent | Attempt:
        """A blob of `length` > 0 bytes whose beginning has not been seen: behind it if it is ours, else the next part."""
        size = FIRST_HEAD
        while True:
            head = self._store.read(blob, 0, min(size, length))
            if isinstance(head, Blocked | Unknown):
                return self._failed(intent, head)
            if head is None:
                return intent
            try:
                text = self._codec.first_frame_text(codec_of(blob), head)
            except ValueError:
                return self._next_part(intent, None, length, PartState.FOREIGN, "no header of ours")
            if text is not None:
                break
            if size >= min(length, MAX_APPEND) or len(head) < min(size, length):
                return self._next_part(intent, None, length, PartState.FOREIGN, "no whole header")
            size = min(size * 4, MAX_APPEND)
        if (found := header_hash(text)) == intent.header:
            return self._ledger.move(intent, length, self._clock.wall_ns())
        return self._next_part(intent, found, length, PartState.OPEN, "")

    def _next_part(self, intent: Intent, header: bytes | None, length: int, state: PartState, reason: str) -> Intent:
        """Leaves a part, remembers what it was found to be, and goes where the next one of our header may be."""
        self._count("rolled", self._layout.blob(intent.base, intent.part))
        left = rollover.Part(intent.base, intent.part, header, length, 0, state, reason)
        others = [part for part in self._ledger.parts(intent.base) if part.part != intent.part]
        place = rollover.first_place([*others, left], intent.header)
        return self._ledger.reassign(intent, left, place, self._clock.wall_ns())

    def _holds(self, blob: str, position: int, ours: memoryview) -> bool | Failure | None:
        """Whether exactly our bytes stand at the position. A lost race is mostly settled by the first few of them.

        None: the blob is absent, although its length was known a moment ago. The next append finds out.
        """
        for start, end in ((0, min(PROBE, len(ours))), (PROBE, len(ours))):
            if start >= end:
                break
            found = self._store.read(blob, position + start, end - start)
            if found is None or isinstance(found, Blocked | Unknown):
                return found
            if found != ours[start:end]:
                return False
        return True

    # ------------------------------------------------------------------ results

    def _landed(self, intent: Intent, blob: str, end: int, blocks: int | None, length: int = 0) -> Landed:
        self._ledger.confirm(intent, max(end, length), blocks, self._clock.wall_ns())
        self._frames.recycle(intent)
        self._attempts.over(intent.frame_id)
        self._attempts.count("landed")
        return Landed(blob, end)

    def _failed(self, intent: Intent, outcome: Failure) -> Retry | BlockedFor:
        return self._attempts.failed(intent.frame_id, outcome)

    def _count(self, name: str, blob: str) -> None:
        self._attempts.count(name)
        self.on_finding(name, blob)


def header_hash(header: bytes) -> bytes:
    """Stands for a header's text in the ledger: 16 bytes."""
    return xxhash.xxh3_128_digest(header)
