"""The settings of the v2 door: where it listens, names, and column rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord.cli.run import serve
from collectord.config import load, read_columns_key
from collectord.errors import ConfigError
from collectord.model import Stream


@pytest.fixture(autouse=True)
def no_names(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_NAME", raising=False)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, None),
        ("", None),
        ("50011", "127.0.0.1:50011"),
        ("localhost", "localhost:50011"),
        ("127.0.0.1", "127.0.0.1:50011"),
        ("[::1]", "[::1]:50011"),
        ("127.0.0.2:8080", "127.0.0.2:8080"),
    ],
)
def test_the_door_listens_where_it_is_told(given: str | None, address: str | None) -> None:
    assert load(overrides={"mdc": given}).mdc == address


@pytest.mark.parametrize("given", ["0.0.0.0:50011", "0.0.0.0", "10.0.0.1:1", "example.com", "[::]:50011"])
def test_an_address_that_others_reach_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"mdc: .*reachable from other machines; without TLS and a token"):
        load(overrides={"mdc": given})


@pytest.mark.parametrize("given", ["127.0.0.1:x", "127.0.0.1:70000", "70000", "a b", "::1"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="mdc"):
        load(overrides={"mdc": given})


def test_names_of_streams_come_from_the_setting_then_from_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().stream_names == Stream()
    monkeypatch.setenv("SERVICE_NAME", "deployed")
    assert load().stream_names == Stream(webservice="deployed")
    named = "subscription=s, resource_group=g,workspace=w,webservice=svc,model=m,version=1"
    assert load(overrides={"mdc_names": named}).stream_names == Stream("s", "g", "w", "svc", "m", "1")


@pytest.mark.parametrize("given", ["workspace", "workspace=", "=w", "designation=d", "model=a,model=b"])
def test_names_that_are_none_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="mdc_names"):
        load(overrides={"mdc_names": given})


def test_column_rules_are_read_and_a_name_may_hold_an_equals_sign() -> None:
    settings = load(overrides={"columns": "ssn=drop, e=mail=mask,customer=hmac", "columns_key": "k"})
    assert settings.column_rules == {"ssn": "drop", "e=mail": "mask", "customer": "hmac"}
    assert read_columns_key(settings) == b"k"
    assert load().column_rules == {}
    assert read_columns_key(load()) == b""


@pytest.mark.parametrize("given", ["ssn", "ssn=", "=drop", "ssn=hide", "ssn=drop,ssn=mask", "ssn=drop;email=mask"])
def test_a_rule_that_is_none_stops_the_start(given: str) -> None:
    with pytest.raises(ConfigError, match="columns: "):
        load(overrides={"columns": given})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("$aml_dc_correlation_id=drop", "can only be hmac"),
        ("$aml_request_id=mask", "can only be hmac or drop"),
        ("$aml_dc_row=drop", "no rule reaches it"),
    ],
)
def test_a_rule_that_would_break_our_own_columns_stops_the_start(given: str, why: str) -> None:
    """In the clients' words: they know the same setting."""
    with pytest.raises(ConfigError, match=why):
        load(overrides={"columns": given, "columns_key": "k"})
    load(overrides={"columns": "$aml_dc_correlation_id=hmac,$aml_request_id=drop", "columns_key": "k"})


def test_hmac_without_a_key_or_with_two_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(ConfigError, match="COLLECTORD_COLUMNS_KEY_FILE"):
        load(overrides={"columns": "a=hmac"})
    with pytest.raises(ConfigError, match="not both"):
        load(overrides={"columns": "a=hmac", "columns_key": "k", "columns_key_file": file})
    settings = load(overrides={"columns": "a=hmac", "columns_key_file": file})
    with pytest.raises(ConfigError, match=r"columns_key_file: .* cannot be read"):
        read_columns_key(settings)
    file.write_bytes(b"\n")
    with pytest.raises(ConfigError, match="empty"):
        read_columns_key(settings)
    file.write_bytes(b"a key \r\n")
    assert read_columns_key(settings) == b"a key "


def test_the_key_is_shown_nowhere() -> None:
    settings = load(overrides={"columns": "a=hmac", "columns_key": "very secret"})
    assert "very secret" not in f"{settings!r} {settings.shown()}"


def test_the_key_is_no_option_of_the_command_line() -> None:
    """Every user of the machine sees a command line."""
    names = {option for parameter in serve.params for option in parameter.opts}
    assert {"--mdc", "--mdc-names", "--columns", "--columns-key-file"} <= names
    assert "--columns-key" not in names
