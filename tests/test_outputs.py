"""What the rows of a stream become, and what Azure ML calls them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectord.config import load
from collectord.errors import ConfigError
from collectord.kinds import EVENTS
from collectord.model import Partition, Stream, StreamKind
from collectord.outputs import Form, Outputs, collection_of

STREAM = Stream("sub", "rg", "ws", "svc", "best/model", "10", "inputs")


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ((), False), (("*/*/*",), True), (("svc/*/inputs",), True), (("svc/best%2Fmodel/inputs",), True),
        (("svc/best*/in?uts", "x/y/z"), True), (("x/y/z", "[st]vc/*/*"), True), (("Svc/*/*",), False),
        (("svc/*/predictions",), False), (("svc/best/inputs",), False), (("sv/*/inputs",), False),
    ],
)  # fmt: skip
def test_a_pattern_names_service_model_and_designation(patterns: tuple[str, ...], taken: bool) -> None:
    """A `*` stops at the end of its part, whatever characters a name holds."""
    output = Outputs(patterns)
    assert output.any_mdc == bool(patterns)
    assert output.boundary(STREAM, 1440) == (60 if taken else 1440)
    assert output.form(STREAM, Partition(b"", 0, 60)) is (Form.MDC if taken else Form.CSV)
    assert output.form(STREAM, Partition(b"", 0, 1440)) is Form.CSV, "the hours of a day's rows are not known"


@pytest.mark.parametrize("kind", EVENTS)
def test_what_is_no_row_becomes_lines_of_events_by_the_hour(kind: StreamKind) -> None:
    """Also where a setting chooses all streams."""
    for output in (Outputs(), Outputs(["*/*/*"])):
        assert output.boundary(replace(STREAM, kind=kind), 1440) == 60
        assert output.form(replace(STREAM, kind=kind), Partition(b"", 0, 60)) is Form.TELEMETRY


def test_what_is_not_named_is_default() -> None:
    assert Outputs(["default/default/default"]).boundary(Stream(), 1440) == 60
    assert collection_of(Stream()) == "default"


@pytest.mark.parametrize(
    ("designation", "collection", "name"),
    [("inputs", "", "inputs"), ("inputs", "default", "inputs"), ("inputs", "model_inputs", "model_inputs")],
)
def test_a_collection_has_the_name_that_was_given_or_the_designation(
    designation: str, collection: str, name: str
) -> None:
    assert collection_of(Stream(designation=designation, collection=collection)) == name


@pytest.mark.parametrize("pattern", ["inputs", "svc/model", "svc/model/inputs/x", "svc//inputs", "/", "a/b/"])
def test_a_wrong_pattern_stops_the_start_and_is_named(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"mdc_output.*webservice/model/designation"):
        load(overrides={"mdc_output": f"*/*/labels,{pattern}"})


def test_the_setting_is_a_list() -> None:
    assert load(overrides={"mdc_output": "a/b/*, */*/inputs"}).mdc_output == ("a/b/*", "*/*/inputs")
