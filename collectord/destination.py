"""Where the rows go, as the settings say: the store, and the names in it."""

from __future__ import annotations

from pydantic import SecretStr

from collectord.config import Settings
from collectord.encode import frame
from collectord.outputs import Outputs
from collectord.upload.location import Location
from collectord.upload.naming import Layout
from collectord.upload.rewriting import RewritableStore


def open_store(settings: Settings) -> RewritableStore:
    """The store that the settings name, without having asked it anything. Raises `ConfigError`."""

    def plain(value: SecretStr | None) -> str | None:
        return value.get_secret_value() if value is not None else None

    return Location.parse(settings.store).open(
        connection_string=plain(settings.azure_connection_string),
        account_url=plain(settings.azure_account_url),
        sas_token=plain(settings.azure_sas),
        tenant_id=settings.tenant_id,
    )


def layout_of(settings: Settings, writer: str) -> Layout:
    """The names that a ledger's `writer`, in hexadecimal digits, gives to its blobs. Raises `ConfigError`."""
    return Layout(
        settings.layout,
        suffix=frame.FrameEncoder(settings.codec, settings.level).suffix,
        node=settings.node,
        writer=writer,
        prefix=Location.parse(settings.store).prefix,
        outputs=Outputs(settings.mdc_output),
    )
