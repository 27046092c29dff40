"""What a person should do about a refusal of Azure: pure, and one table, which docs/operations.md shows too.

A refusal says little: a HEAD has no body, and one code stands for many faults. So what we know of the credential without
its secret counts as well: the times and rights in a SAS, the claims of a token, the service's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal
from urllib.parse import parse_qs

Kind = Literal["identity", "sas", "key"]
MAX_SKEW = 300.0
"""Seconds that the clock may be off: tokens are refused from here on, requests signed with a key from 15 minutes."""
AUDIENCES = ("https://storage.azure.com", ".blob.core.", "e406a681-f3d4-42a8-90b6-c2b029497af1")
AUTHENTICATION = ("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that says no, and what is known of the credential that was used."""

    kind: Kind
    code: str
    """The service's, the AADSTS number of a token that was refused, or `NoToken`."""
    mend: str
    """How this credential is replaced, as an imperative."""
    now: float = 0.0
    """The service's clock where it told it, else ours; seconds since 1970."""
    skew: float = 0.0
    """Seconds that our clock is ahead of the service's."""
    detail: str = ""
    """What the service said beside the code. Only looked at: it may quote anything."""
    sas: Mapping[str, str] = field(default_factory=dict)
    """Its fields but for the signature."""
    claims: Mapping[str, object] = field(default_factory=dict)
    """Of the token: `aud`, `nbf`, `exp`."""
    creating: bool = False
    """It was the container that should have been created."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One line of the table. The first one that holds counts."""

    when: str
    """The symptom, for people."""
    holds: Callable[[Refusal], bool]
    says: str
    """What to do; `{mend}`, `{skew}`, `{st}`, `{se}`, `{sp}` and `{aud}` are filled in."""


def _code(*codes: str, kinds: tuple[Kind, ...] = ("identity", "sas", "key")) -> Callable[[Refusal], bool]:
    return lambda refusal: refusal.code in codes and refusal.kind in kinds


def _detail(word: str) -> Callable[[Refusal], bool]:
    return lambda refusal: (
        refusal.kind == "identity" and refusal.code in AUTHENTICATION and word in refusal.detail.lower()
    )


def _sas_over(refusal: Refusal) -> bool:
    end = moment(refusal.sas.get("se"))
    return end is not None and end <= refusal.now


def _sas_early(refusal: Refusal) -> bool:
    start = moment(refusal.sas.get("st"))
    return start is not None and start > refusal.now


def _claim(refusal: Refusal, name: str) -> float | None:
    value = refusal.claims.get(name)
    return float(value) if isinstance(value, int | float) and refusal.code in AUTHENTICATION else None


def _token_over(refusal: Refusal) -> bool:
    end = _claim(refusal, "exp")
    return end is not None and end <= refusal.now


def _token_early(refusal: Refusal) -> bool:
    start = _claim(refusal, "nbf")
    return start is not None and start > refusal.now


def _wrong_audience(refusal: Refusal) -> bool:
    audience = refusal.claims.get("aud")
    return (
        isinstance(audience, str)
        and refusal.code in AUTHENTICATION
        and not any(known in audience for known in AUDIENCES)
    )


def _container_forbidden(refusal: Refusal) -> bool:
    """A SAS with `sr` is one of a container or a blob, whatever its rights."""
    return refusal.creating and (
        refusal.code == "AuthorizationPermissionMismatch"
        or ("sr" in refusal.sas and refusal.code.startswith("Authorization"))
    )


def _skewed(refusal: Refusal) -> bool:
    signed = refusal.kind == "key" and refusal.code in (*AUTHENTICATION, "AuthorizationFailure")
    named = refusal.kind == "identity" and refusal.code in AUTHENTICATION
    return abs(refusal.skew) > MAX_SKEW and (signed or named)


ROLE = "Storage Blob Data Contributor"
_AUDIENCE = (
    "the token is for another service (audience {aud}): the application that issues it must ask for "
    "https://storage.azure.com; is azure_account_url a blob service, and AZURE_AUTHORITY_HOST of its cloud?"
)
_ISSUER = "the token comes from another tenant than the account's: set tenant_id to the account's tenant"
_EXPIRED = "the token has expired: a fresh one is asked for at the next attempt; if it stays, is this machine's clock right (NTP)?"
_EARLY = "the token is not valid yet: synchronize this machine's clock (NTP)"

REMEDIES = (
    Remedy(
        "a SAS whose `se` is over", _sas_over, "the SAS ended at {se}: make another one, and {mend}"
    ),
    Remedy(
        "a SAS whose `st` is to come",
        _sas_early,
        "the SAS is not valid before {st}: the clock of who made it is ahead, or it is for later; make it without st, and {mend}",
    ),
    Remedy(
        "this machine's clock is off by more than 5 minutes",
        _skewed,
        "this machine's clock is {skew} the service's: synchronize it (NTP)",
    ),
    Remedy(
        "the container is absent, and the credential may not create it",
        _container_forbidden,
        "create the container by hand: a SAS of a container or a role on a container does not allow it",
    ),
    Remedy(
        "`AuthorizationPermissionMismatch` with an identity",
        _code("AuthorizationPermissionMismatch", kinds=("identity",)),
        f"assign the role {ROLE} on the container to the identity; it takes up to ten minutes until it counts",
    ),
    Remedy(
        "`AuthorizationPermissionMismatch` with a SAS",
        _code("AuthorizationPermissionMismatch", kinds=("sas",)),
        "the SAS has the rights sp={sp}, and racwl are needed: make another one, and {mend}",
    ),
    Remedy(
        "`AuthorizationResourceTypeMismatch`, `AuthorizationServiceMismatch`",
        _code("AuthorizationResourceTypeMismatch", "AuthorizationServiceMismatch"),
        "the account SAS is for other services or levels: make it with ss=b and srt=co, and {mend}",
    ),
    Remedy(
        "`AuthorizationProtocolMismatch`",
        _code("AuthorizationProtocolMismatch"),
        "the SAS is for https alone: set azure_account_url to https://",
    ),
    Remedy(
        "`AuthorizationSourceIPMismatch`",
        _code("AuthorizationSourceIPMismatch"),
        "the SAS is for other addresses (sip) than this machine's: make another one, and {mend}",
    ),
    Remedy(
        "`AuthorizationFailure`",
        _code("AuthorizationFailure"),
        "the account's firewall or private endpoint keeps this machine out, or the signature is wrong: allow this network; "
        "if it is allowed, {mend}",
    ),
    Remedy(
        "`KeyBasedAuthenticationNotPermitted`",
        _code("KeyBasedAuthenticationNotPermitted"),
        "the account takes no keys, and no SAS signed with one: use workload identity or a managed identity, or a user "
        "delegation SAS",
    ),
    Remedy(
        "`AccountIsDisabled`",
        _code("AccountIsDisabled"),
        "the storage account is disabled: its owner must enable it, or pay for its subscription",
    ),
    Remedy(
        "`InsufficientAccountPermissions`",
        _code("InsufficientAccountPermissions"),
        "the account may not be written at the moment: its owner must lift that",
    ),
    Remedy("a token for another audience, or so it is said", lambda r: _wrong_audience(r) or _detail("audience")(r), _AUDIENCE),
    Remedy("a token of another tenant (issuer)", _detail("issuer"), _ISSUER),
    Remedy("a token that has expired", lambda r: _token_over(r) or _detail("expired")(r), _EXPIRED),
    Remedy("a token that is not valid yet", lambda r: _token_early(r) or _detail("lifetime")(r), _EARLY),
    Remedy(
        "`AuthenticationFailed` with an identity, and nothing else known",
        _code(*AUTHENTICATION, kinds=("identity",)),
        "the token was refused: is tenant_id the account's tenant, azure_account_url a blob service over https, the clock right? "
        "A fresh token is asked for at the next attempt",
    ),
    Remedy(
        "`AuthenticationFailed` with a SAS in its time",
        _code(*AUTHENTICATION, kinds=("sas",)),
        "the SAS was revoked, cut or is of another container: its key or access policy may have been replaced; make another "
        "one, and {mend}",
    ),
    Remedy(
        "`AuthenticationFailed` with an account key",
        _code(*AUTHENTICATION, kinds=("key",)),
        "the account key is wrong, or has been replaced: {mend}",
    ),
    Remedy(
        "no token: AADSTS700024, 700021, 70021, 700211, 700212, 700213 (the service account's token)",
        _code(*(f"AADSTS{number}" for number in (700024, 700021, 70021, 700211, 700212, 700213))),
        "Microsoft Entra does not take the pod's token: its federated credential must name this cluster's issuer, "
        "system:serviceaccount:NAMESPACE:NAME and the audience api://AzureADTokenExchange, and the token must not have expired",
    ),
    Remedy(
        "no token: AADSTS700016, 90002, 900023 (application or tenant)",
        _code("AADSTS700016", "AADSTS90002", "AADSTS900023"),
        "the application is not known in that tenant: check azure_client_id (AZURE_CLIENT_ID) and tenant_id (AZURE_TENANT_ID)",
    ),
    Remedy(
        "no token: AADSTS7000215, 7000222 (a client's secret)",
        _code("AADSTS7000215", "AADSTS7000222"),
        "the application's secret is wrong or has expired: make another one and set AZURE_CLIENT_SECRET, or use workload identity",
    ),
    Remedy(
        "no token, for whatever other reason",
        _code("NoToken"),
        "no identity gives a token: on AKS label the pod azure.workload.identity/use: \"true\" and annotate its service account; on a "
        "VM assign an identity; azure_credential says which is meant",
    ),
)  # fmt: skip


def remedy(refusal: Refusal) -> str:
    """What to do, without a secret; empty if the table does not know."""
    for one in REMEDIES:
        if one.holds(refusal):
            aud = refusal.claims.get("aud", "unknown")
            direction = "ahead of" if refusal.skew > 0 else "behind"
            return one.says.format(
                mend=refusal.mend, skew=f"{abs(refusal.skew):,.0f} s {direction}", aud=str(aud)[:80],
                **{name: refusal.sas.get(name, "?")[:40] for name in ("st", "se", "sp")},
            )  # fmt: skip
    return ""


def sas_fields(token: str) -> dict[str, str]:
    """Those of a SAS that are no secret."""
    named = ("sv", "st", "se", "sp", "sr", "ss", "srt", "si", "spr")
    return {name: values[0] for name, values in parse_qs(token.rpartition("?")[2]).items() if name in named}


def moment(text: str | None) -> float | None:
    """Seconds since 1970 of a time in a SAS, which is in UTC; None if it is none."""
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
