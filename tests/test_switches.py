"""What is switched on for which service: the document as a value."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from collectord.model import Stream
from collectord.patterns import StreamPatterns
from collectord.switches import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DESIGNATIONS,
    MAX_SERVICES,
    NOTHING,
    SILENT,
    BadSwitches,
    Rules,
    Service,
    completed,
    parse,
)


def document(**services: Any) -> bytes:
    return json.dumps({"format": 1, "version": 3, "services": services}).encode()


def test_a_document_says_what_is_switched_of_a_service() -> None:
    found = parse(document(a={"collect_model_data": False, "sampling": {"inputs": 0.5, "labels": None}}, b={}))
    assert found.version == 3
    assert found.of("a") == Service(False, None, {"inputs": 0.5})
    assert found.of("b") == found.of("c") == SILENT


def test_an_empty_name_is_default() -> None:
    assert parse(document(default={"enable_app_insights": True})).of("") == Service(None, True, {})
    assert NOTHING.patched("", {"collect_model_data": True}).of("default").collect_model_data is True


def test_a_change_is_the_next_version_and_keeps_what_it_does_not_name() -> None:
    first = NOTHING.patched("a", {"collect_model_data": False, "sampling": {"inputs": 0.1, "labels": 1}})
    second = first.patched("b", {"enable_app_insights": True})
    third = second.patched("a", {"sampling": {"inputs": None}, "enable_app_insights": None})
    assert [one.version for one in (first, second, third)] == [1, 2, 3]
    assert third.of("a") == Service(False, None, {"labels": 1.0})
    assert third.of("b") == second.of("b") == Service(None, True, {})
    assert parse(third.render()) == third


def test_a_service_of_which_nothing_is_left_is_forgotten() -> None:
    one = NOTHING.patched("a", {"sampling": {"inputs": 0.1}})
    assert one.patched("a", {"sampling": {"inputs": None}}).raw["services"] == {}
    assert one.patched("a", {"sampling": None}).raw["services"] == {}


def test_what_a_later_version_wrote_beside_our_keys_is_kept() -> None:
    before = {"format": 1, "version": 8, "by": "\ud800", "services": {"a": {"recipe": {"n": 1}}, "b": {"x": []}}}
    after = json.loads(parse(json.dumps(before).encode()).patched("a", {"collect_model_data": True}).render())
    assert after.pop("version") == 9
    assert after["services"].pop("a") == {"recipe": {"n": 1}, "collect_model_data": True}
    assert after == {"format": 1, "by": "\ud800", "services": {"b": {"x": []}}}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"\xff", "UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
        (b"[]", "a JSON object, not a list"),
        (b"null", "a JSON object, not null"),
        (b"{}", "format is 1, not null"),
        (b'{"format": 2, "version": 1}', "later version"),
        (b'{"format": 1}', "version is a whole number above 0, not null"),
        (b'{"format": 1, "version": true}', "version"),
        (b'{"format": 1, "version": 0}', "version"),
        (b'{"format": 1, "version": 9223372036854775808}', "version"),
        (b'{"format": 1, "version": NaN}', "not NaN or infinite"),
        (b'{"format": 1, "version": 1, "services": []}', "services is an object by name, not a list"),
        (document(a={"x": json.loads("[" * 50 + "]" * 50)}), f"nested more than {MAX_DEPTH} deep"),
        (document(a=1), "services.json: a is an object, not a number"),
        (document(a={"collect_model_data": "false"}), 'a.collect_model_data is true, false or null, not "false"'),
        (document(a={"enable_app_insights": 1}), "a.enable_app_insights is true, false or null, not 1"),
        (document(a={"sampling": 0.5}), "a.sampling is an object by designation, not a number"),
        (document(a={"sampling": {"inputs": 1.5}}), "a.sampling.inputs is a fraction between 0 and 1, not 1.5"),
        (document(a={"sampling": {"inputs": float("nan")}}), "fraction between 0 and 1, not NaN or infinite"),
        (document(a={"sampling": {"inputs": True}}), "fraction between 0 and 1"),
        (document(a={"sampling": {"\n": 1}}), "control characters"),
        (document(a={"sampling": {str(n): 1 for n in range(MAX_DESIGNATIONS + 1)}}), "designations"),
        (document(**{"x" * 256: {}}), "1 to 255 bytes"),
        (document(**{"a\tb": {}}), "control characters"),
        (document(**{"\ud800": {}}), "UTF-8"),
        (document(**{str(n): {} for n in range(MAX_SERVICES + 1)}), f"{MAX_SERVICES} are allowed"),
    ],
)
def test_a_document_that_makes_no_sense_names_the_place(data: bytes, what: str) -> None:
    with pytest.raises(BadSwitches, match=what):
        parse(data)


@pytest.mark.parametrize(
    ("patch", "what"),
    [
        ([], "an object, not a list"),
        ({"collect": True}, "'collect' cannot be changed"),
        ({"collect_model_data": "no"}, "change.collect_model_data is true, false or null"),
        ({"sampling": {"inputs": -0.1}}, "change.sampling.inputs is a fraction"),
        ({"sampling": []}, "change.sampling is an object"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(patch: Any, what: str) -> None:
    with pytest.raises(BadSwitches, match=what):
        NOTHING.patched("a", patch)


def test_a_change_that_would_not_fit_is_refused() -> None:
    full = json.dumps({"format": 1, "version": 1, "x": "x" * (MAX_BYTES - 80), "services": {}}).encode()
    with pytest.raises(BadSwitches, match="would have more than"):
        parse(full).patched("a", {"sampling": {"a designation": 0.123456789}})


@pytest.mark.parametrize(
    ("said", "default", "on", "only", "collects"),
    [
        (None, True, (), (), True),
        (None, False, (), (), False),
        (None, False, ("s/*/inputs",), (), True),
        (None, False, ("s/*/labels",), (), False),
        (False, True, ("*/*/*",), (), False),
        (True, False, (), (), True),
        (True, True, (), ("t/*/*",), False),
        (None, True, (), ("s/m/*",), True),
    ],
)
def test_what_is_collected(
    said: bool | None, default: bool, on: tuple[str, ...], only: tuple[str, ...], collects: bool
) -> None:
    switches = NOTHING.patched("s", {"collect_model_data": said})
    rules = Rules(default, StreamPatterns(on), StreamPatterns(only), switches)
    stream = Stream(webservice="s", model="m", designation="inputs")
    assert rules.collects(stream) is collects
    assert rules.allows(stream) is (not only or only == ("s/m/*",))


RECIPE = {"id": "x", "requests": 5, "until": "2026-12-01T12:00:00Z"}


def test_a_recipe_takes_the_place_of_the_one_before_as_a_whole() -> None:
    first = NOTHING.patched("s", {"collect_model_data": True, "capture": {**RECIPE, "where": "a > 1"}})
    second = first.patched("s", {"capture": {"id": "y", "failed": True, "requests": None, "until": RECIPE["until"]}})
    found = second.of("s").capture
    assert found is not None
    assert (found.id, found.requests, found.where, found.failed) == ("y", 0, "", True)
    assert second.raw["services"]["s"]["capture"] == {"id": "y", "failed": True, "until": RECIPE["until"]}
    assert second.patched("s", {"sampling": {"inputs": 0.5}}).of("s").capture == found
    assert second.patched("s", {"capture": None}).raw["services"]["s"] == {"collect_model_data": True}


def test_a_recipe_that_makes_no_sense_is_refused_with_its_place() -> None:
    with pytest.raises(BadSwitches, match=r"change.capture: requests is a whole number"):
        NOTHING.patched("s", {"capture": {**RECIPE, "requests": -1}})
    with pytest.raises(BadSwitches, match=r"services.json: s.capture: where: 'a ~ 1': '~' at character 3"):
        parse(document(s={"capture": {**RECIPE, "where": "a ~ 1"}}))
    now = datetime(2027, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(BadSwitches, match=r"change.capture: until 2026-12-01T12:00:00Z lies in the past"):
        completed({"capture": RECIPE}, now, "id")
    untouched = {"collect_model_data": True}
    assert completed(untouched, now, "id") is untouched


def test_each_service_may_have_a_recipe() -> None:
    recipe = {**RECIPE, "where": "score > 0.9 and label == 'fraud'"}
    services = {f"service-{n:04}": {"capture": recipe} for n in range(MAX_SERVICES)}
    found = parse(document(**services))
    assert len(found.render()) <= MAX_BYTES
    assert {one.capture.where for one in found.services.values() if one.capture is not None} == {recipe["where"]}


@pytest.mark.parametrize(
    ("said", "default", "sends"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_whether_events_are_sent(said: bool | None, default: bool, sends: bool) -> None:
    rules = Rules(telemetry=default, switches=NOTHING.patched("s", {"enable_app_insights": said}))
    assert (rules.sends_events("s"), rules.sends_events("other")) == (sends, default)


def test_a_fraction_of_none_is_off() -> None:
    rules = Rules(switches=NOTHING.patched("s", {"collect_model_data": True, "sampling": {"inputs": 0, "default": 0}}))
    collected = [name for name in ("inputs", "labels", "") if rules.collects(Stream(webservice="s", designation=name))]
    assert collected == ["labels"]
