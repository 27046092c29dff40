"""Settings as options: all but secrets."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from pydantic import Field, SecretStr

from collectord import settings
from collectord.cli.main import main
from collectord.cli.options import Group, settings_options
from collectord.cli.output import console
from collectord.notation import MaskedStr
from collectord.settings import Settings

SECRETS = {
    "azure_account_key", "azure_connection_string", "azure_sas", "columns_key", "app_insights", "app_insights_key",
    "otlp_headers",
}  # fmt: skip


class WithMore(Settings):
    vault_token: SecretStr | None = Field(None, description="A secret.")
    vault_tokens: tuple[SecretStr, ...] = Field((), description="Secrets.")
    vault_url: MaskedStr | None = Field(None, description="Perhaps a secret.")
    vault_name: str = Field("", description="None.")


def _options(command: click.Command) -> set[str | None]:
    return {parameter.name for parameter in command.params}


def _all_of(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from _all_of(one)


def test_no_command_takes_a_secret() -> None:
    """Every user of the machine sees a command line."""
    commands = list(_all_of(main))
    assert sum("store" in _options(command) for command in commands) > 4
    assert [command.name for command in commands if _options(command) & SECRETS] == []
    assert set(Settings.model_fields) - SECRETS == _options(main.commands["serve"]) - {"config_file"}


def test_a_setting_is_a_secret_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "Settings", WithMore)

    @settings_options()
    @click.command()
    def command() -> None: ...

    found = _options(command)
    assert {"vault_url", "vault_name"} <= found
    assert not {"vault_token", "vault_tokens", *SECRETS} & found


def _said(stdout: io.StringIO | io.TextIOWrapper, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of a command that does so."""

    @click.group(cls=Group)
    def group() -> None: ...

    group.add_command(click.Command("do", callback=action))
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(SystemExit) as ended:
        group.main(["do"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_terminal_with_few_characters_gets_the_others_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status of 1 would say that `verify` has found something, or `where` nothing."""
    raw = io.BytesIO()
    latin = io.TextIOWrapper(raw, encoding="latin-1")
    assert _said(latin, lambda: click.echo("wé/模"), monkeypatch) == 0
    assert raw.getvalue() == "wé/\\u6a21\n".encode("latin-1")


class Window(io.TextIOWrapper):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "--store"),
        ("cat", "s", "--store"),
        ("verify", "--store"),
        ("where", "7", "--show", "--date", "2026-11-21", "--store"),
    ],
)
def test_names_and_rows_do_nothing_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Of a model's callers and of whoever else writes to the store: what a row says is not for the operator's terminal to do."""
    folder = tmp_path / "s/g/w/svc/m/1\x1b[2J/inputs/2026/11/21"
    folder.mkdir(parents=True)
    (folder / "data.csv").write_bytes(b"a,$aml_dc_correlation_id\n\x1b[2J\xc2\x9b2J,7\n")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Window(raw, encoding="utf-8"))
    with pytest.raises(SystemExit):
        main.main([*words, str(tmp_path)])
    sys.stdout.flush()
    said = raw.getvalue().decode()
    assert r"\x1b[2J" in said and not {"\x1b", "\x9b"} & set(said)


@pytest.mark.parametrize(
    "words", [("cat", "s", "--store"), ("where", "7", "--show", "--date", "2026-11-21", "--store")]
)
def test_rows_in_a_file_are_as_they_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """What turns text around belongs to Hebrew and Arabic ones."""
    folder = tmp_path / "s/g/w/svc/m/1/inputs/2026/11/21"
    folder.mkdir(parents=True)
    row = '"\u200f\u05e9\x1b\r\n2",7\n'.encode()
    (folder / "data.csv").write_bytes(b"a,$aml_dc_correlation_id\n" + row)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
    with suppress(SystemExit):
        main.main([*words, str(tmp_path)])
    sys.stdout.flush()
    assert row in raw.getvalue()


def test_who_has_read_enough_of_a_table_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `collectord ledger | head` a status of 1 would say that books do not balance; rich has it of its own."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        assert _said(pipe, lambda: console(soft_wrap=True).print("x"), monkeypatch) == 0


def test_a_name_that_is_not_utf_8_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode() -> None:
        "m\udcff".encode()

    assert _said(io.StringIO(), encode, monkeypatch) == 2
    assert capsys.readouterr().err == "collectord: 'm\\udcff' is not UTF-8\n"
