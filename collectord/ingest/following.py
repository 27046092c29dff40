"""What a client is told of the switches: what they say of the services that it follows, and nothing of others."""

from __future__ import annotations

from collections.abc import Iterable

from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError
from collectord.recipe import Recipe
from collectord.switches import SILENT, Rules
from collectord.tenants import Tenant

MAX_FOLLOWED = 1000
"""Services whose settings a client may want."""

NO_STREAM = "//"
"""A pattern that names nothing."""


class Following:
    """Of one client. Belongs to the event loop."""

    def __init__(self) -> None:
        self._services: tuple[str, ...] = ()
        self._rules: Rules | None = None
        """Those that `_told` comes from."""
        self._told: pb.Settings | None = None

    def follow(self, webservices: Iterable[str]) -> None:
        """The client wants to hear of these from now on. Raises ProtocolError."""
        services = tuple(dict.fromkeys(webservices))
        if len(services) > MAX_FOLLOWED:
            raise ProtocolError(f"{len(services)} services are followed; {MAX_FOLLOWED} are allowed")
        self._services = services
        # Told also where nothing is said of them: else the client would not know that it may collect for good.
        self._rules = self._told = None

    def news(self, rules: Rules, tenant: Tenant) -> pb.Settings | None:
        """What it has to be told now; None: it knows."""
        if self._rules is rules:
            return None
        before, now = self._told, self.settings(rules, tenant)
        return None if now == before else now

    def settings(self, rules: Rules, tenant: Tenant) -> pb.Settings:
        """What `rules` say of its services, as far as its tenant may know; from now on it knows."""
        settings = pb.Settings(collect=rules.collect, telemetry=rules.telemetry)
        for webservice in filter(tenant.may_know, self._services):
            settings.on.extend(pattern for pattern in rules.on.of_service(webservice) if pattern not in settings.on)
            settings.only.extend(
                pattern for pattern in rules.only.of_service(webservice) if pattern not in settings.only
            )
            said = rules.switches.of(webservice)
            if said != SILENT:
                settings.services.add(
                    webservice=webservice,
                    collect=said.collect_model_data,
                    sampling=dict(said.sampling),
                    telemetry=said.enable_app_insights,
                    recipe=None if said.capture is None else _recipe(said.capture),
                )
        if rules.only and not settings.only:
            settings.only.append(NO_STREAM)
        self._rules, self._told = rules, settings
        return settings


def _recipe(said: Recipe) -> pb.Recipe:
    return pb.Recipe(id=said.id, requests=said.requests, where=said.where, failed=said.failed, until=said.until_ns)
