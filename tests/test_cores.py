"""How many cores a process may use, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectord import cores
from tests.test_memory import system


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


@pytest.mark.parametrize(
    ("cgroup", "files", "usable"),
    [
        ("0::/\n", {}, 8.0),
        ("0::/\n", {"cpu.max": "max 100000"}, 8.0),
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "1600000 100000"}, 8.0),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "250000 100000", "cpu.max": "max 100000"}, 2.5),
        # The path is the host's, and this is a container: only its own cgroup is there, as the root.
        ("11:cpu,cpuacct:/kubepods/c1\n", {"cpu/cpu.cfs_quota_us": 150000, "cpu/cpu.cfs_period_us": 100000}, 1.5),
        ("11:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100000}, 8.0),
        ("4:memory:/x\n", {"cpu/cpu.cfs_quota_us": 150000, "cpu/cpu.cfs_period_us": 100000}, 8.0),
        ("0::/\n", {"cpu.max": "rubbish"}, 8.0),
        ("0::/\n", {"cpu.max": "1 0"}, 8.0),
        ("rubbish\n", {"cpu.max": "50000 100000"}, 8.0),
    ],
)  # fmt: skip
def test_the_least_of_cores_and_of_what_the_containers_are_given_counts(
    tmp_path: Path, cgroup: str, files: dict[str, object], usable: float
) -> None:
    assert cores.usable(*system(tmp_path, cgroup, files)) == usable


def test_a_system_that_says_nothing_is_no_fault(tmp_path: Path) -> None:
    assert cores.usable(tmp_path, tmp_path) == 8.0
