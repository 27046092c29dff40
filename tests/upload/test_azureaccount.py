"""Every kind of credential against the blob service, over https with an issuer of tokens; what is refused, mended, replaced."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time as clock
from typing import Any

import pytest
import trustme
from requests.adapters import HTTPAdapter

from collectord.errors import ConfigError
from collectord.testing.azurite import ACCOUNT, KEY, Azurite, running
from collectord.testing.tokens import CLIENT, TENANT, Issuer, issuing
from collectord.upload.azureaccount import seconds_of
from collectord.upload.azureblob import AzureBlob
from collectord.upload.secretfile import SecretFile
from collectord.upload.store import AlreadyExists, Appended, Blocked, Created, Unknown
from tests import sas
from tests.conftest import ROOT

WRONG_KEY = "AAAA" + KEY[4:]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A chain and its key for 127.0.0.1, and who vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    chain, key, trusted = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
    made.cert_chain_pems[0].write_to_path(str(chain))
    made.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    return chain, key, trusted


@pytest.fixture(scope="module")
def secure(certificate: tuple[Path, Path, Path]) -> Iterator[Azurite]:
    with running(ROOT, certificate=certificate[:2]) as service:
        yield service


@pytest.fixture
def issuer(certificate: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    """With the environment that AKS gives to a pod."""
    assertion = tmp_path / "federated"
    assertion.write_text("assertion-1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[2]))
    with issuing(certificate[:2]) as one:
        for name, value in {
            "AZURE_AUTHORITY_HOST": one.url, "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT,
            "AZURE_FEDERATED_TOKEN_FILE": str(assertion),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield one


@pytest.fixture
def managed(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """With the environment that App Service gives; nothing of AKS."""
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{issuer.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    return issuer


@pytest.fixture
def open_store(new_container: Callable[[], str], issuer: Issuer, secure: Azurite) -> Iterator[Callable[..., AzureBlob]]:
    made: list[AzureBlob] = []

    def make(container: str | None = None, **settings: Any) -> AzureBlob:
        if "connection_string" not in settings:
            settings = {"account_url": f"{secure.url}/{ACCOUNT}", **settings}
        made.append(AzureBlob(container or new_container(), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lands(store: AzureBlob) -> None:
    """Whatever it refused before, it takes two appends to a fresh blob now."""
    blob = f"{uuid.uuid4().hex}.csv"
    assert isinstance(store.create_container(), Created | AlreadyExists)
    assert store.create(blob, "text/csv", {}) == Created()
    assert store.append(blob, b"one", 0) == Appended(3, 1)
    assert store.append(blob, b"two", 3) == Appended(6, 2)
    assert store.length(blob) == 6


def refused(outcome: object, reason: str, *words: str) -> None:
    assert isinstance(outcome, Blocked), outcome
    assert outcome.reason == reason
    for word in words:
        assert word in outcome.detail, outcome


# ---------------------------------------------------------------------- each kind


@pytest.mark.parametrize("credential", ["workload", "default"])
def test_workload_identity(open_store: Callable[..., AzureBlob], issuer: Issuer, credential: str) -> None:
    lands(open_store(credential=credential))
    assert len(issuer.asked) == 1, "a token is asked for once, and remembered"
    assert issuer.asked[0]["client_assertion"] == "assertion-1"
    assert issuer.asked[0]["scope"] == "https://storage.azure.com/.default"
    assert issuer.asked[0]["path"].startswith(f"/{TENANT}/")


def test_a_token_is_refreshed_when_it_ends(open_store: Callable[..., AzureBlob], issuer: Issuer) -> None:
    issuer.lasts = 0
    lands(open_store(credential="workload"))
    assert len(issuer.asked) > 1


@pytest.mark.parametrize("credential", ["managed", "default"])
def test_managed_identity(
    open_store: Callable[..., AzureBlob], managed: Issuer, credential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the first kinds of the chain: the others ask tools of this machine.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "prod")
    lands(open_store(credential=credential, client_id=CLIENT))
    assert [(asked["path"], asked["client_id"]) for asked in managed.asked] == [("/msi/token", CLIENT)]


def test_a_client_id_and_a_tenant_count_before_the_environment(
    open_store: Callable[..., AzureBlob], issuer: Issuer
) -> None:
    lands(open_store(credential="workload", client_id="another", tenant_id="contoso.example"))
    assert issuer.asked[0]["client_id"] == "another"
    assert issuer.asked[0]["path"].startswith("/contoso.example/")


def test_a_sas_a_connection_string_and_an_account_key(
    open_store: Callable[..., AzureBlob], secure: Azurite, issuer: Issuer
) -> None:
    signed = f"BlobEndpoint={secure.url}/{ACCOUNT};SharedAccessSignature={sas.of_account()}"
    lands(open_store(sas_token=sas.of_account()))
    lands(open_store(sas_token=f"{secure.url}/?{sas.of_account()}"))
    lands(open_store(connection_string=secure.connection_string()))
    lands(open_store(connection_string=signed))
    lands(open_store(account_key=KEY))
    assert issuer.asked == []


@pytest.mark.parametrize("credential", ["workload", "default"])
def test_an_issuer_is_not_waited_for_longer_than_the_store(
    open_store: Callable[..., AzureBlob], issuer: Issuer, credential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-identity alone would wait for five minutes."""
    send, timeouts = HTTPAdapter.send, []

    def noted(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        if request.url.startswith(issuer.url):
            timeouts.append(options["timeout"])
        return send(adapter, request, **options)

    monkeypatch.setattr(HTTPAdapter, "send", noted)
    lands(open_store(credential=credential, connect_timeout=7.0, read_timeout=8.0))
    assert timeouts == [(7.0, 8.0)]


# ---------------------------------------------------------------------- refused, and mended


@pytest.mark.parametrize(
    "claims, words",
    [
        ({"exp": -60}, ("has expired", "NTP")),
        ({"nbf": 600}, ("not valid yet", "NTP")),
        ({"aud": "https://management.azure.com/"}, ("audience https://management.azure.com/", "storage.azure.com")),
        ({"iss": "https://issuer.example/"}, ("tenant_id",)),
    ],
)
def test_a_token_that_is_refused_names_its_remedy_and_is_thrown_away(
    open_store: Callable[..., AzureBlob], issuer: Issuer, claims: dict[str, object], words: tuple[str, ...]
) -> None:
    """Also where the answer has no body, as that to HEAD; azure-identity would keep the token for an hour."""
    store = open_store(credential="workload")
    issuer.claims = claims
    refused(store.create("x.csv", "text/csv", {}), "forbidden", "AuthenticationFailed", *words)
    refused(store.length("x.csv"), "forbidden", *words)
    token = issuer.token()
    assert token not in str(store.length("x.csv"))
    issuer.claims = {}
    lands(store)


def test_an_issuer_that_refuses_is_no_fault_of_the_rows_and_a_replaced_assertion_counts_at_once(
    open_store: Callable[..., AzureBlob], issuer: Issuer, tmp_path: Path
) -> None:
    """Its 400 is none of the store's, which would set rows aside."""
    issuer.refusal = (400, "AADSTS700024: Client assertion is not within its valid time range.")
    store = open_store(credential="workload")
    refused(store.append("x.csv", b"x", 0), "credential", "AADSTS700024", "system:serviceaccount:NAMESPACE:NAME")
    (tmp_path / "federated").write_text("assertion-2")
    issuer.refusal = None
    lands(store)
    assert issuer.asked[-1]["client_assertion"] == "assertion-2"
    assert "assertion" not in str(store.describe())


@pytest.mark.parametrize("credential", ["workload", "managed"])
def test_an_identity_that_is_not_there_names_what_to_set_and_is_found_later(
    open_store: Callable[..., AzureBlob],
    issuer: Issuer,
    credential: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assertion = tmp_path / "federated"
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{issuer.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    issuer.refusal = (400, "no identity")
    store = open_store(credential=credential)
    refused(store.length("x.csv"), "credential", "azure.workload.identity/use")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(assertion))
    issuer.refusal = None
    lands(store)


def test_an_issuer_that_is_down_is_unknown(open_store: Callable[..., AzureBlob], issuer: Issuer) -> None:
    issuer.refusal = (501, "azure-identity tries other codes again by itself, for seconds")
    assert isinstance(open_store(credential="workload").append("x.csv", b"x", 0), Unknown)
    assert issuer.asked


@pytest.mark.parametrize(
    "token, words",
    [
        (lambda: sas.of_account(ends=-1), ("the SAS ended at 20",)),
        (lambda: sas.of_account(starts=0.5), ("not valid before 20", "clock")),
        (lambda: sas.of_account().replace("sig=", "sig=AAAA"), ("signature is wrong",)),
    ],
)
def test_a_sas_that_is_refused_names_its_remedy_and_its_file_is_read_again(
    open_store: Callable[..., AzureBlob], tmp_path: Path, token: Callable[[], str], words: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """As a mounted secret is replaced: by a symbolic link that is swapped."""
    tokens = token(), sas.of_account()
    for name, content in (("old", tokens[0]), ("new", tokens[1] + "\n")):
        (tmp_path / name).write_text(content)
    link = tmp_path / "sas"
    link.symlink_to("old")
    store = open_store(sas_token=SecretFile("azure_sas_file", link))
    outcomes = [store.create("x.csv", "text/csv", {}), store.length("x.csv"), store.create_container()]
    for outcome in outcomes:
        refused(outcome, "forbidden", *words, f"replace the content of {link}")
    swap = tmp_path / "swap"
    swap.symlink_to("new")
    swap.replace(link)
    with caplog.at_level(logging.INFO):
        lands(store)
    assert "a credential was replaced" in caplog.text
    for text in (*map(str, outcomes), caplog.text, store.describe()):
        assert not any(sas.signature(one) in text for one in tokens)


def test_a_key_and_a_connection_string_in_files_are_read_again(
    open_store: Callable[..., AzureBlob], secure: Azurite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Content that makes no address, or names another account, does not count; it is said without being shown."""
    file = tmp_path / "key"
    file.write_text(WRONG_KEY)
    store = open_store(account_key=SecretFile("azure_account_key_file", file))
    refused(store.length("x"), "forbidden", str(file))
    file.write_text(KEY)
    lands(store)
    for broken in ("", "no base64"):
        file.write_text(broken)
        lands(store)

    file = tmp_path / "string"
    file.write_text(secure.connection_string())
    store = open_store(connection_string=SecretFile("azure_connection_string_file", file))
    lands(store)
    for broken in (
        "",
        "gibberish",
        secure.connection_string(port=1),
        secure.connection_string().replace(KEY, KEY[:-1]),
    ):
        file.write_text(broken)
        lands(store)
    said = [str(vars(record)) for record in caplog.records if record.name == "collectord.upload"]
    assert any("names another account" in one for one in said)
    assert KEY not in str(said) and "gibberish" not in str(said)
    file.write_text(secure.connection_string().replace(KEY, WRONG_KEY))
    refused(store.length("x"), "forbidden", str(file))


def test_whether_a_sas_is_over_is_told_by_the_services_clock_and_a_key_is_refused_by_ours(
    open_store: Callable[..., AzureBlob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock two hours ahead must not make a SAS look over that is not; a request signed with a key bears our time."""
    wrong = open_store(sas_token=sas.of_account().replace("sig=", "sig=AAAA")), open_store(account_key=WRONG_KEY)
    monkeypatch.setattr("collectord.upload.azureaccount.time", lambda: clock() + 7200)
    refused(wrong[0].length("x"), "forbidden", "signature is wrong")
    refused(wrong[1].length("x"), "forbidden", "s ahead of the service's", "NTP")
    monkeypatch.setattr("collectord.upload.azureaccount.time", clock)
    refused(wrong[1].length("x"), "forbidden", "account key is wrong")


def test_a_container_that_a_sas_cannot_create_is_said(
    open_store: Callable[..., AzureBlob], secure: Azurite, new_container: Callable[[], str]
) -> None:
    container = new_container()
    refused(
        open_store(container, sas_token=sas.of_container(container)).create_container(),
        "forbidden",
        "create the container by hand",
    )


def test_a_sas_without_a_right_says_which_it_has(
    open_store: Callable[..., AzureBlob], secure: Azurite, new_container: Callable[[], str], certificate: Any
) -> None:
    container = new_container()
    lands(open_store(container, account_key=KEY))
    refused(
        open_store(container, sas_token=sas.of_container(container, "rl")).create("x.csv", "text/csv", {}),
        "forbidden",
        "sp=rl",
        "racwl",
    )


@pytest.mark.parametrize(
    "text", ["https://a/c?", "no base64!", "AccountName=a;AccountKey=AAAA;EndpointSuffix=b.example"]
)
def test_a_sas_that_is_none_is_never_taken_for_an_identity_or_a_key_or_sent_to_the_service(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^azure_sas: ") as error:
        AzureBlob("modeldata", account_url="https://a.blob.core.windows.net", sas_token=text)
    assert text not in str(error.value)


def test_a_key_that_is_none_stops_the_start_and_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="azure_account_key") as error:
        AzureBlob("modeldata", account_url="https://a.blob.core.windows.net", account_key="no base64!")
    assert "no base64!" not in str(error.value)


@pytest.mark.parametrize("key", ["no base64!", KEY[:21], KEY[:-1]])
def test_a_key_that_is_cut_in_a_connection_string_stops_the_start_and_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^azure_connection_string: ") as error:
        AzureBlob("modeldata", connection_string=f"AccountName=a;AccountKey={key};EndpointSuffix=core.windows.net")
    assert key not in str(error.value)


def test_a_newline_behind_a_secret_is_none_of_it(secure: Azurite, open_store: Callable[..., AzureBlob]) -> None:
    """As a variable of the environment has it that was made with `echo`."""
    lands(open_store(connection_string=f"{secure.connection_string()}\n"))
    lands(open_store(account_key=f"{KEY}\n"))
    lands(open_store(sas_token=f"{sas.of_account()}\n"))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Sun, 22 Nov 2026 01:00:00 GMT", 1795309200.0),
        (None, None),
        ("soon", None),
        ("Thu, 01 Jan 2020 00:00:00 +99999999999999", None),
        (f"Thu, 01 Jan {'9' * 400} 00:00:00 GMT", None),
    ],
)
def test_the_time_of_an_answer_is_taken_or_none_is(said: str | None, seconds: float | None) -> None:
    """An answer that carries nonsense there is still the answer: what it says of the blob counts."""
    assert seconds_of(said) == seconds
