"""Secrets in files: how they may be written, and what counts while they are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord.errors import ConfigError
from collectord.upload.secretfile import MAX_BYTES, SecretFile


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"x" * (MAX_BYTES + 1)])
def test_a_file_without_a_secret_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "sas"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^azure_sas_file: {file}"):
        SecretFile("azure_sas_file", file)


def test_the_one_before_counts_while_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "sas"
    file.write_text("one")
    secret = SecretFile("azure_sas_file", file)
    for amid in (b"", b"\n", b"\xff", b"x" * (MAX_BYTES + 1)):
        file.write_bytes(amid)
        assert secret.read() == "one"
    file.unlink()
    assert secret.read() == "one"
    file.write_text("two")
    assert secret.read() == "two"


@pytest.mark.parametrize("written", [b"one\n", b"\r\n one \r\n", b"\xef\xbb\xbfone"])
def test_what_editors_add_is_none_of_it(tmp_path: Path, written: bytes) -> None:
    file = tmp_path / "sas"
    file.write_bytes(written)
    assert SecretFile("azure_sas_file", file).read() == "one"
