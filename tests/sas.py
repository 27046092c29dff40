"""Shared access signatures, as the owner of Azurite's account makes them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from collectord.testing.azurite import ACCOUNT, KEY

RIGHTS = "racwl"
"""Those that a daemon needs."""


def of_account(ends: float = 1, starts: float | None = None) -> str:
    """For its containers and blobs. When it ends, and from when on it counts, are hours from now."""
    return generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(container=True, object=True), AccountSasPermissions.from_string(RIGHTS), _hours(ends),
        None if starts is None else _hours(starts),
    )  # fmt: skip


def of_container(container: str, rights: str = RIGHTS) -> str:
    """For one container and what is in it, for an hour. It cannot make the container."""
    return generate_container_sas(
        ACCOUNT, container, account_key=KEY, permission=ContainerSasPermissions.from_string(rights), expiry=_hours(1)
    )


def signature(sas: str) -> str:
    """What nobody else may see of it."""
    secret = sas.partition("sig=")[2]
    assert secret
    return secret


def _hours(count: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(hours=count)
