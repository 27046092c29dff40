"""A run counts only if every kernel was under the sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord import _batch
from tests.sanitize.proof import MARKS, missing_marks, objections

ROOT = Path(__file__).resolve().parents[2]


def test_an_ordinary_kernel_is_not_taken_for_an_instrumented_one() -> None:
    """Unless this very test runs under the sanitizers, where the kernel is one."""
    instrumented = not objections(ROOT)
    assert (missing_marks(Path(_batch.__file__)) == []) is instrumented


def test_an_object_that_refers_to_both_sanitizers_is_instrumented(tmp_path: Path) -> None:
    library = tmp_path / "x.so"
    library.write_bytes(b"\0".join(MARKS))
    assert missing_marks(library) == []
    library.write_bytes(MARKS[0])
    assert missing_marks(library) == [MARKS[1].decode()]


@pytest.mark.parametrize("kernels", [[], ["_none.pyx"]])
def test_no_kernel_and_an_unloaded_kernel_are_objected_to(tmp_path: Path, kernels: list[str]) -> None:
    (tmp_path / "collectord").mkdir()
    for name in kernels:
        (tmp_path / "collectord" / name).touch()
    assert "kernel" in objections(tmp_path)[0] or "loaded" in objections(tmp_path)[0]
