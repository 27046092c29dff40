"""What only a blob service does: codes, seals, leases, limits, cut answers, secrets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.storage.blob import BlobServiceClient

from collectord.errors import CallHuman, ConfigError, TryAgain
from collectord.testing.azurite import ACCOUNT, KEY, Azurite
from collectord.testing.proxy import FaultProxy, receive
from collectord.upload.azureanswers import OUTCOMES, judge, redact
from collectord.upload.azureblob import AzureBlob
from collectord.upload.documents import Document, Written
from collectord.upload.rewriting import BlobState, Sealed
from collectord.upload.store import (
    Absent,
    AlreadyExists,
    Appended,
    Blocked,
    Created,
    NoContainer,
    NotAppendable,
    Unknown,
    WrongPosition,
)
from tests import sas

NAME = "a/data.csv"
DOCUMENT = "_collectord/a.json"


@pytest.fixture
def container(azurite: Azurite, new_container: Callable[[], str]) -> Any:
    """The SDK's own client of a fresh container that has one empty append blob."""
    service = BlobServiceClient.from_connection_string(azurite.connection_string())
    client = service.create_container(new_container())
    client.get_blob_client(NAME).create_append_blob()
    return client


@pytest.fixture
def store(azurite: Azurite, container: Any) -> Iterator[AzureBlob]:
    store = AzureBlob(container.container_name, connection_string=azurite.connection_string())
    yield store
    store.close()


# ---------------------------------------------------------------------- what the service answers


def test_a_sealed_blob_takes_no_append(store: AzureBlob, container: Any) -> None:
    container.get_blob_client(NAME).seal_append_blob()
    assert store.append(NAME, b"x", 0) == NotAppendable("sealed")


def test_a_leased_blob_refuses_by_its_condition_and_can_be_read(store: AzureBlob, container: Any) -> None:
    store.append(NAME, b"one", 0)
    container.get_blob_client(NAME).acquire_lease()
    assert store.append(NAME, b"two", 3) == WrongPosition("412 LeaseIdMissing")
    assert store.length(NAME) == 3
    assert store.read(NAME, 0, 9) == b"one"
    assert store.create(NAME, "text/csv", {}) == AlreadyExists()


def test_a_leased_document_is_blocked_and_no_conflict(store: AzureBlob, container: Any) -> None:
    """Whoever meets a conflict reads the tag again and writes at once: with a lease, for ever."""
    written = store.put_document(DOCUMENT, b"{}", None)
    assert isinstance(written, Written)
    lease = container.get_blob_client(DOCUMENT).acquire_lease()
    refused = store.put_document(DOCUMENT, b"{ }", written.etag)
    assert isinstance(refused, Blocked) and refused.reason == "leased" and DOCUMENT in refused.detail
    assert store.get_document(DOCUMENT) == Document(b"{}", written.etag)
    lease.release()
    assert isinstance(store.put_document(DOCUMENT, b"{ }", written.etag), Written)


def test_a_leased_blob_is_neither_sealed_nor_removed_and_says_why(store: AzureBlob, container: Any) -> None:
    state = store.state(NAME)
    assert isinstance(state, BlobState)
    lease = container.get_blob_client(NAME).acquire_lease()
    for refused in (store.seal(NAME, state.etag), store.remove(NAME, state.etag)):
        assert isinstance(refused, Blocked) and refused.reason == "leased" and NAME in refused.detail
    lease.release()
    assert store.seal(NAME, state.etag) == Sealed()


def test_a_document_that_somebody_has_emptied_is_read_as_empty(store: AzureBlob, container: Any) -> None:
    etag = container.get_blob_client(DOCUMENT).upload_blob(b"")["etag"]
    assert store.get_document(DOCUMENT) == Document(b"", etag)


def test_every_append_tells_how_many_there_were(store: AzureBlob) -> None:
    assert store.append(NAME, b"one", 0) == Appended(3, 1)
    assert store.append(NAME, b"two", 3) == Appended(6, 2)


def test_content_type_and_metadata_are_kept_and_listed(store: AzureBlob, container: Any) -> None:
    store.create("b.csv.zst", "application/zstd", {"collectord": "1"})
    properties = container.get_blob_client("b.csv.zst").get_blob_properties()
    assert properties.content_settings.content_type == "application/zstd"
    assert properties.content_settings.content_encoding is None
    assert [dict(blob.metadata) for blob in store.list("b")] == [{"collectord": "1"}]


@pytest.mark.parametrize("permission", ["racw", "rac"])
def test_a_container_sas_is_enough_for_the_recipe(azurite: Azurite, container: Any, permission: str) -> None:
    store = AzureBlob(
        container.container_name,
        account_url=f"{azurite.url}/{ACCOUNT}",
        sas_token=sas.of_container(container.container_name, permission),
    )
    assert store.append("n.csv", b"x", 0) == Absent()
    assert store.create("n.csv", "text/csv", {}) == Created()
    assert store.append("n.csv", b"x", 0) == Appended(1, 1)
    assert store.append("n.csv", b"x", 0) == WrongPosition("412 AppendPositionConditionNotMet")
    assert store.length("n.csv") == 1
    assert store.read("n.csv", 0, 1) == b"x"


def test_a_sas_may_stand_in_the_url(azurite: Azurite, container: Any) -> None:
    store = AzureBlob(
        container.container_name,
        account_url=f"{azurite.url}/{ACCOUNT}?{sas.of_container(container.container_name, 'ra')}",
    )
    assert store.append(NAME, b"x", 0) == Appended(1, 1)
    assert "sig" not in store.describe() and "sig" not in str(store.addresses(NAME))


def test_what_a_sas_does_not_allow_is_blocked_and_the_signature_shown_nowhere(azurite: Azurite, container: Any) -> None:
    token = sas.of_container(container.container_name, "r")
    store = AzureBlob(container.container_name, account_url=f"{azurite.url}/{ACCOUNT}", sas_token="?" + token)
    refused = [store.append(NAME, b"x", 0), store.create("n.csv", "text/csv", {}), store.create_container()]
    for outcome in refused:
        assert isinstance(outcome, Blocked) and outcome.reason == "forbidden"
    with pytest.raises(CallHuman) as caught:
        list(store.list(""))
    for text in (*map(str, refused), str(caught.value), store.describe()):
        assert sas.signature(token) not in text


def test_a_wrong_key_is_blocked(container: Any, azurite: Azurite) -> None:
    wrong = azurite.connection_string().replace(KEY, "AAAA" + KEY[4:])
    store = AzureBlob(container.container_name, connection_string=wrong)
    refused = store.append(NAME, b"x", 0)
    assert isinstance(refused, Blocked) and refused.reason == "forbidden"
    assert refused.detail.startswith("403 AuthorizationFailure: ") and "azure_connection_string" in refused.detail
    assert isinstance(store.length(NAME), Blocked)


# ---------------------------------------------------------------------- the table


class Answer:
    """As much of an HTTP answer as an exception of the SDK carries."""

    def __init__(self, status: int, code: str | None, **headers: str) -> None:
        self.status_code, self.reason = status, "reason"
        self.headers = {**({"x-ms-error-code": code} if code else {}), **headers}


def refusal(status: int, code: str | None, **headers: str) -> HttpResponseError:
    return HttpResponseError(message="secret text", response=cast(Any, Answer(status, code, **headers)))


@pytest.mark.parametrize("status, code", list(OUTCOMES))
def test_every_line_of_the_table_is_obeyed(status: int, code: str | None) -> None:
    meaning = judge(refusal(status, code))
    expected = OUTCOMES[status, code]
    if isinstance(expected, str):
        assert meaning == Blocked(expected, f"{status} {code or 'without a code'}")
    elif isinstance(expected, NotAppendable):
        assert meaning == expected
    else:
        assert isinstance(meaning, expected)


@pytest.mark.parametrize(
    "status, code",
    [
        (404, None), (404, "Whatever"), (408, None), (409, None), (409, "ContainerBeingDeleted"), (409, "AccountBeingCreated"),
        (429, None), (500, "InternalError"), (500, "OperationTimedOut"), (502, None), (503, "ServerBusy"), (504, None),
        (200, None), (302, None), (416, "InvalidRange"),
    ],
)  # fmt: skip
def test_what_the_table_does_not_know_is_unknown(status: int, code: str | None) -> None:
    assert isinstance(judge(refusal(status, code)), Unknown)


@pytest.mark.parametrize("code", ["AppendPositionConditionNotMet", "LeaseIdMissing", "ConditionNotMet", None])
def test_412_is_a_condition_whatever_its_code(code: str | None) -> None:
    assert isinstance(judge(refusal(412, code)), WrongPosition)


@pytest.mark.parametrize("value, seconds", [("7", 7.0), ("0.5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_retry_after_is_read_in_seconds(value: str, seconds: float | None) -> None:
    assert judge(refusal(503, "ServerBusy", **{"Retry-After": value})) == Unknown("503 ServerBusy", seconds)
    assert judge(refusal(503, "ServerBusy", **{"x-ms-retry-after-ms": "1500"})) == Unknown("503 ServerBusy", 1.5)


def test_an_identity_that_cannot_be_had_is_blocked_but_no_answer_is_unknown() -> None:
    assert isinstance(judge(ClientAuthenticationError("no identity")), Blocked)
    assert isinstance(judge(ServiceRequestError("refused")), Unknown)
    assert isinstance(judge(ValueError("Required Content-Range response header is missing")), Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "Max retries exceeded with url: /c/b?comp=appendblock&sig=SECRET%3D (Caused by …)",
        "GET https://a.blob.core.windows.net/c?sv=1&sig=SECRET%3D failed",
        "AccountKey=SECRET==;x",
        "SharedAccessSignature=sv=1&sig=SECRET",
        "Authorization: SECRET",
        "Authorization: Bearer SECRET",
        "Unexpected response: {'token_type': 'Bearer', 'access_token': 'SECRET'}",
        'AADSTS1: {"client_assertion": "SECRET"} and client_secret=SECRET',
        "the token eyJhbGciOiJub25lIn0.SECRET.x was refused",
    ],
)
def test_messages_are_free_of_secrets(text: str) -> None:
    assert "SECRET" not in redact(text)


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "settings, field",
    [
        ({}, "azure_connection_string"),
        ({"connection_string": "AccountKey=SECRET"}, "azure_connection_string"),
        ({"connection_string": "SECRET"}, "azure_connection_string"),
        ({"account_url": "https://?sig=SECRET"}, "azure_account_url"),
    ],
)
def test_settings_that_make_no_address_are_refused_without_being_shown(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        AzureBlob("modeldata", **settings)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_addresses_are_what_people_paste_elsewhere() -> None:
    store = AzureBlob("modeldata", account_url="https://acct.blob.core.windows.net", sas_token="sv=1&sig=SECRET")
    assert store.addresses("a b/50%25/ü.csv") == {
        "https": "https://acct.blob.core.windows.net/modeldata/a%20b/50%2525/%C3%BC.csv",
        "wasbs": "wasbs://modeldata@acct.blob.core.windows.net/a b/50%25/ü.csv",
        "abfss": "abfss://modeldata@acct.dfs.core.windows.net/a b/50%25/ü.csv",
    }
    assert store.describe() == "container https://acct.blob.core.windows.net/modeldata"
    store.close()


# ---------------------------------------------------------------------- the wire


def test_a_service_that_is_not_there_is_unknown(azurite: Azurite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = AzureBlob("c", connection_string=azurite.connection_string(port))
    for outcome in (store.append(NAME, b"x", 0), store.length(NAME), store.read(NAME, 0, 1), store.create_container()):
        assert isinstance(outcome, Unknown) and KEY not in outcome.detail
    with pytest.raises(TryAgain):
        list(store.list(""))


def test_every_request_is_sent_once(azurite: Azurite, container: Any) -> None:
    with FaultProxy(azurite.port, rate=1.0, faults=["drop"]) as proxy:
        store = AzureBlob(container.container_name, connection_string=azurite.connection_string(proxy.port))
        assert isinstance(store.append(NAME, b"x", 0), Unknown)
        assert proxy.counts() == {"requests": 1, "drop": 1}
        store.close()
    assert container.get_blob_client(NAME).get_blob_properties().size == 1


class CutServer:
    """Answers every request with the first `end` bytes of a recorded answer, then hangs up."""

    def __init__(self) -> None:
        self.answer, self.end = b"", 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                request = receive(client)
                if request is None or request.start()[0] == "QUIT":
                    return
                client.sendall(self.answer[: self.end])

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(b"QUIT / HTTP/1.1\r\n\r\n")
        self._thread.join()
        self._listener.close()


@pytest.fixture
def cut_server() -> Iterator[CutServer]:
    server = CutServer()
    yield server
    server.close()


HEADERS = b'x-ms-request-id: 1\r\nETag: "0x8D"\r\nLast-Modified: Sat, 21 Nov 2026 02:00:00 GMT\r\n'
ANSWERS = {
    "append": (
        b"HTTP/1.1 201 Created\r\n" + HEADERS + b"x-ms-blob-append-offset: 1234\r\n"
        b"x-ms-blob-committed-block-count: 56\r\nContent-Length: 0\r\n\r\n"
    ),
    "refused": (
        b"HTTP/1.1 412 The append position condition specified was not met.\r\n" + HEADERS
        + b"x-ms-error-code: AppendPositionConditionNotMet\r\nContent-Length: 0\r\n\r\n"
    ),
    "length": b"HTTP/1.1 200 OK\r\n" + HEADERS + b"x-ms-blob-type: AppendBlob\r\nContent-Length: 1234\r\n\r\n",
    "absent": b"HTTP/1.1 404 The specified blob does not exist.\r\n" + HEADERS + b"x-ms-error-code: BlobNotFound\r\n\r\n",
    "read": (
        b"HTTP/1.1 206 Partial Content\r\n" + HEADERS + b"x-ms-blob-type: AppendBlob\r\nContent-Length: 10\r\n"
        b"Content-Range: bytes 100-109/1234\r\n\r\n0123456789"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_an_answer_cut_anywhere_is_unknown_and_never_another_answer(
    azurite: Azurite, cut_server: CutServer, kind: str
) -> None:
    """A length cut within its digits would make a landed frame look as if it had not."""
    store = AzureBlob("c", connection_string=azurite.connection_string(cut_server.port), read_timeout=5.0)
    ask: dict[str, Callable[[], object]] = {
        "append": lambda: store.append(NAME, b"0123456789", 1234),
        "refused": lambda: store.append(NAME, b"0123456789", 1234),
        "length": lambda: store.length(NAME),
        "absent": lambda: store.append(NAME, b"0123456789", 1234),
        "read": lambda: store.read(NAME, 100, 10),
    }
    whole = {
        "append": Appended(1244, 56),
        "refused": WrongPosition("412 AppendPositionConditionNotMet"),
        "length": 1234,
        "absent": Absent(),
        "read": b"0123456789",
    }
    cut_server.answer = ANSWERS[kind]
    # The SDK asks for a body that ends early three times, a second apart: one such cut is enough.
    head = ANSWERS[kind].index(b"\r\n\r\n") + 4
    for end in sorted({*range(head), len(ANSWERS[kind]) - 1}):
        cut_server.end = end
        outcome = ask[kind]()
        assert isinstance(outcome, Unknown), f"cut after {ANSWERS[kind][:end]!r}: {outcome}"
    cut_server.end = len(ANSWERS[kind])
    assert ask[kind]() == whole[kind]
    store.close()


@pytest.mark.parametrize(
    "head, outcome",
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", Unknown),
        (b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n", WrongPosition),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Unknown),
        (b"HTTP/1.1 404 Not Found\r\nx-ms-error-code: ContainerNotFound\r\nContent-Length: 0\r\n\r\n", NoContainer),
    ],
)
def test_an_append_answered_without_the_headers_of_the_service(
    azurite: Azurite, cut_server: CutServer, head: bytes, outcome: type[object]
) -> None:
    """Something between us and the service may answer in its own words."""
    store = AzureBlob("c", connection_string=azurite.connection_string(cut_server.port))
    cut_server.answer, cut_server.end = head, len(head)
    assert isinstance(store.append(NAME, b"x", 0), outcome)
    store.close()


def test_tokens_are_asked_for_in_the_tenant_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By azure-identity itself, with a command line in place of Azure's that writes down what it was asked."""
    asked = tmp_path / "asked"
    tool = tmp_path / "az"
    tool.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n'
        'echo \'{"accessToken": "t", "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800, '
        '"tenant": "x", "subscription": "y", "tokenType": "Bearer"}\'\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    for tenant in ("contoso.example", None):
        store = AzureBlob(
            "modeldata", account_url="https://127.0.0.1:9", tenant_id=tenant, connect_timeout=1.0, read_timeout=1.0
        )
        assert isinstance(store.length("x"), Unknown), "nobody listens there"
        store.close()
    named, unnamed = asked.read_text().splitlines()
    assert "--tenant contoso.example" in named
    assert "--tenant" not in unnamed
