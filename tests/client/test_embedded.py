"""The client stands alone: one file knows the daemon's package, and imports it only where the process itself collects."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.client import hosts

SOURCES = sorted((hosts.CLIENT / "collectord_client").rglob("*.py"))

CODE = """
import sys
from collectord_client import Client
client = Client("m", endpoint=sys.argv[1])
client.collect([[1]])
client.close(0.2)
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("collectord", "grpc", "subprocess")))
"""


def test_no_file_of_the_client_imports_the_daemon_and_two_load_it_by_name() -> None:
    loading = []
    assert len(SOURCES) > 30
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
                assert "collectord" not in [name.partition(".")[0] for name in names], path
            if isinstance(node, ast.Constant) and node.value == "collectord":
                loading.append(path.name)
    assert sorted(loading) == ["embedded.py", "webservice.py"]


def test_where_the_endpoint_is_none_of_a_directory_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"unix:{tmp_path}/none.sock"], env=hosts.environment(True), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")
