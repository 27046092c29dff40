"""Where events go, as the settings say: what sends them is loaded only if it is wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from collectord.errors import ConfigError
from collectord.settings import Settings
from collectord.telemetry import connection

# Read by the libraries when they are imported: nothing of theirs tells its maker, or asks the host, what runs here.
SILENCED = ("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED")

if TYPE_CHECKING:
    from collectord.telemetry.exporter import Exporter
    from collectord.telemetry.otlp import Otlp


def open_exporters(settings: Settings) -> list[Exporter]:
    """The exporters that the settings name, without having asked anybody anything. Raises `ConfigError`."""
    exporters: list[Exporter] = []
    resource = connection_of(settings)
    if resource is not None:
        for name in SILENCED:
            os.environ[name] = "true"
        from collectord.telemetry.appinsights import AppInsights

        token = None
        if settings.app_insights_auth == "entra":
            from collectord.telemetry.credential import Entra

            token = Entra(settings.tenant_id).token
        exporters.append(AppInsights(resource, token=token))
    if settings.otlp_endpoint is not None:
        headers = settings.otlp_headers.get_secret_value() if settings.otlp_headers is not None else ""
        exporters.append(_otlp()(settings.otlp_endpoint, connection.parse_headers(headers)))
    return exporters


def check(settings: Settings) -> None:
    """Raises `ConfigError` where something is not installed that the settings need."""
    if settings.otlp_endpoint is not None:
        _otlp()


def _otlp() -> type[Otlp]:
    try:
        from collectord.telemetry.otlp import Otlp
    except ImportError as error:
        raise ConfigError(
            f"otlp_endpoint: OpenTelemetry's messages are not installed ({error.name}); pip install collectord[otlp]"
        ) from None
    return Otlp


def connection_of(settings: Settings) -> connection.Connection | None:
    """The resource of Application Insights; None: there is none."""
    if settings.app_insights is not None:
        return connection.parse(settings.app_insights.get_secret_value())
    if settings.app_insights_key is not None:
        return connection.of_key(settings.app_insights_key.get_secret_value())
    return None
