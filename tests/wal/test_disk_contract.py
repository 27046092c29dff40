"""What the log takes for granted about a disk holds for the real one and for those that tests make fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectord.wal.disk import IOV_MAX, Disk, read_into, write_all
from collectord.wal.framing import Buffer
from tests.wal.faults import FaultyDisk
from tests.wal.powerloss import ForgetfulDisk


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@dataclass
class Place:
    """A disk, and the one directory that it is used for."""

    disk: Disk
    folder: Path

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def made(self, name: str, size: int = 8192) -> Path:
        """A closed file of zeros."""
        self.disk.close(self.disk.create(self.folder / name, size))
        return self.folder / name


@pytest.fixture(params=["real", "faulty", "forgetful"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "log"
    disks = {"real": Disk, "faulty": FaultyDisk, "forgetful": lambda: ForgetfulDisk(folder)}
    disk = disks[request.param]()
    disk.make_directory(folder)
    before = open_descriptors()
    yield Place(disk, folder)
    # Fewer, if what an earlier test has left behind went meanwhile.
    assert open_descriptors() <= before, "a descriptor is left open"


def test_a_directory_that_is_there_stays_as_it_is(place: Place) -> None:
    place.made("a")
    place.disk.make_directory(place.folder)
    assert [path.name for path in place.folder.iterdir()] == ["a"]


def test_a_file_begins_as_zeros_of_its_whole_size(place: Place) -> None:
    place.made("a", 10_000)
    assert place.content("a") == bytes(10_000)


def test_making_a_file_that_is_there_begins_it_afresh(place: Place) -> None:
    fd = place.disk.create(place.folder / "a", 4096)
    place.disk.write(fd, [b"old"], 0)
    place.disk.close(fd)
    place.made("a", 4096)
    assert place.content("a") == bytes(4096)


def test_buffers_are_written_one_behind_the_other_and_read_back(place: Place) -> None:
    fd = place.disk.create(place.folder / "a", 8192)
    buffers: Sequence[Buffer] = [b"one", memoryview(b"two"), bytearray(b"three")]
    assert place.disk.write(fd, buffers, 100) == 11
    back = memoryview(bytearray(13))
    assert read_into(fd, back, 99) == 13
    assert bytes(back) == b"\0onetwothree\0"
    place.disk.sync(fd)
    place.disk.close(fd)
    assert len(place.content("a")) == 8192


def test_more_buffers_than_one_call_takes_arrive_whole(place: Place) -> None:
    count = IOV_MAX + 7
    fd = place.disk.create(place.folder / "a", 4 * count)
    write_all(place.disk, fd, [number.to_bytes(4, "big") for number in range(count)], 0)
    place.disk.close(fd)
    assert place.content("a") == b"".join(number.to_bytes(4, "big") for number in range(count))


def test_a_file_that_is_opened_keeps_what_it_holds_and_takes_more(place: Place) -> None:
    fd = place.disk.create(place.folder / "a", 4096)
    place.disk.write(fd, [b"first"], 0)
    place.disk.close(fd)
    fd = place.disk.open(place.folder / "a")
    place.disk.write(fd, [b"second"], 5)
    place.disk.sync(fd)
    place.disk.close(fd)
    assert place.content("a") == b"firstsecond".ljust(4096, b"\0")


def test_a_renamed_file_is_the_same_one_also_for_who_holds_it(place: Place) -> None:
    place.made("b", 10)
    fd = place.disk.create(place.folder / "a", 4096)
    place.disk.write(fd, [b"before"], 0)
    place.disk.rename(place.folder / "a", place.folder / "b")
    place.disk.write(fd, [b"behind"], 6)
    place.disk.sync(fd)
    place.disk.close(fd)
    assert [path.name for path in place.folder.iterdir()] == ["b"]
    assert place.content("b") == b"beforebehind".ljust(4096, b"\0")


@pytest.mark.parametrize("way", ["remove", "discard"])
def test_what_is_removed_is_gone_and_may_be_removed_again(place: Place, way: str) -> None:
    place.made("a")
    for _ in range(2):
        getattr(place.disk, way)(place.folder / "a")
        assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize("way", ["remove", "discard"])
def test_a_removed_name_may_be_used_again(place: Place, way: str) -> None:
    getattr(place.disk, way)(place.made("a", 4096))
    place.made("a", 100)
    assert place.content("a") == bytes(100)


def test_what_is_not_there_cannot_be_opened_or_renamed(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        place.disk.open(place.folder / "none")
    with pytest.raises(FileNotFoundError):
        place.disk.rename(place.folder / "none", place.folder / "a")
    assert list(place.folder.iterdir()) == []
