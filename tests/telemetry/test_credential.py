"""A token of Entra: for which scope and tenant it is asked, and what is said where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from collectord.telemetry.appinsights import NoToken
from collectord.telemetry.credential import SCOPE, Entra


class Credential:
    """In the place of azure-identity's."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, Any]] = []

    def get_token(self, scope: str, *, tenant_id: str | None) -> AccessToken:
        self.asked.append((scope, tenant_id))
        if self.error is not None:
            raise self.error
        return AccessToken("t0ken", 0)


def test_the_token_is_that_of_azure_monitor_and_of_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    entra, credential = Entra("my-tenant"), Credential()
    monkeypatch.setattr(entra, "_credential", credential)
    assert entra.token() == "t0ken"
    assert credential.asked == [(SCOPE, "my-tenant")]


def test_without_one_it_is_said_what_is_needed_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    entra = Entra(None)
    monkeypatch.setattr(entra, "_credential", Credential(ClientAuthenticationError("client_secret=sesame")))
    with pytest.raises(NoToken, match="Monitoring Metrics Publisher") as raised:
        entra.token()
    assert "sesame" not in str(raised.value)
