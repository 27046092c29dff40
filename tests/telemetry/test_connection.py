"""Connection strings, keys and addresses: what is taken, and that what is not is named without showing it."""

from __future__ import annotations

import pytest

from collectord.telemetry.connection import BadConnection, check_url, of_key, parse, parse_headers, redirected

KEY = "12345678-9abc-4def-8123-456789abcdef"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"InstrumentationKey={KEY}", "https://dc.services.visualstudio.com/v2.1/track"),
        (f"InstrumentationKey={KEY};", "https://dc.services.visualstudio.com/v2.1/track"),
        (
            f"InstrumentationKey={KEY.upper()};IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;"
            "LiveEndpoint=https://x/;ApplicationId=1",
            "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track",
        ),
        (f" instrumentationkey = {KEY} ; EndpointSuffix = ai.us ; Location = east ", "https://east.dc.ai.us/v2.1/track"),
        (f"Authorization=ikey;InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:1", "http://127.0.0.1:1/v2.1/track"),
    ],
)  # fmt: skip
def test_a_connection_string_says_where_to(text: str, url: str) -> None:
    found = parse(text)
    assert (found.key, found.url) == (KEY, url)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no InstrumentationKey"),
        (KEY, "NAME=VALUE"),
        ("IngestionEndpoint=https://x", "no InstrumentationKey"),
        ("InstrumentationKey=secret-and-wrong", "no instrumentation key"),
        (f"InstrumentationKey={KEY};InstrumentationKey={KEY}", "twice"),
        (f"InstrumentationKey={KEY};Authorization=aad", "ikey"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=http://elsewhere/", "https"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=ftp://elsewhere/", "https://HOST"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://user:secret@host/", "without user"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://[", "not the address"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://ho st/", "blank"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://host/\nsecret: x", "blank or a control"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://host\0/", "control"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://host?", "without user"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://host#", "without user"),
        (f"InstrumentationKey={KEY};EndpointSuffix=a b", "blank"),
        (f'"InstrumentationKey={KEY}"', "quotation marks"),
    ],
)
def test_one_that_is_none_is_told_without_its_secrets(text: str, what: str) -> None:
    with pytest.raises(BadConnection, match=what) as raised:
        parse(text)
    assert KEY not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_bare_key_goes_to_the_global_endpoint() -> None:
    assert of_key(KEY).url.startswith("https://dc.services.visualstudio.com/")
    with pytest.raises(BadConnection):
        of_key("secret")


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("https://westeurope-5.in.applicationinsights.azure.com/v2.1/track", True),
        ("https://x.applicationinsights.azure.us/v2.1/track", True),
        ("http://westeurope-5.in.applicationinsights.azure.com/v2.1/track", False),
        ("https://applicationinsights.azure.com.evil.example/", False),
        ("https://evilapplicationinsights.azure.com/", False),
        ("https://u@x.applicationinsights.azure.com/", False),
        ("/v2.1/track", False),
        ("", False),
        ("https://[::1", False),
        ("https://x.applicationinsights.azure.com:port/", False),
    ],
)
def test_a_redirect_is_followed_to_the_services_own_hosts_only(location: str, followed: bool) -> None:
    assert redirected("https://dc.services.visualstudio.com/v2.1/track", location) == (location if followed else None)


def test_a_receiver_of_otlp_may_be_plain_http_anywhere() -> None:
    assert check_url("http://otel:4318", "it", anywhere=True) == "http://otel:4318"
    with pytest.raises(BadConnection):
        check_url("otel:4318", "it", anywhere=True)


def test_headers_are_pairs() -> None:
    assert parse_headers("") == {}
    assert parse_headers("api-key=a=b, x-scope = 1") == {"api-key": "a=b", "x-scope": "1"}
    for text in ("secret", "=secret", "a b=secret", "a=secret\nX: y", "a=secret…"):
        with pytest.raises(BadConnection) as raised:
            parse_headers(text)
        assert "secret" not in str(raised.value)
