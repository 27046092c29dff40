"""What the daemon has said of collecting: for which streams it is switched on, which fraction is wanted, and whether telemetry
events are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .recipe import Recipe

if TYPE_CHECKING:
    from ._pb.collector_pb2 import Settings
    from .wire import Stream


@dataclass(frozen=True)
class Said:
    """Of one service."""

    collect: bool | None = None
    sampling: dict[str, float] = field(default_factory=dict)
    """Fractions by designation."""
    telemetry: bool | None = None
    recipe: Recipe | None = None


NOTHING = Said()


@dataclass(frozen=True)
class Switches:
    """The settings of a daemon; as made, those of one that has said nothing. The proto file has the rules."""

    collect: bool = True
    on: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    services: dict[str, Said] = field(default_factory=dict)
    telemetry: bool = False
    """Whether events are sent where neither the service nor the host says so."""

    @staticmethod
    def of(settings: Settings) -> Switches:
        said = {
            one.webservice: Said(
                one.collect if one.HasField("collect") else None,
                dict(one.sampling),
                one.telemetry if one.HasField("telemetry") else None,
                Recipe.of(one.recipe) if one.HasField("recipe") else None,
            )
            for one in settings.services
        }
        return Switches(settings.collect, tuple(settings.on), tuple(settings.only), said, settings.telemetry)

    def collects(self, stream: Stream, host: bool | None) -> bool:
        """Whether a stream is collected. `host`: what the process that collects wants; None: as it is told."""
        return self.fraction(stream) > 0.0 and self._collects(_named(stream), stream.webservice, host)

    def collects_some(self, stream: Stream, host: bool | None) -> bool:
        """The same, if it is so for any designation."""
        return self._collects(_named(stream)[:2], stream.webservice, host)

    def _collects(self, names: list[str], webservice: str, host: bool | None) -> bool:
        if host is False or not self._allows(names):
            return False
        said = self.services.get(webservice, NOTHING).collect
        if said is not None:
            return said
        return bool(host or self.collect or _match(self.on, names))

    def sends_events(self, webservice: str, host: bool | None) -> bool:
        """Whether a service's events are sent. `host`: what the process wants; None: as it is told."""
        said = self.services.get(webservice, NOTHING).telemetry
        if said is not None:
            return said
        return self.telemetry if host is None else host

    def sends(self, stream: Stream, host: bool | None) -> bool:
        """The same of the events of one table, which is their stream's designation."""
        return self.allows(stream) and self.sends_events(stream.webservice, host)

    def without_recipes(self) -> Switches:
        services = {service: replace(said, recipe=None) for service, said in self.services.items()}
        return replace(self, services=services)

    def recipe(self, webservice: str) -> Recipe | None:
        """The recipe of a service, whether or not this version can follow it."""
        return self.services.get(webservice, NOTHING).recipe

    def allows(self, stream: Stream) -> bool:
        """Whether a stream may be collected at all."""
        return self._allows(_named(stream))

    def _allows(self, names: Sequence[str]) -> bool:
        return not self.only or _match(self.only, names)

    def fraction(self, stream: Stream) -> float:
        """Of the requests, as far as the daemon has said."""
        return self.services.get(stream.webservice, NOTHING).sampling.get(stream.designation or "default", 1.0)


UNKNOWN = Switches()


def _named(stream: Stream) -> list[str]:
    return [
        (part or "default").replace("%", "%25").replace("/", "%2F")
        for part in (stream.webservice, stream.model, stream.designation)
    ]


def _match(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a pattern names them, as far as they go."""
    return any(all(map(fnmatchcase, names, pattern.split("/"))) for pattern in patterns if pattern.count("/") == 2)
