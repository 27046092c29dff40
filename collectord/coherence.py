"""What settings demand of each other: each function here names the setting that has to change, and how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from collectord.address import check_guarded
from collectord.spoolfiles import DIRECTORIES

if TYPE_CHECKING:
    from collectord.settings import Settings

CLIENT_BYTES = 128 << 10
"""What a connected client needs of the memory, about."""
LEAST_QUARANTINES = 10
"""Such quarantines the spool's budget must hold: it has log, frames and ledger to keep."""
LEAST_SEGMENTS = 4
"""Segments of the log that the spool's budget must hold."""
HIGHEST_LEVEL = {"zstd": 19, "gzip": 3, "none": 1}


def check(settings: Settings) -> None:
    """Raises ValueError with the first thing that does not fit."""
    for demand in _DEMANDS:
        demand(settings)


def doubts(settings: Settings) -> list[str]:
    """What is accepted, and hardly meant; for people."""
    from collectord.upload.location import Location
    from collectord.upload.store import CONTROL_PREFIX

    found = []
    needed = settings.most_clients * CLIENT_BYTES
    if needed > settings.memory_budget:
        found.append(
            f"max_clients: {settings.max_clients} clients may need {needed >> 20} MiB, more than the memory_budget of "
            f"{settings.memory_budget >> 20} MiB"
        )
    directory = Location.parse(settings.store).directory
    if directory is not None and _is_among_blobs(_real(settings.spool), _real(directory), CONTROL_PREFIX):
        found.append(
            f"spool: {settings.spool} lies in the store {settings.store}, where `ls`, `where` and `verify` take its files for blobs; "
            "give it a directory of its own beside the store"
        )
    return found


def _is_among_blobs(spool: Path, store: Path, control: str) -> bool:
    return spool.is_relative_to(store) and not f"{spool.relative_to(store).as_posix()}/".startswith(control)


def _real(path: Path) -> Path:
    """Where links lead to. Of links in a circle `Path.resolve` raises before Python 3.13; whoever uses the directory says what is wrong."""
    return Path(os.path.realpath(path))


def _store_keeps_out_of_the_spools_files(settings: Settings) -> None:
    if settings.store.startswith("az://"):
        return
    store, spool = _real(Path(settings.store)), _real(settings.spool)
    # A start and `wal repair` take what they do not know there for rubbish or damage.
    for name in DIRECTORIES:
        if store.is_relative_to(_real(spool / name)):
            raise ValueError(
                f"store: {settings.store!r} lies in {settings.spool / name}, where the spool keeps its own files, and the next start "
                "would trip over the blobs; give the store a directory of its own beside the spool"
            )


def _tls_is_whole(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ValueError("tls_cert: set COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY, or neither")
    for name in ("tls_client_ca", "admin_tls"):
        if getattr(settings, name) and settings.tls_cert is None:
            raise ValueError(f"{name}: needs tls_cert and tls_key")


def _others_are_kept_out(settings: Settings) -> None:
    identified = settings.tenants is not None or settings.tls_client_ca is not None
    for name, addresses in (("listen", settings.listen), ("mdc", (settings.mdc,) if settings.mdc else ())):
        for address in addresses:
            if not address.startswith("unix:"):
                try:
                    check_guarded(address, settings.tls_cert is not None, identified)
                except ValueError as error:
                    raise ValueError(f"{name}: {address!r} is not accepted: {error}") from None


def _azure_has_an_account(settings: Settings) -> None:
    strings = settings.azure_connection_string or settings.azure_connection_string_file
    if settings.store.startswith("az://") and not (strings or settings.azure_account_url):
        raise ValueError(
            f"store: {settings.store!r} is in Azure; set COLLECTORD_AZURE_CONNECTION_STRING, or COLLECTORD_AZURE_ACCOUNT_URL with a SAS "
            "or a credential that azure-identity finds"
        )


def _azure_has_one_credential(settings: Settings) -> None:
    for name in ("azure_sas", "azure_connection_string", "azure_account_key"):
        if getattr(settings, name) and getattr(settings, f"{name}_file"):
            raise ValueError(f"{name}: set COLLECTORD_{name.upper()} or COLLECTORD_{name.upper()}_FILE, not both")
    sas, key = (
        settings.azure_sas or settings.azure_sas_file,
        settings.azure_account_key or settings.azure_account_key_file,
    )
    if sas and key:
        raise ValueError("azure_account_key: set a SAS or a key, not both; a SAS may do less")
    if settings.azure_credential != "default" and (
        sas or key or settings.azure_connection_string or settings.azure_connection_string_file
    ):
        raise ValueError(
            f"azure_credential: {settings.azure_credential!r} would not be used, since a SAS or a key is set"
        )


def _azure_has_one_account(settings: Settings) -> None:
    strings = settings.azure_connection_string or settings.azure_connection_string_file
    if settings.store.startswith("az://") and strings and settings.azure_account_url:
        raise ValueError(
            "azure_account_url: a connection string names an account too, and only one of them would be used; set one"
        )


def _events_have_somewhere_to_go(settings: Settings) -> None:
    if settings.app_insights_auth != "none" and settings.app_insights is None and settings.app_insights_key is None:
        raise ValueError(f"app_insights_auth: {settings.app_insights_auth!r} says how, and app_insights is not set")
    if (
        settings.otlp_headers is not None
        and settings.otlp_headers.get_secret_value()
        and settings.otlp_endpoint is None
    ):
        raise ValueError("otlp_headers: otlp_endpoint is not set, to which they would go")


def _level_is_known(settings: Settings) -> None:
    highest = HIGHEST_LEVEL[settings.codec]
    if settings.level > highest:
        raise ValueError(f"level: {settings.level} is not accepted: codec {settings.codec} has levels 1 to {highest}")


def _log_has_room(settings: Settings) -> None:
    if settings.segment_bytes * LEAST_SEGMENTS > settings.spool_budget:
        raise ValueError(
            f"segment_bytes: {settings.segment_bytes} is not accepted: the spool_budget of {settings.spool_budget} must hold "
            f"at least {LEAST_SEGMENTS} segments"
        )


def _quarantine_leaves_room(settings: Settings) -> None:
    if settings.most_quarantined * LEAST_QUARANTINES > settings.spool_budget:
        raise ValueError(
            f"quarantine_budget: {settings.quarantine_budget} is not accepted: at most a tenth of the spool_budget of "
            f"{settings.spool_budget}"
        )


def _hmac_has_a_key(settings: Settings) -> None:
    if settings.columns_key is not None and settings.columns_key_file is not None:
        raise ValueError("columns_key: set COLLECTORD_COLUMNS_KEY or COLLECTORD_COLUMNS_KEY_FILE, not both")
    if "hmac" in settings.column_rules.values() and settings.columns_key is None and settings.columns_key_file is None:
        raise ValueError(
            f"columns: {settings.columns!r} needs a key for hmac: set COLLECTORD_COLUMNS_KEY or COLLECTORD_COLUMNS_KEY_FILE"
        )


_DEMANDS = (
    _store_keeps_out_of_the_spools_files,
    _tls_is_whole,
    _others_are_kept_out,
    _azure_has_an_account,
    _azure_has_one_credential,
    _azure_has_one_account,
    _events_have_somewhere_to_go,
    _level_is_known,
    _log_has_room,
    _quarantine_leaves_room,
    _hmac_has_a_key,
)
