"""The log of a service from the daemon and from the store, as one."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord import servicelogs
from collectord.config import load
from collectord.errors import CallHuman, TryAgain
from collectord.logline import LogLine
from collectord.model import Buffer, Entry, Lsn, Schema
from collectord.notes import FILE, Note, append, render
from collectord.reader.logs import Effort, Landed
from collectord.servicelogs import UnknownService, follow, read_log
from collectord.settings import Settings
from tests import landed_events
from tests.control.test_watching import Speaker, Wired, spoken_batch

NOON = 1_763_726_400_000_000_000
ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "store").mkdir()
    return load(None, {"spool": str(tmp_path), "store": str(tmp_path / "store")})


def messages(settings: Settings, service: str = "svc", lines: int = 100) -> list[str]:
    return [line.message for line in read_log(settings, service, lines).lines]


def line(at: int, message: str) -> LogLine:
    return LogLine(NOON + at, 1, "trace", "pod", message, f"id {at}")


def waits(at: int, message: str, id_: str = "", sequence: int = 1) -> Entry:
    """A batch of one trace in the daemon's log."""
    return spoken_batch(sequence, {"message": message}, ids=[id_ or str(uuid.UUID(int=at + 1))], times=[NOON + at])


def test_what_waits_and_what_has_landed_are_one_log_and_nothing_is_in_it_twice(
    settings: Settings, tmp_path: Path
) -> None:
    speaker = Speaker()
    speaker.waiting = [waits(1000, "both", ID), waits(3000, "waits")]
    speaker.own = [LogLine(NOON + 2000, 2, "collectord", "collectord@n", "rows are rejected")]
    landed_events.land(
        tmp_path / "store", landed_events.folder(NOON) + "w.jsonl",
        [landed_events.item("landed", NOON), landed_events.item("both", NOON + 1000, id_=ID)],
    )  # fmt: skip
    with Wired(tmp_path, speaker):
        assert messages(settings) == ["landed", "both", "rows are rejected", "waits"]
        assert messages(settings, lines=2) == ["rows are rejected", "waits"]
        own = read_log(settings, "svc", 10, own_only=True)
        assert [one.message for one in own.lines] == ["rows are rejected"]


def test_the_log_is_read_before_the_store_so_that_what_lands_meanwhile_is_not_missed(
    settings: Settings, tmp_path: Path
) -> None:
    """It lands when the daemon is asked: then it waits no more, and has to be in the store's listing."""
    blob = landed_events.folder(NOON) + "w.jsonl"

    class Landing(Speaker):
        def waiting_events(self, *words: object) -> Iterator[tuple[Schema, Buffer]]:
            landed_events.land(tmp_path / "store", blob, [landed_events.item("landed meanwhile", NOON)])
            return iter(())

    with Wired(tmp_path, Landing()):
        assert messages(settings) == ["landed meanwhile"]


def test_a_service_that_is_not_there_is_told_from_one_that_says_nothing(settings: Settings, tmp_path: Path) -> None:
    landed_events.land(
        tmp_path / "store", landed_events.folder(NOON, webservice="fraud") + "w.jsonl", [landed_events.item("x", NOON)]
    )
    with pytest.raises(UnknownService, match="a service 'froud'; did you mean 'fraud'"):
        messages(settings, "froud")
    with pytest.raises(UnknownService, match=r"known are fraud$"):
        messages(settings, "zzz")
    speaker = Speaker()
    with Wired(tmp_path, speaker):
        assert messages(settings, "a") == [], "its daemon has heard of it"
        speaker.own = [LogLine(NOON, 1, "collectord", "collectord@n", "ready")]
        with pytest.raises(UnknownService, match=r"known are a, fraud, svc$"):
            messages(settings, "zzz")
    (tmp_path / "store" / "_collectord" / "services.json").write_text(
        '{"format": 1, "version": 1, "services": {"switched": {"collect_model_data": true}}}'
    )
    assert messages(settings, "switched") == []


def test_hostile_names_in_a_store_do_not_reach_a_terminal(settings: Settings, tmp_path: Path) -> None:
    landed_events.land(
        tmp_path / "store",
        landed_events.folder(NOON, webservice="%1B[31m") + "w.jsonl",
        [landed_events.item("x", NOON)],
    )
    with pytest.raises(UnknownService) as error:
        messages(settings, "zzz")
    assert str(error.value).isprintable()


def test_without_a_daemon_its_last_run_is_heard_also_of_a_start_that_failed(settings: Settings, tmp_path: Path) -> None:
    append(tmp_path / FILE, render(Note(1, NOON, 3, "the start failed", "", {"why": "codec"})))
    append(tmp_path / FILE, render(Note(2, NOON, 3, "of another", "other")))
    found = read_log(settings, "svc", 10)
    assert [one.message for one in found.lines] == ["the start failed"]
    assert any("no daemon answers" in notice for notice in found.notices)
    assert any("nothing is known of a service 'svc'" in notice for notice in found.notices)
    assert read_log(settings, "svc", 10, severity=4).lines == []


def test_where_nothing_is_named_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = load(None, {"spool": str(tmp_path)})
    with pytest.raises(CallHuman, match=r"no daemon answers at .* and no store is named; set COLLECTORD_STORE"):
        read_log(nowhere, "svc", 10)
    speaker = Speaker()
    speaker.waiting = [waits(0, "waits")]
    with Wired(tmp_path, speaker):
        found = read_log(nowhere, "svc", 10)
        assert [one.message for one in found.lines] == ["waits"]
        assert "no store is named" in found.notices[0]


def test_a_store_that_was_read_in_part_says_so(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newest(
        store: object, landed: Landed, lines: int, since_ns: int, severity: int, effort: Effort
    ) -> list[LogLine]:
        effort.broken, effort.complete, effort.bytes_read = 3, False, 256 << 20
        return []

    landed_events.land(tmp_path / "store", landed_events.folder(NOON) + "w.jsonl", [landed_events.item("x", NOON)])
    monkeypatch.setattr(servicelogs, "newest", newest)
    assert read_log(settings, "svc", 10).notices == [
        f"no daemon answers at {tmp_path}/admin.sock; what waits there is not among this",
        "3 landed lines are broken, and left out",
        "only 256 MiB of what has landed were read; older lines may be missing",
    ]


def test_who_follows_hears_of_both_sides_once_and_waits_for_a_daemon_that_goes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicelogs, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(servicelogs, "AGAIN_SECONDS", 0.02)
    now = time.time_ns()
    speaker = Speaker()
    speaker.waiting = [waits(0, "first", ID)]
    stop = threading.Event()
    heard: list[LogLine | str] = []

    def until(what: Callable[[str], bool]) -> None:
        for one in lines:
            heard.append(one)
            if what(one if isinstance(one, str) else one.message):
                return

    with Wired(tmp_path, speaker):
        lines = follow(settings, "svc", 10, stop=stop)
        until("first".__eq__)
        speaker.own.append(LogLine(now, 1, "collectord", "collectord@n", "of the daemon"))
        until("of the daemon".__eq__)
        store, blob = tmp_path / "store", landed_events.folder(now) + "w.jsonl"
        landed_events.land(store, blob, [landed_events.item("first", NOON, id_=ID), landed_events.item("landed", now)])
        until("landed".__eq__)
    until(lambda text: "waiting for it" in text)
    append(tmp_path / FILE, render(Note(1, now + 1000, 3, "the start failed", "", {"why": "codec"}, "n")))
    until("the start failed".__eq__)
    speaker.waiting.append(waits(1, "after", sequence=2))
    with Wired(tmp_path, speaker):
        until("after".__eq__)
        stop.set()
        heard += lines
    texts = [one if isinstance(one, str) else one.message for one in heard]
    assert (
        texts.count("first")
        == texts.count("landed")
        == texts.count("after")
        == texts.count("of the daemon")
        == texts.count("the start failed")
        == 1
    )
    assert "the daemon answers again" in texts


def test_a_store_that_does_not_answer_keeps_nobody_from_what_this_node_has(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is when it is wanted most."""

    def fails(*_: object) -> Landed:
        raise TryAgain("the store did not answer")

    monkeypatch.setattr(servicelogs, "survey", fails)
    speaker = Speaker()
    with Wired(tmp_path, speaker):
        with pytest.raises(TryAgain):
            read_log(settings, "svc", 10)
        speaker.waiting = [waits(1, "waits")]
        speaker.own = [LogLine(NOON, 3, "collectord", "collectord@n", "uploads fail")]
        found = read_log(settings, "svc", 10)
    assert [one.message for one in found.lines] == ["uploads fail", "waits"]
    assert found.notices == ["the store did not answer; what has landed is not among this"]


def test_whom_a_slow_signal_interrupts_ends_all_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine what a signal does takes longer than one wait for lines."""
    monkeypatch.setattr(servicelogs, "HEED_SECONDS", 0.02)
    stop = threading.Event()

    def heed(*_: object) -> None:
        stop.set()
        threading.Event().wait(0.05)

    main = threading.main_thread().ident
    assert main is not None
    interrupting = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, heed)
    try:
        lines = follow(settings, "svc", 10, stop=stop)
        assert isinstance(next(lines), str)
        interrupting.start()
        list(lines)
    finally:
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert stop.is_set()


def test_what_was_given_is_remembered_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicelogs, "REMEMBERED", 3)
    given = servicelogs._Given()
    assert [given.first(line(n, str(n))) for n in (1, 2, 1, 3, 4, 2)] == [True, True, False, True, True, False]
    assert given.first(line(1, "1")), "it was the oldest"


def test_only_so_much_of_what_waits_is_asked_for_as_is_wanted_and_what_is_not_severe_does_not_count(
    settings: Settings, tmp_path: Path
) -> None:
    speaker = Speaker()
    speaker.waiting = [
        spoken_batch(n, {"message": f"{n}", "severityLevel": 3 if n % 100 == 0 else 1}, times=[NOON + n * 1000])
        for n in range(1000)
    ]
    with Wired(tmp_path, speaker):
        assert messages(settings, lines=2) == ["998", "999"]
        severe = read_log(settings, "svc", 3, severity=3).lines
        assert [one.message for one in severe] == ["700", "800", "900"]
        late = read_log(settings, "svc", 100, since_ns=NOON + 998_000).lines
        assert [one.message for one in late] == ["998", "999"]


def test_messages_that_were_too_old_to_be_wanted_do_not_come_later(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicelogs, "LOOK_SECONDS", 0.02)
    speaker = Speaker()
    speaker.own = [LogLine(NOON + n * 1000, 1, "collectord", "collectord@n", f"message {n}") for n in range(10)]
    speaker.waiting = [waits(n * 1000, f"event {n}", sequence=n) for n in range(10)]
    stop = threading.Event()
    heard = []
    with Wired(tmp_path, speaker):
        for one in follow(settings, "svc", 2, stop=stop):
            heard.append(one.message if isinstance(one, LogLine) else one)
            if len(heard) == 2:
                speaker.own.append(LogLine(NOON + 50_000, 1, "collectord", "collectord@n", "the last"))
            if heard[-1] == "the last":
                stop.set()
    assert heard == ["message 9", "event 9", "the last"]


def test_a_daemon_that_cannot_say_it_is_told_and_the_store_is_read(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of an earlier version."""
    monkeypatch.chdir(tmp_path)

    class Mute(Speaker):
        def position(self) -> Lsn:
            raise RuntimeError("not that")

    landed_events.land(tmp_path / "store", landed_events.folder(NOON) + "w.jsonl", [landed_events.item("landed", NOON)])
    with Wired(tmp_path, Mute()):
        found = read_log(settings, "svc", 10)
        assert [one.message for one in found.lines] == ["landed"]
        assert "did not answer Logs: UNKNOWN; what it has is not among this" in found.notices[0]
        with pytest.raises(TryAgain):
            read_log(load(None, {"spool": str(tmp_path)}), "svc", 10)
