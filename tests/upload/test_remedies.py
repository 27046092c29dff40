"""What to do about a refusal: each line of the table is reached, in its order, and says what it should."""

from __future__ import annotations

from typing import Any

import pytest

from collectord.upload.remedies import REMEDIES, Kind, Refusal, moment, remedy, sas_fields

NOW = 1_800_000_000.0  # 2027-01-15
OVER, TO_COME = "2026-12-31T23:00:00Z", "2027-02-01"

CASES: list[tuple[Kind, str, dict[str, Any], str]] = [
    ("sas", "AuthenticationFailed", {"sas": {"se": OVER}}, "the SAS ended at 2026-12-31T23:00:00Z"),
    ("sas", "AuthorizationFailure", {"sas": {"se": OVER}, "creating": True}, "the SAS ended"),
    ("sas", "AuthenticationFailed", {"sas": {"st": TO_COME, "se": "2099-01-01"}}, "not valid before 2027-02-01"),
    ("key", "AuthenticationFailed", {"skew": -1200.0}, "1,200 s behind the service's"),
    ("identity", "InvalidAuthenticationInfo", {"skew": 400.0}, "400 s ahead of the service's"),
    ("sas", "AuthorizationFailure", {"sas": {"sr": "c"}, "creating": True}, "create the container by hand"),
    ("identity", "AuthorizationPermissionMismatch", {"creating": True}, "create the container by hand"),
    ("identity", "AuthorizationPermissionMismatch", {}, "Storage Blob Data Contributor"),
    ("sas", "AuthorizationPermissionMismatch", {"sas": {"sp": "r"}}, "sp=r, and racwl are needed"),
    ("sas", "AuthorizationResourceTypeMismatch", {"sas": {"srt": "c"}, "creating": True}, "srt=co"),
    ("sas", "AuthorizationProtocolMismatch", {}, "https"),
    ("sas", "AuthorizationSourceIPMismatch", {}, "other addresses"),
    ("identity", "AuthorizationFailure", {}, "firewall"),
    ("key", "KeyBasedAuthenticationNotPermitted", {}, "workload identity"),
    ("key", "AccountIsDisabled", {}, "disabled"),
    ("key", "InsufficientAccountPermissions", {}, "may not be written"),
    ("identity", "AuthenticationFailed", {"claims": {"aud": "https://graph.example", "exp": 1}}, "audience https://graph.example"),
    ("identity", "InvalidAuthenticationInfo", {"detail": "Audience validation failed. Audience did not match."}, "another service"),
    ("identity", "InvalidAuthenticationInfo", {"detail": "Issuer validation failed. Issuer did not match."}, "set tenant_id"),
    ("identity", "AuthenticationFailed", {"claims": {"aud": "https://storage.azure.com", "exp": NOW - 1}}, "has expired"),
    ("identity", "AuthenticationFailed", {"detail": "Lifetime validation failed. The token is expired."}, "has expired"),
    ("identity", "AuthenticationFailed", {"claims": {"aud": "https://storage.azure.com", "nbf": NOW + 9}}, "not valid yet"),
    ("identity", "AuthenticationFailed", {"claims": {"aud": "https://storage.azure.com/", "exp": NOW + 9}}, "fresh token"),
    ("sas", "AuthenticationFailed", {"sas": {"se": "2099-01-01T00:00Z"}}, "revoked"),
    ("key", "AuthenticationFailed", {}, "the account key is wrong"),
    ("identity", "AADSTS700024", {}, "federated credential"),
    ("identity", "AADSTS700016", {}, "azure_client_id"),
    ("identity", "AADSTS7000222", {}, "AZURE_CLIENT_SECRET"),
    ("identity", "NoToken", {}, "azure_credential"),
]  # fmt: skip


@pytest.mark.parametrize("kind, code, more, words", CASES)
def test_a_refusal_names_its_remedy(kind: Kind, code: str, more: dict[str, Any], words: str) -> None:
    said = remedy(Refusal(kind, code, "replace it", NOW, **more))
    assert words in said
    assert "{" not in said


def test_every_line_of_the_table_is_reached() -> None:
    reached = set()
    for kind, code, more, _ in CASES:
        refusal = Refusal(kind, code, "replace it", NOW, **more)
        reached.add(next(one.when for one in REMEDIES if one.holds(refusal)))
    assert reached == {one.when for one in REMEDIES}
    assert len(reached) == len(REMEDIES)


def test_what_the_table_does_not_know_has_no_remedy() -> None:
    assert remedy(Refusal("sas", "Whatever", "", NOW)) == ""
    # A right is no matter of clocks, and a SAS bears no signature of ours.
    assert "clock" not in remedy(Refusal("identity", "AuthorizationPermissionMismatch", "", NOW, skew=9999.0))
    assert "clock" not in remedy(Refusal("sas", "AuthenticationFailed", "", NOW, skew=9999.0))


def test_of_a_sas_the_signature_is_left_out() -> None:
    found = sas_fields("?sv=2021-08-06&se=2027-01-01T00%3A00%3A00Z&sp=racwl&sr=c&sig=SECRET%3D&skoid=x")
    assert found == {"sv": "2021-08-06", "se": "2027-01-01T00:00:00Z", "sp": "racwl", "sr": "c"}


@pytest.mark.parametrize(
    "text, seconds",
    [("1970-01-02", 86400.0), ("1970-01-01T00:01:00Z", 60.0), ("1970-01-01T00:01Z", 60.0), ("", None), ("x", None), (None, None)],
)  # fmt: skip
def test_times_of_a_sas_are_in_utc(text: str | None, seconds: float | None) -> None:
    assert moment(text) == seconds
