"""What is said of a stream's switches, from its key alone."""

from __future__ import annotations

import json

import pytest

from collectord.answers import collected
from collectord.model import Stream, StreamKind
from collectord.patterns import StreamPatterns
from collectord.switches import Rules, parse

SERVICES = {
    "off": {"collect_model_data": False, "enable_app_insights": False},
    "some/times": {"collect_model_data": True, "enable_app_insights": True, "sampling": {"inputs": 0.125}},
    "default": {"sampling": {"default": 0.5}},
}
SWITCHES = parse(json.dumps({"format": 1, "version": 1, "services": SERVICES}).encode())


@pytest.mark.parametrize(
    ("stream", "word"),
    [
        (Stream(webservice="off"), "off"),
        (Stream(webservice="some/times", designation="inputs"), "12.5 %"),
        (Stream(webservice="some/times", designation="outputs"), "on"),
        (Stream(), "50 %"),
        (Stream(webservice="silent"), "on"),
        (Stream(webservice="off", kind=StreamKind.REQUEST), "off"),
        (Stream(webservice="some/times", kind=StreamKind.TRACE), "on"),
        (Stream(webservice="silent", kind=StreamKind.TRACE), "unset"),
    ],
)
def test_what_is_switched_on_is_told_in_a_word(stream: Stream, word: str) -> None:
    assert collected(Rules(switches=SWITCHES), stream.key()) == word


def test_what_the_settings_say_counts_too() -> None:
    key = Stream(webservice="a", model="m", designation="inputs").key()
    assert collected(Rules(collect=False), key) == "off"
    assert collected(Rules(collect=False, on=StreamPatterns(["a/m/*"])), key) == "on"
    assert collected(Rules(only=StreamPatterns(["b/*/*"])), key) == "off"


def test_a_key_that_is_none_is_unknown() -> None:
    """The log counts what was refused before its stream was known under such a key."""
    assert collected(Rules(), "") == "unknown"
