"""Append blobs in a container of Azure Blob Storage. Only this file, azureanswers.py and azureaccount.py import azure, which takes a
second.

The SDK's synchronous client without its retries: those wait 17 s, ignore Retry-After, and turn an append that landed
into a refusal. Every request carries its condition, is sent once, and is answered within the timeouts, or is unknown.

Threads: one client serves all threads.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import requests
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient, ContentSettings

from collectord.errors import CallHuman, TryAgain
from collectord.logs import event
from collectord.model import BlobInfo
from collectord.upload.azureaccount import Account, Identity, IdentityKind, seconds_of
from collectord.upload.azureanswers import Meaning, absent_or_failure, code_of, judge, unless_leased
from collectord.upload.documents import MAX_DOCUMENT, Conflict, Document, GetOutcome, PutOutcome, Written, too_large
from collectord.upload.rewriting import (
    BlobState,
    LockOutcome,
    PutClosedOutcome,
    Removed,
    RemoveOutcome,
    Sealed,
    SealOutcome,
    StateOutcome,
)
from collectord.upload.secretfile import Secret
from collectord.upload.store import (
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    AppendOutcome,
    Blocked,
    ContainerOutcome,
    Created,
    CreateOutcome,
    LengthOutcome,
    NoContainer,
    NotAppendable,
    ReadOutcome,
    Unknown,
    WrongPosition,
)
from collectord.upload.transport import open_session

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
LEASE_SECONDS = 60
LATENESS = 2
"""Times the longest that an answer is waited for. The service says nothing of how long a request may lie about in it."""

_log = logging.getLogger("collectord.upload")
_FAULTS = (AzureError, OSError, ValueError)
"""What a client raises when an answer is missing, cut or garbled. (The errors of requests are OSErrors.)"""


class AzureBlob:
    """The store in the container `container` of an account.

    Either `connection_string`, or `account_url` with `account_key`, with `sas_token`, with a SAS in the URL itself, or with
    the identity that azure-identity finds: `credential` says where it looks, `tenant_id` and `client_id` which one. Secrets are
    text, or files that are read again when they change. Raises `ConfigError` if these do not make an address. Sends nothing yet.
    """

    def __init__(
        self,
        container: str,
        *,
        connection_string: Secret = None,
        account_url: str | None = None,
        account_key: Secret = None,
        sas_token: Secret = None,
        credential: IdentityKind = "default",
        tenant_id: str | None = None,
        client_id: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        **options: Any,
    ) -> None:
        """`options` go to the SDK's client as they are, such as `connection_verify`."""
        verify = options.pop("connection_verify", True)
        self.lateness = LATENESS * (connect_timeout + read_timeout)
        self.skew: float | None = None
        session = open_session()
        session.hooks["response"].append(self._note_time)
        transport = RequestsTransport(
            session=session,
            connection_timeout=connect_timeout,
            read_timeout=read_timeout,
            connection_verify=verify,
        )
        self._account = Account(
            container,
            connection_string=connection_string,
            account_url=account_url,
            account_key=account_key,
            sas=sas_token,
            identity=Identity(credential, tenant_id, client_id, connect_timeout, read_timeout),
            options=options | {"retry_total": 0, "transport": transport},
        )
        self._url = self._account.address

    @property
    def _container(self) -> ContainerClient:
        return self._account.client()

    def _note_time(self, answer: requests.Response, **_: object) -> None:
        theirs = seconds_of(answer.headers.get("Date"))
        if theirs is not None:
            self.skew = time.time() - theirs

    def _judge(self, error: Exception, creating: bool = False) -> Meaning:
        """`judge`, with what to do about a refusal."""
        match meaning := judge(error):
            case Blocked("forbidden" | "credential" as reason, detail):
                code = code_of(error) if isinstance(error, HttpResponseError) else None
                advice = self._account.advice(error, code, creating)
                return Blocked(reason, f"{detail}: {advice}") if advice else meaning
        return meaning

    def append(self, blob: str, data: bytes | memoryview, position: int) -> AppendOutcome:
        if not 0 < len(data) <= MAX_APPEND:
            raise ValueError(f"an append has 1 to {MAX_APPEND} bytes, not {len(data)}")
        try:
            answer = self._container.get_blob_client(blob).append_block(
                bytes(data), length=len(data), appendpos_condition=position
            )
            offset, blocks = answer.get("blob_append_offset"), answer.get("blob_committed_block_count")
            if offset is None:
                return Unknown("appended, says an answer without its headers")
            return Appended(int(str(offset)) + len(data), None if blocks is None else int(str(blocks)))
        except _FAULTS as error:
            meaning = self._judge(error)
        match meaning:
            case AlreadyExists():
                return Unknown("an answer that does not belong to an append")
            case _:
                return meaning

    def create(self, blob: str, content_type: str, metadata: Mapping[str, str]) -> CreateOutcome:
        try:
            answer = self._container.get_blob_client(blob).create_append_blob(
                content_settings=ContentSettings(content_type=content_type),
                metadata=dict(metadata),
                if_none_match="*",
            )
            return Created() if answer.get("etag") else Unknown("created, says an answer without its headers")
        except _FAULTS as error:
            meaning = self._judge(error)
        match meaning:
            case WrongPosition():
                # A lease, or the very condition: either way there is a blob.
                return AlreadyExists()
            case Absent() | NotAppendable():
                return Unknown("an answer that does not belong to a create")
            case _:
                return meaning

    def create_container(self) -> ContainerOutcome:
        try:
            answer = self._container.create_container()
            event(_log, logging.INFO, "the container did not exist and was created", store=self.describe())
            return Created() if answer.get("etag") else Unknown("created, says an answer without its headers")
        except _FAULTS as error:
            meaning = self._judge(error, creating=True)
        match meaning:
            case AlreadyExists():
                return meaning
            case Blocked(reason, detail):
                return Blocked(reason, f"{self.describe()} does not exist and could not be created: {detail}")
            case Unknown():
                return meaning
            case _:
                return Unknown("an answer that does not belong to creating a container")

    def length(self, blob: str) -> LengthOutcome:
        try:
            size: int | None = self._container.get_blob_client(blob).get_blob_properties().size
            return Unknown("a length, says an answer without its headers") if size is None else size
        except _FAULTS as error:
            meaning = self._judge(error)
        return absent_or_failure(meaning)

    def read(self, blob: str, offset: int, length: int) -> ReadOutcome:
        if length <= 0:
            return b""
        if length > MAX_APPEND:
            raise ValueError(f"a read has at most {MAX_APPEND} bytes, not {length}")
        try:
            # One range in one request: larger reads are split by the SDK and pinned to the first one's ETag.
            reader = self._container.get_blob_client(blob).download_blob(offset, length, max_concurrency=1)
            total = reader.size
            content: bytes = reader.readall()
        except _FAULTS as error:
            if isinstance(error, HttpResponseError) and error.status_code == 416:
                return b""
            return absent_or_failure(self._judge(error))
        # The SDK sees a reply that ends early as whole when its headers say nothing else.
        return content if len(content) == total else Unknown(f"{len(content)} of {total} bytes")

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        try:
            for item in self._container.list_blobs(name_starts_with=prefix, include=["metadata"]):
                yield BlobInfo(item.name, item.size, dict(item.metadata or {}))
        except _FAULTS as error:
            meaning = self._judge(error)
            if isinstance(meaning, Absent | NoContainer):
                return
            raise self._unlisted(meaning) from None

    def is_there(self) -> bool:
        # Whoever may list may ask so; the container's properties need more.
        try:
            next(iter(self._container.list_blobs(results_per_page=1)), None)
            return True
        except _FAULTS as error:
            meaning = self._judge(error)
        if isinstance(meaning, Absent | NoContainer):
            return False
        raise self._unlisted(meaning)

    def _unlisted(self, meaning: Meaning) -> CallHuman | TryAgain:
        if isinstance(meaning, Blocked):
            return CallHuman(f"{self.describe()} refuses to be listed: {meaning.detail}")
        return TryAgain(
            f"{self.describe()} could not be listed: {getattr(meaning, 'detail', '') or type(meaning).__name__}"
        )

    def get_document(self, name: str) -> GetOutcome:
        try:
            reader = self._container.get_blob_client(name).download_blob(0, MAX_DOCUMENT, max_concurrency=1)
            total, etag = reader.size, reader.properties.etag
            content: bytes = reader.readall()
        except _FAULTS as error:
            if isinstance(error, HttpResponseError) and error.status_code == 416:
                # Somebody has emptied it: there is no range to read, and no tag in the answer.
                found = self.state(name)
                if not isinstance(found, BlobState):
                    return found
                return Unknown(f"{name} is being written") if found.length else Document(b"", found.etag)
            return absent_or_failure(self._judge(error))
        if total > MAX_DOCUMENT:
            return too_large(name)
        if len(content) != total or not etag:
            return Unknown(f"{len(content)} of {total} bytes, or no tag")
        return Document(content, str(etag))

    def put_document(self, name: str, data: bytes, etag: str | None) -> PutOutcome:
        if not 0 < len(data) <= MAX_DOCUMENT:
            raise ValueError(f"a document has 1 to {MAX_DOCUMENT} bytes, not {len(data)}")
        condition: dict[str, Any] = {"overwrite": False}
        if etag is not None:
            condition = {"overwrite": True, "etag": etag, "match_condition": MatchConditions.IfNotModified}
        try:
            answer = self._container.get_blob_client(name).upload_blob(
                data, content_settings=ContentSettings(content_type="application/json"), **condition
            )
            written = answer.get("etag")
            return Written(str(written)) if written else Unknown("written, says an answer without its headers")
        except _FAULTS as error:
            meaning = unless_leased(name, self._judge(error))
        match meaning:
            case AlreadyExists() if etag is not None:
                return Blocked("forbidden", f"{name} may not be replaced")
            case AlreadyExists() | WrongPosition() | Absent():
                return Conflict()
            case NotAppendable():
                return Blocked("bad_name", f"{name} is no block blob")
            case _:
                return meaning

    def state(self, blob: str) -> StateOutcome:
        try:
            found = self._container.get_blob_client(blob).get_blob_properties()
        except _FAULTS as error:
            return absent_or_failure(self._judge(error))
        if found.size is None or not found.etag:
            return Unknown("a state, says an answer without its headers")
        kind = getattr(found.blob_type, "value", found.blob_type)
        return BlobState(found.size, str(found.etag), kind == "AppendBlob" and not found.is_append_blob_sealed)

    def seal(self, blob: str, etag: str) -> SealOutcome:
        try:
            answer = self._container.get_blob_client(blob).seal_append_blob(
                etag=etag, match_condition=MatchConditions.IfNotModified
            )
            return Sealed() if answer.get("etag") else Unknown("sealed, says an answer without its headers")
        except _FAULTS as error:
            meaning = unless_leased(blob, self._judge(error))
        match meaning:
            case NotAppendable("sealed"):
                return Sealed()
            case Blocked() | Unknown():
                return meaning
            case _:
                return Conflict()

    def put_closed(self, blob: str, content: BinaryIO, size: int, content_type: str) -> PutClosedOutcome:
        """A block blob: one request, or blocks that count only with the last one, which carries the condition."""
        try:
            answer = self._container.get_blob_client(blob).upload_blob(
                content, length=size, content_settings=ContentSettings(content_type=content_type),
                metadata={"collectord": "1"}, overwrite=False,
            )  # fmt: skip
            return Created() if answer.get("etag") else Unknown("written, says an answer without its headers")
        except _FAULTS as error:
            meaning = self._judge(error)
        match meaning:
            case AlreadyExists() | WrongPosition() | NotAppendable():
                return AlreadyExists()
            case NoContainer() | Blocked() | Unknown():
                return meaning
            case _:
                return Unknown("an answer that does not belong to an upload")

    def remove(self, blob: str, etag: str) -> RemoveOutcome:
        """Where the account keeps what was removed (soft delete, versions), it keeps this too."""
        try:
            self._container.get_blob_client(blob).delete_blob(
                delete_snapshots="include", etag=etag, match_condition=MatchConditions.IfNotModified
            )
            return Removed()
        except _FAULTS as error:
            meaning = unless_leased(blob, self._judge(error))
        match meaning:
            case Absent() | NoContainer():
                return Removed()
            case Blocked() | Unknown():
                return meaning
            case _:
                # A condition on what is not there may be answered like one that does not hold.
                return Removed() if self.length(blob) is None else Conflict()

    def lock(self, name: str) -> LockOutcome:
        """A lease, which the service lets go when its holder has not renewed it for `LEASE_SECONDS`."""
        client = self._container.get_blob_client(name)
        try:
            with contextlib.suppress(ResourceExistsError):
                client.upload_blob(b"", overwrite=False)
            return _Lease(client.acquire_lease(LEASE_SECONDS))
        except _FAULTS as error:
            if isinstance(error, HttpResponseError) and code_of(error) == "LeaseAlreadyPresent":
                return None
            meaning = self._judge(error)
        return meaning if isinstance(meaning, Blocked | Unknown) else Unknown(f"{name}: {type(meaning).__name__}")

    def addresses(self, blob: str) -> dict[str, str]:
        found = {"https": f"{self._url}/{quote(blob, safe='/~')}"}
        account, dot, rest = urlsplit(self._url).netloc.partition(".blob.")
        if dot:
            container = self._container.container_name
            found["wasbs"] = f"wasbs://{container}@{account}.blob.{rest}/{blob}"
            found["abfss"] = f"abfss://{container}@{account}.dfs.{rest}/{blob}"
        return found

    def describe(self) -> str:
        return f"container {self._url}"

    def close(self) -> None:
        self._account.close()


class _Lease:
    """A lease and the thread that renews it."""

    def __init__(self, lease: Any) -> None:
        self._lease = lease
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        return not self._over.is_set() and time.monotonic() - self._renewed < LEASE_SECONDS * 0.75

    def release(self) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        # A lease that is not let go ends by itself.
        with contextlib.suppress(*_FAULTS):
            self._lease.release()

    def _keep(self) -> None:
        while not self._over.wait(LEASE_SECONDS / 5):
            asked = time.monotonic()
            # One that was not renewed shows in `held`; the next renewal may succeed.
            with contextlib.suppress(*_FAULTS):
                self._lease.renew()
                self._renewed = asked
