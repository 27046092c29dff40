"""How much memory a process may have, as the kernel tells it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from collectord import memory

V1_NONE = 9223372036854771712


def system(folder: Path, cgroup: str, limits: dict[str, object], meminfo: str = "") -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(cgroup)
    (proc / "self/statm").write_text("1000 200 1 1 0 1 0\n")
    (proc / "meminfo").write_text(meminfo)
    for place, limit in limits.items():
        (cgroups / place).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / place).write_text(f"{limit}\n")
    return proc, cgroups


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize(
    ("cgroup", "limits", "limit"),
    [
        ("0::/\n", {"memory.max": 7}, 7),
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 9, "memory.max": 99}, 9),
        ("0::/a/b\n", {"a/b/memory.max": 5, "a/memory.max": 9}, 5),
        ("4:memory:/pods/x\n0::/\n", {"memory/pods/x/memory.limit_in_bytes": V1_NONE, "memory/memory.limit_in_bytes": 8}, 8),
        # The path is the host's, and this is a container: only its own cgroup is there, as the root.
        ("11:cpu,memory:/kubepods/pod1/c1\n", {"memory/memory.limit_in_bytes": 6}, 6),
        ("3:cpu:/a\n", {"memory/memory.limit_in_bytes": 6}, None),
        ("rubbish\n", {"memory.max": 7}, None),
    ],
)  # fmt: skip
def test_the_least_limit_of_all_cgroups_above_counts(
    tmp_path: Path, cgroup: str, limits: dict[str, object], limit: int | None
) -> None:
    assert memory.look(*system(tmp_path, cgroup, limits)).limit == limit


def test_a_resource_limit_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (5 if kind == resource.RLIMIT_AS else 8, 9))
    assert memory.look(*system(tmp_path, "0::/\n", {"memory.max": 7})).limit == 5


def test_what_is_used_and_what_is_left_is_read(tmp_path: Path) -> None:
    found = memory.look(*system(tmp_path, "0::/\n", {}, "MemTotal: 20 kB\nMemAvailable:     10 kB\n"))
    assert found == (200 * resource.getpagesize(), None, 10240)


def test_a_system_that_says_nothing_is_no_fault(tmp_path: Path) -> None:
    assert memory.look(tmp_path, tmp_path) == (None, None, None)
    proc, cgroups = system(tmp_path / "b", "0::/\n", {}, "MemAvailable:\n")
    (proc / "self/statm").write_text("rubbish")
    assert memory.look(proc, cgroups) == (None, None, None)


def test_this_machine_is_understood() -> None:
    found = memory.look()
    assert found.resident is not None and found.resident > 10 << 20
    assert found.available is not None and found.available > 0
