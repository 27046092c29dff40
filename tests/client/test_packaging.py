"""The client is built alone, from the repository and from its own sdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIP = shutil.ignore_patterns("build", "*.egg-info", "_pb", "__pycache__", "dist", "proto")


def test_an_sdist_carries_the_contract_and_builds_the_same_wheel(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "clients" / "python", clone / "clients" / "python", ignore=SKIP)
    shutil.copytree(ROOT / "proto", clone / "proto")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    subprocess.run([*build, tmp_path / "out", clone / "clients" / "python"], check=True, capture_output=True)
    [sdist] = (tmp_path / "out").glob("*.tar.gz")
    [wheel] = (tmp_path / "out").glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "alone", filter="data")
    [alone] = (tmp_path / "alone").iterdir()
    subprocess.run([*build, tmp_path / "again", "--wheel", alone], check=True, capture_output=True)
    [again] = (tmp_path / "again").glob("*.whl")
    files = [sorted(zipfile.ZipFile(made).namelist()) for made in (wheel, again)]
    assert files[0] == files[1]
    assert {"collectord_client/py.typed", "collectord_client/_pb/collector_pb2.py"} <= set(files[0])
    assert not [name for name in files[0] if not name.startswith("collectord_client")]
    zipfile.ZipFile(again).extractall(tmp_path / "site")
    code = "import collectord_client._pb.collector_pb2 as pb; print(pb.Batch.DESCRIPTOR.full_name, pb.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["collectord.v1.Batch", f"{tmp_path}/site/collectord_client/_pb/collector_pb2.py"], (
        done.stderr
    )
