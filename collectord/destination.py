"""Where the rows go, as the settings say: the store, and the names in it."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from collectord.encode import frame
from collectord.errors import CallHuman
from collectord.outputs import Outputs
from collectord.settings import Settings
from collectord.upload.claim import Keeper
from collectord.upload.database import Database
from collectord.upload.localdir import LocalDirectory
from collectord.upload.location import Location
from collectord.upload.mount import NOTED
from collectord.upload.naming import Layout
from collectord.upload.rewriting import RewritableStore
from collectord.upload.secretfile import SecretFile
from collectord.upload.store import BlobStore


def open_store(settings: Settings) -> RewritableStore:
    """The store that the settings name, without having asked it anything. Raises `ConfigError`."""

    place = Location.parse(settings.store)
    if place.container is None:
        return place.open()

    def plain(value: SecretStr | None) -> str | None:
        return value.get_secret_value() if value is not None else None

    def secret(setting: str, value: SecretStr | None, file: Path | None) -> str | SecretFile | None:
        return SecretFile(f"{setting}_file", file) if file is not None else plain(value)

    return place.open(
        connection_string=secret(
            "azure_connection_string", settings.azure_connection_string, settings.azure_connection_string_file
        ),
        account_url=plain(settings.azure_account_url),
        account_key=secret("azure_account_key", settings.azure_account_key, settings.azure_account_key_file),
        sas_token=secret("azure_sas", settings.azure_sas, settings.azure_sas_file),
        credential=settings.azure_credential,
        tenant_id=settings.tenant_id,
        client_id=settings.azure_client_id,
    )


def open_landed(settings: Settings, waits: bool = False) -> RewritableStore:
    """The store, to look at what has landed in it: one that is not there is a mistake, and no empty one, unless rows may still
    wait for it (`waits`).

    Raises:
        ConfigError: a setting is wrong.
        CallHuman: there is no such directory or container, or it refuses.
        TryAgain: it did not answer.
    """
    store = open_store(settings)
    recall_disk(store, settings)
    if not waits:
        demand(store)
    return store


def recall_disk(store: BlobStore, settings: Settings) -> None:
    """Has a directory wait for its disk if the daemon's spool, as far as we may look into it, says that it lies on one: in the
    empty directory below the mount point nothing would be found, as if nothing had landed."""
    if isinstance(store, LocalDirectory):
        store.mount.wait_for(Database.peek(settings.spool, NOTED))


def keep_disk(store: BlobStore, keeper: Keeper) -> None:
    """Has a daemon's directory wait for the disk that it lies on, as the `keeper` has noted it before, or notes it now."""
    if isinstance(store, LocalDirectory):
        store.mount.keep(keeper)


def demand(store: BlobStore) -> None:
    """Raises likewise."""
    if not store.is_there():
        raise CallHuman(
            f"there is no {store.describe()}: nothing has landed there yet, or --store (COLLECTORD_STORE) has to name another"
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
