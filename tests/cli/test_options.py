"""Settings as options: all but secrets."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from pydantic import Field, SecretStr

from collectord import settings
from collectord.cli.main import main
from collectord.cli.options import settings_options
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
