"""What import-linter cannot see: the compiled kernels keep to the house rules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "collectord"
KERNELS = sorted(ROOT.rglob("_*.pyx"))
DECLARATIONS = sorted(path for path in ROOT.rglob("_*.pxd") if not path.with_suffix(".pyx").exists())
"""Of headers, for more than one kernel."""


def test_there_is_a_kernel_to_look_at() -> None:
    """A walk over no files would check nothing."""
    assert ROOT / "encode" / "_csv.pyx" in KERNELS
    assert sorted(ROOT.rglob("*.pyx")) == KERNELS, "a kernel's name begins with an underscore"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_a_kernel_imports_nothing_of_ours(kernel: Path) -> None:
    """Neither absolutely nor relatively, neither import nor cimport nor include; but it may share declarations of C++."""
    package = ".".join(kernel.parent.relative_to(ROOT.parent).parts)
    for path in (kernel, *kernel.parent.glob("*.pxd")):
        text = path.read_text()
        for shared in DECLARATIONS if path == kernel else []:
            if shared.parent == kernel.parent:
                text = text.replace(f"from {package}.{shared.stem} cimport", "")
        ours = re.findall(r"^\s*(?:(?:from|import|cimport)\s+(?:collectord\b|\.).*|include\s.*)$", text, re.M)
        assert not ours, f"{path}: {ours}"


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda path: path.stem)
def test_shared_declarations_are_of_a_header_beside_them(path: Path) -> None:
    """Nothing is compiled or imported with them."""
    blocks = re.findall(r"^cdef (.*)$", path.read_text(), re.M)
    assert blocks
    for block in blocks:
        header = re.match(r'extern from "(_\w+\.h)"', block)
        assert header and (path.parent / header[1]).is_file(), block


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_a_kernel_has_a_face_and_a_stub(kernel: Path) -> None:
    assert kernel.with_name(kernel.stem[1:] + ".py").is_file()
    assert kernel.with_suffix(".pyi").is_file()


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_only_its_face_imports_a_kernel(kernel: Path) -> None:
    module = ".".join(kernel.relative_to(ROOT.parent).with_suffix("").parts)
    package = module.rpartition(".")[0]
    importers = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                named = {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                named = {alias.name for alias in node.names}
            else:
                continue
            if module in named or (package in named and kernel.stem in named):
                importers.add(path)
    assert importers == {kernel.with_name(kernel.stem[1:] + ".py")}
