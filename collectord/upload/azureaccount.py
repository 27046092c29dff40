"""The way into an account of Azure: clients of a container, made again when the credential has changed.

In the order of advice: workload identity, managed identity, a SAS, a connection string, an account key. Files are looked at
before each request, tokens are refreshed by azure-identity, and one that the service refuses is thrown away, with
everything that azure-identity remembers: what was wrong may have been mended since.

Threads: any. A request that is under way keeps the client that it began with.
"""

from __future__ import annotations

import base64
import email.utils
import json
import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any, Literal
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobServiceClient, ContainerClient

from collectord.errors import ConfigError
from collectord.logs import event
from collectord.upload.remedies import AUTHENTICATION, Kind, Refusal, remedy, sas_fields
from collectord.upload.secretfile import Secret, SecretFile

IdentityKind = Literal["default", "workload", "managed"]

_log = logging.getLogger("collectord.upload")
_SAS = re.compile(r"(?i)(?:^|;)\s*SharedAccessSignature=([^;]*)")
_KEY = re.compile(r"(?i)(?:^|;)\s*AccountKey=([^;]*)")
_ENTRA = re.compile(r"AADSTS\d+")


class NoToken(AzureError):
    """No identity gave a token; nothing was sent to the store. Its text is azure-identity's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which identity asks for tokens, where no secret is set."""

    kind: IdentityKind = "default"
    tenant_id: str | None = None
    client_id: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0


class Account:
    """The clients of one container."""

    def __init__(
        self,
        container: str,
        *,
        connection_string: Secret,
        account_url: str | None,
        sas: Secret,
        account_key: Secret,
        identity: Identity,
        options: Mapping[str, Any],
    ) -> None:
        """`options`: of the SDK's clients. Raises `ConfigError`; sends nothing."""
        if not connection_string and not account_url:
            raise ConfigError(
                "azure_connection_string or azure_account_url: one of them must be set for an az:// store"
            )
        self._container = container
        self._url = (account_url or "").strip()
        self._identity = identity
        self._options = options
        self._lock = threading.Lock()
        self._refused = False
        self._token: _Token | None = None
        # The first one that is set counts.
        named: tuple[tuple[str, Secret], ...] = (
            ("azure_connection_string", connection_string),
            ("azure_account_key", account_key),
            ("azure_sas", sas),
        )
        self._secret: Secret
        self._setting, self._secret = next(((name, one) for name, one in named if one), ("", None))
        self._seen = self._made_of = self._read()
        try:
            self._service, self._client = self._make(self._made_of)
        except (ValueError, AttributeError):
            # Not chained, and without its text: either may quote the setting.
            of_url = not self._setting or (self._setting == "azure_sas" and "sig=" in self._made_of)
            field = "azure_account_url" if of_url else self._setting
            if isinstance(self._secret, SecretFile):
                field = self._secret.setting
            raise ConfigError(f"{field}: cannot be read (the value is not shown: it may hold a secret)") from None
        self.address = _address(self._client)
        """Of the container, without a SAS."""

    def client(self) -> ContainerClient:
        """With the credential as it is now."""
        secret = self._read()
        if secret == self._seen and not self._refused:
            return self._client
        with self._lock:
            # Again: somebody may have been here with a later one.
            secret = self._read()
            if secret == self._seen and not self._refused:
                return self._client
            replaced, self._seen, self._refused = secret != self._seen, secret, False
            try:
                service, client = self._make(secret)
                fault = "" if _address(client) == self.address else "it names another account, which needs a restart"
            except (ValueError, AttributeError):
                fault = "it cannot be read"
            if fault:
                event(_log, logging.ERROR, "a credential was replaced by one that does not count; the one before stays", setting=self._setting, why=fault)  # fmt: skip
                return self._client
            self._service, self._client, self._made_of = service, client, secret
            if replaced:
                event(_log, logging.INFO, "a credential was replaced", setting=self._setting)
            return client

    def advice(self, error: Exception, code: str | None, creating: bool = False) -> str:
        """What to do about a refusal, for people; empty if nothing is known. It may be wrong only in what it advises."""
        kind, public = self._known()
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        ours = time()
        theirs = seconds_of(headers.get("Date")) or ours
        info = getattr(error, "additional_info", None) or {}
        if isinstance(error, NoToken):
            found = _ENTRA.search(str(error))
            code = found[0] if found else "NoToken"
            self._refused = True
        elif kind == "identity" and code in AUTHENTICATION:
            self._refused = True
        token = self._token
        refusal = Refusal(
            kind, code or "", self._mend(), theirs, ours - theirs, str(info.get("authenticationerrordetail", "")),
            sas=public, claims=token.claims if token else {}, creating=creating,
        )  # fmt: skip
        advice = remedy(refusal)
        # A code of Microsoft Entra that the table has no line for.
        if not advice and isinstance(error, NoToken):
            advice = f"see https://login.microsoftonline.com/error?code={refusal.code.removeprefix('AADSTS')}"
        return advice

    def close(self) -> None:
        self._service.close()
        if self._token is not None:
            self._token.close()

    def _read(self) -> str:
        # Without the newline that `echo` and editors put behind it.
        return self._secret.read() if isinstance(self._secret, SecretFile) else (self._secret or "").strip()

    def _mend(self) -> str:
        if isinstance(self._secret, SecretFile):
            return f"replace the content of {self._secret.path}, which needs no restart"
        setting = self._setting or "azure_account_url"
        return f"replace {setting} and restart; {self._setting or 'azure_sas'}_file would need no restart"

    def _known(self) -> tuple[Kind, Mapping[str, str]]:
        """What kind of credential it is, and the fields of a SAS that are no secret."""
        match self._setting:
            case "azure_connection_string":
                signed = _SAS.search(self._made_of)
                return ("sas", sas_fields(signed[1])) if signed else ("key", {})
            case "azure_account_key":
                return "key", {}
            case "azure_sas":
                return "sas", sas_fields(self._made_of)
        return ("sas", sas_fields(urlsplit(self._url).query)) if self._signed_url else ("identity", {})

    @property
    def _signed_url(self) -> bool:
        return "sig=" in urlsplit(self._url).query

    def _make(self, secret: str) -> tuple[BlobServiceClient, ContainerClient]:
        if self._setting == "azure_connection_string":
            if signed := _KEY.search(secret):
                # The SDK looks at it only when it signs, and then says nothing of the setting.
                base64.b64decode(signed[1].strip(), validate=True)
            service = BlobServiceClient.from_connection_string(secret, **self._options)
        else:
            # Of a SAS people paste the whole address, too.
            credential: Any = secret.rpartition("?")[2] or None
            if credential is not None and self._setting == "azure_account_key":
                base64.b64decode(credential, validate=True)
                # A string may stand for a key or a SAS: the SDK guesses by its look.
                credential = {"account_name": _account_name(self._url), "account_key": credential}
            elif self._setting and "sig=" not in (credential or ""):
                # The SDK would take it for a key, or put it into the address of each request, whatever it is.
                raise ValueError("no SAS, or an address without one behind it")
            elif credential is None and not self._signed_url:
                credential = self._token = _Token(self._identity)
            service = BlobServiceClient(self._url, credential=credential, **self._options)
        return service, service.get_container_client(self._container)


class _Token:
    """A credential that gives tokens, and remembers what the last one said of itself."""

    def __init__(self, identity: Identity) -> None:
        self._tenant = {"tenant_id": identity.tenant_id} if identity.tenant_id else {}
        self._identity = identity
        self._made: Any = None
        self._lock = threading.Lock()
        self.claims: Mapping[str, object] = {}

    def get_token(self, *scopes: str, **options: Any) -> Any:
        return self._remember(lambda made: made.get_token(*scopes, **{**options, **self._tenant}))

    def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> Any:
        return self._remember(lambda made: made.get_token_info(*scopes, options={**(options or {}), **self._tenant}))

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _remember(self, ask: Any) -> Any:
        try:
            with self._lock:
                # Not before: what it needs of the environment may be missing, which is no reason not to start.
                self._made = self._made or _credential(self._identity)
            token = ask(self._made)
        except (ClientAuthenticationError, ValueError, OSError) as error:
            # The issuer's answer has a status too, which says nothing about our request to the store.
            status = getattr(error, "status_code", None)
            if isinstance(error, HttpResponseError) and status is not None and (status == 429 or status >= 500):
                raise AzureError(f"no token: the issuer answers {status}") from None
            raise NoToken(f"{type(error).__name__}: {error}") from None
        self.claims = _claims(token.token)
        return token


def _credential(identity: Identity) -> Any:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    tenant = identity.tenant_id
    # By itself it waits for five minutes, and would hold up a daemon that stops.
    given: dict[str, Any] = {"connection_timeout": identity.connect_timeout, "read_timeout": identity.read_timeout}
    match identity.kind:
        case "workload":
            return WorkloadIdentityCredential(tenant_id=tenant, client_id=identity.client_id, **given)
        case "managed":
            return ManagedIdentityCredential(client_id=identity.client_id, **given)
    if tenant:
        names = ("workload_identity", "shared_cache", "broker", "visual_studio_code", "interactive_browser")
        given |= {"additionally_allowed_tenants": [tenant], **{f"{name}_tenant_id": tenant for name in names}}
    if identity.client_id:
        given |= {f"{name}_client_id": identity.client_id for name in ("workload_identity", "managed_identity")}
    return DefaultAzureCredential(**given)


def _claims(token: str) -> Mapping[str, object]:
    """What a token says of its time and audience, unverified; nothing of a token that is not a JWT."""
    try:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return {name: found[name] for name in ("aud", "nbf", "exp") if name in found} if isinstance(found, dict) else {}


def _account_name(url: str) -> str:
    """The first label of the host, or of the path where the host is an address, as an emulator's is."""
    parts = urlsplit(url)
    label, dot, _ = (parts.hostname or "").partition(".blob.")
    return label if dot else parts.path.strip("/").partition("/")[0] or label.partition(".")[0]


def _address(client: ContainerClient) -> str:
    parts = urlsplit(client.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def seconds_of(date: str | None) -> float | None:
    """Seconds since 1970 of a header `Date`; None if there is none, or no date."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None
