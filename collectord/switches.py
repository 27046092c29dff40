"""What is switched on for which service, for all nodes: one small JSON document in the store, `_collectord/services.json`.

    {"format": 1, "version": 3, "services": {
        "my-service": {"collect_model_data": false, "enable_app_insights": true, "sampling": {"inputs": 0.1},
                       "capture": {"id": "5f0c", "requests": 500, "until": "2026-12-01T12:00:00Z"}}}}

`version` grows with each change. What a service does not say is as each daemon's settings, and each scoring pod's environment,
say. A change is a merge patch (RFC 7396), so that what a later version of ours writes beside our keys is left as it is; but
a recipe (`recipe.py`) takes the place of the one before as a whole.
Pure: who reads, writes and distributes it is `switchboard.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from collectord import recipe
from collectord.errors import CallHuman
from collectord.model import Stream
from collectord.patterns import StreamPatterns
from collectord.schema import MAX_STREAM_PART_BYTES as MAX_NAME_BYTES

DOCUMENT: Final = "_collectord/services.json"
FORMAT: Final = 1
MAX_BYTES: Final = 1 << 20
MAX_SERVICES: Final = 5_000
MAX_DESIGNATIONS: Final = 100
"""With a sampling of their own, per service."""
MAX_DEPTH: Final = 20
"""Objects and lists in each other. How deep Python reads is not how deep it compares and writes."""
SWITCHES: Final = ("collect_model_data", "enable_app_insights")
SAMPLING: Final = "sampling"
CAPTURE: Final = "capture"

Patch = Mapping[str, Any]
"""`collect_model_data` and `enable_app_insights`: true, false, or null for what the settings say. `sampling`: null, or by
designation a fraction or null. `capture`: null, or a recipe."""


class BadSwitches(CallHuman):
    """A document or a change that says nothing we understand; names the place and what is allowed there."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is said of one service; None: nothing."""

    collect_model_data: bool | None = None
    enable_app_insights: bool | None = None
    sampling: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By designation the fraction of requests, in [0, 1]."""
    capture: recipe.Recipe | None = None

    def share(self, designation: str) -> float:
        """Which fraction of the requests is collected; an empty name is `default`."""
        return self.sampling.get(designation or "default", 1.0)


SILENT: Final = Service()


@dataclass(frozen=True, slots=True)
class Switches:
    """The document as a value."""

    version: int = 0
    """0: there is none yet."""
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    raw: Mapping[str, Any] = field(default_factory=dict)
    """As it was read, with what we do not know."""

    def of(self, webservice: str) -> Service:
        """What is said of a service; an empty name is `default`."""
        return self.services.get(webservice or "default", SILENT)

    def patched(self, webservice: str, patch: Patch) -> Switches:
        """This document after a change of one service, as the next version; an empty change is one too. Raises BadSwitches."""
        name = check_name(webservice)
        _check_patch(patch)
        services = dict(self.raw.get("services", {}))
        services[name] = _merged(services.get(name, {}), patch)
        if isinstance(patch.get(CAPTURE), Mapping):
            services[name][CAPTURE] = _merged({}, patch[CAPTURE])
        if not services[name]:
            del services[name]
        made = _read({**self.raw, "format": FORMAT, "version": self.version + 1, "services": services})
        if len(made.render()) > MAX_BYTES:
            raise BadSwitches(f"{DOCUMENT} would have more than {MAX_BYTES} bytes; remove services that are no more")
        return made

    def render(self) -> bytes:
        """The document as it is stored."""
        text = json.dumps(self.raw, indent=1, sort_keys=True, ensure_ascii=False)
        try:
            return text.encode() + b"\n"
        except UnicodeEncodeError:
            # Half a pair of surrogates, in what is not ours.
            return json.dumps(self.raw, indent=1, sort_keys=True).encode() + b"\n"


NOTHING: Final = Switches()


@dataclass(frozen=True, slots=True)
class Rules:
    """What one daemon goes by: its settings and the document."""

    collect: bool = True
    """Whether a stream is collected of which nothing is said."""
    on: StreamPatterns = field(default_factory=StreamPatterns)
    """Those that are where `collect` is false."""
    only: StreamPatterns = field(default_factory=StreamPatterns)
    """The only streams that are taken; empty: all."""
    switches: Switches = NOTHING
    telemetry: bool = False
    """Whether events are sent where neither the service nor the client's host says so."""

    def allows(self, stream: Stream) -> bool:
        """Whether rows of a stream are taken at all; the same of events, whose designation is the name of their table."""
        return not self.only or stream in self.only

    def collects(self, stream: Stream) -> bool:
        """Whether rows of a stream are to be collected, as long as its host does not say otherwise."""
        service = self.switches.of(stream.webservice)
        said = service.collect_model_data
        if said is None:
            said = self.collect or stream in self.on
        return said and service.share(stream.designation) > 0 and self.allows(stream)

    def sends_events(self, webservice: str) -> bool:
        """Whether clients of a service are to send telemetry events, as long as their host does not say otherwise. What comes
        all the same is kept."""
        said = self.switches.of(webservice).enable_app_insights
        return self.telemetry if said is None else said


def parse(data: bytes) -> Switches:
    """The document in `data`. Raises BadSwitches."""
    if len(data) > MAX_BYTES:
        raise BadSwitches(f"{DOCUMENT} has more than {MAX_BYTES} bytes")
    try:
        found = json.loads(data.decode())
    except UnicodeDecodeError:
        raise BadSwitches(f"{DOCUMENT} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested"
        raise BadSwitches(f"{DOCUMENT} is not JSON ({where}, or beyond)") from None
    if _deeper(found, MAX_DEPTH):
        raise BadSwitches(f"{DOCUMENT} is nested more than {MAX_DEPTH} deep")
    return _read(found)


def completed(patch: Patch, now: datetime, id: str) -> Patch:
    """A change as somebody gives it, with what its recipe, if it has one, needs beside: when it ends, and an `id`. Raises
    BadSwitches."""
    if not isinstance(patch, Mapping) or CAPTURE not in patch:
        return patch
    try:
        return {**patch, CAPTURE: recipe.completed(patch[CAPTURE], now, id)}
    except ValueError as error:
        raise BadSwitches(f"change.{CAPTURE}: {error}") from None


def check_name(webservice: str) -> str:
    """A service's name as the document has it. Raises BadSwitches."""
    name = webservice or "default"
    try:
        fits = len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        fits = False
    if not fits or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise BadSwitches(
            f"a service's name has 1 to {MAX_NAME_BYTES} bytes of UTF-8 without control characters, not {name[:80]!r}"
        )
    return name


def _read(found: object) -> Switches:
    if not isinstance(found, dict):
        raise BadSwitches(f"{DOCUMENT} is a JSON object, not {_kind(found)}")
    if found.get("format") != FORMAT:
        raise BadSwitches(
            f"{DOCUMENT}: format is {FORMAT}, not {_short(found.get('format'))}; it may be of a later version"
        )
    version = found.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 1 << 63:
        raise BadSwitches(f"{DOCUMENT}: version is a whole number above 0, not {_short(version)}")
    services = found.get("services", {})
    if not isinstance(services, dict):
        raise BadSwitches(f"{DOCUMENT}: services is an object by name, not {_kind(services)}")
    if len(services) > MAX_SERVICES:
        raise BadSwitches(f"{DOCUMENT}: {len(services)} services, {MAX_SERVICES} are allowed")
    known = {check_name(name): _service(f"{DOCUMENT}: {name[:80]}", said) for name, said in services.items()}
    return Switches(version, MappingProxyType(known), found)


def _deeper(value: object, levels: int) -> bool:
    """Whether objects and lists are nested deeper than so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def _service(where: str, said: object) -> Service:
    if not isinstance(said, dict):
        raise BadSwitches(f"{where} is an object, not {_kind(said)}")
    for switch in SWITCHES:
        if not isinstance(said.get(switch), bool | None):
            raise BadSwitches(f"{where}.{switch} is true, false or null, not {_short(said[switch])}")
    sampling = said.get(SAMPLING)
    if not isinstance(sampling, dict | None):
        raise BadSwitches(f"{where}.{SAMPLING} is an object by designation, not {_kind(sampling)}")
    fractions = {}
    for designation, fraction in (sampling or {}).items():
        if fraction is None:
            continue
        if not isinstance(fraction, int | float) or isinstance(fraction, bool) or not 0 <= fraction <= 1:
            raise BadSwitches(
                f"{where}.{SAMPLING}.{designation[:80]} is a fraction between 0 and 1, not {_short(fraction)}"
            )
        fractions[check_name(designation)] = float(fraction)
    if len(fractions) > MAX_DESIGNATIONS:
        raise BadSwitches(f"{where}.{SAMPLING} names {len(fractions)} designations, {MAX_DESIGNATIONS} are allowed")
    try:
        capture = None if said.get(CAPTURE) is None else recipe.read(said[CAPTURE])
    except ValueError as error:
        raise BadSwitches(f"{where}.{CAPTURE}: {error}") from None
    return Service(said.get(SWITCHES[0]), said.get(SWITCHES[1]), MappingProxyType(fractions), capture)


def _check_patch(patch: object) -> None:
    if not isinstance(patch, Mapping):
        raise BadSwitches(f"a change is an object, not {_kind(patch)}")
    for name in patch:
        if name not in (*SWITCHES, SAMPLING, CAPTURE):
            raise BadSwitches(f"{str(name)[:80]!r} cannot be changed; {', '.join((*SWITCHES, SAMPLING, CAPTURE))} can")
    _service("change", {**patch})


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396; an object that becomes empty is none."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        merged = None if value is None else _merged(result.get(name), value)
        if merged is None or merged == {}:
            result.pop(name, None)
        else:
            result[name] = merged
    return result


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")


def _short(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN or infinite"
    return json.dumps(value)[:80] if isinstance(value, str | int | float | None) else _kind(value)
