"""The token that Application Insights demands where it takes no instrumentation key alone: Entra, by azure-identity."""

from __future__ import annotations

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

from collectord.telemetry.appinsights import NoToken

SCOPE = "https://monitor.azure.com//.default"
"""Of Azure Monitor's ingestion. The two slashes are meant."""


class Entra:
    """The credential that azure-identity finds on this machine. Belongs to one thread."""

    def __init__(self, tenant_id: str | None) -> None:
        named = {"additionally_allowed_tenants": [tenant_id], "interactive_browser_tenant_id": tenant_id,
                 "workload_identity_tenant_id": tenant_id} if tenant_id else {}  # fmt: skip
        self._tenant_id = tenant_id
        self._credential = DefaultAzureCredential(**named)

    def token(self) -> str:
        """One that is still good; the library keeps it. Raises NoToken."""
        try:
            return str(self._credential.get_token(SCOPE, tenant_id=self._tenant_id).token)
        except (ClientAuthenticationError, CredentialUnavailableError):
            raise NoToken(
                "azure-identity finds no credential that gets a token of Azure Monitor; the identity needs the role "
                "Monitoring Metrics Publisher on the resource"
            ) from None
