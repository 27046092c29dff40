"""A run counts only if every kernel was one for arm64."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tests.arm64.proof import ELF_MACHINE, MACHINE, elf_machine, objections

ROOT = Path(__file__).resolve().parents[2]


def test_the_kernels_are_for_arm64_only_on_arm64() -> None:
    assert (elf_machine(Path(sys.executable)) == ELF_MACHINE) is (platform.machine() == MACHINE)
    assert any("this is " in one for one in objections(ROOT)) is (platform.machine() != MACHINE)


@pytest.mark.parametrize(
    ("content", "machine"),
    [
        (b"\x7fELF" + bytes(14) + b"\xb7\0\1\0", ELF_MACHINE),
        (b"\x7fELF" + bytes(14) + b"\x3e\0\1\0", 62),
        (b"no library at all, but \xb7", None),
        (b"", None),
    ],
)
def test_a_library_tells_its_machine(tmp_path: Path, content: bytes, machine: int | None) -> None:
    library = tmp_path / "x.so"
    library.write_bytes(content)
    assert elf_machine(library) == machine


def test_no_kernel_and_the_core_in_python_are_objected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import collectord_client

    monkeypatch.setattr(collectord_client, "CORE", "pure")
    found = objections(tmp_path)
    assert found[0] == f"there is no kernel in {tmp_path}"
    assert found[-1] == "the client's core is pure"
