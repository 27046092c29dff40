"""The stores under test, each with the hands of somebody who meddles with its blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from collectord.testing.store import MemoryStore, StoredBlob
from collectord.upload.azureblob import AzureBlob
from collectord.upload.documents import DocumentStore
from collectord.upload.localdir import LocalDirectory


@dataclass
class Backend:
    """A store whose container is absent at first, and what else may happen to its blobs."""

    store: DocumentStore
    delete: Callable[[str], None]
    overwrite: Callable[[str, bytes], None]
    """Somebody puts another, appendable blob in its place."""
    obstruct: Callable[[str], None]
    """Something that is not an append blob takes the name."""


def memory_backend() -> Backend:
    store = MemoryStore(container=False)

    def overwrite(blob: str, data: bytes) -> None:
        store.blobs[blob] = StoredBlob(bytearray(data))

    def obstruct(blob: str) -> None:
        store.blobs[blob] = StoredBlob(bytearray(b"block"), appendable=False)

    return Backend(store, store.blobs.__delitem__, overwrite, obstruct)


def directory_backend(root: Path) -> Backend:
    def overwrite(blob: str, data: bytes) -> None:
        (root / blob).write_bytes(data)

    def obstruct(blob: str) -> None:
        (root / blob).mkdir(parents=True)

    return Backend(
        LocalDirectory(root),
        lambda blob: (root / blob).unlink(),
        overwrite,
        obstruct,
    )


def azurite_backend(azurite: Azurite, container: str, port: int | None = None) -> Backend:
    """`port`: that of a proxy, through which the store goes."""
    client = BlobServiceClient.from_connection_string(azurite.connection_string()).get_container_client(container)

    def overwrite(blob: str, data: bytes) -> None:
        one = client.get_blob_client(blob)
        one.delete_blob()
        one.create_append_blob()
        one.append_block(data)

    def obstruct(blob: str) -> None:
        client.get_blob_client(blob).upload_blob(b"block")

    store = AzureBlob(container, connection_string=azurite.connection_string(port))
    return Backend(store, lambda blob: client.get_blob_client(blob).delete_blob(), overwrite, obstruct)


@pytest.fixture(params=["memory", "directory", "azurite", "wire"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, new_container: Callable[[], str]) -> Iterator[Backend]:
    """`wire`: the blob service once more, behind the proxy that fails as it is told; here it is told nothing."""
    match request.param:
        case "memory":
            yield memory_backend()
        case "directory":
            yield directory_backend(tmp_path / "store")
        case "azurite":
            yield azurite_backend(request.getfixturevalue("azurite"), new_container())
        case _:
            azurite = request.getfixturevalue("azurite")
            with FaultProxy(azurite.port) as proxy:
                yield azurite_backend(azurite, new_container(), proxy.port)
