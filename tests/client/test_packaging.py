"""The client is built alone, from the repository and from its own sdist, with a C compiler and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIP = shutil.ignore_patterns("build", "*.egg-info", "_pb", "__pycache__", "dist", "proto", "*.so", "*.c")
BUILD = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
QUICK = {**os.environ, "CFLAGS": "-O0", "COLLECTORD_CLIENT_PURE": ""}


def test_an_sdist_carries_the_contract_and_builds_the_same_wheel(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "clients" / "python", clone / "clients" / "python", ignore=SKIP)
    shutil.copytree(ROOT / "proto", clone / "proto")
    source = clone / "clients" / "python"
    subprocess.run([*BUILD, tmp_path / "out", source], env=QUICK, check=True, capture_output=True)
    [sdist] = (tmp_path / "out").glob("*.tar.gz")
    [wheel] = (tmp_path / "out").glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "alone", filter="data")
    [alone] = (tmp_path / "alone").iterdir()
    # Without a compiler: what the wheel above has in C is left out, and nothing else.
    broken = {**QUICK, "CC": "/bin/false"}
    subprocess.run([*BUILD, tmp_path / "again", "--wheel", alone], env=broken, check=True, capture_output=True)
    [again] = (tmp_path / "again").glob("*.whl")
    files = [sorted(zipfile.ZipFile(made).namelist()) for made in (wheel, again)]
    compiled = [name for name in files[0] if name.endswith(".so")]
    assert len(compiled) == 1
    assert [name for name in files[0] if name not in compiled] == files[1]
    assert {
        "collectord_client/py.typed",
        "collectord_client/_core.pyi",
        "collectord_client/_pb/collector_pb2.py",
    } <= set(files[1])
    assert not [name for name in files[0] if not name.startswith("collectord_client")]
    assert not [name for name in files[0] if name.endswith((".c", ".pyx"))]
    for made, core in ((wheel, "compiled"), (again, "pure")):
        site = tmp_path / core
        zipfile.ZipFile(made).extractall(site)
        code = (
            # What the wheel lacks must not come from this checkout, installed in place.
            "import sys; sys.meta_path = [one for one in sys.meta_path if '__editable__' not in str(one)]\n"
            "import collectord_client as c, collectord_client._pb.collector_pb2 as pb\n"
            "print(pb.Batch.DESCRIPTOR.full_name, pb.__file__, c.CORE)"
        )
        for wish, expected in (("", core), ("1", "pure")):
            environment = {**os.environ, "PYTHONPATH": str(site), "COLLECTORD_CLIENT_PURE": wish}
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.stdout.split() == [
                "collectord.v1.Batch", f"{site}/collectord_client/_pb/collector_pb2.py", expected,
            ], done.stderr  # fmt: skip
