"""Addresses of this machine, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.address import bindable, is_loopback, split_address


@pytest.mark.parametrize(
    ("text", "parts"), [("a:1", ("a", 1)), ("[::1]:65535", ("::1", 65535)), ("127.0.0.1:0", ("127.0.0.1", 0))]
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize(
    "text", ["", ":", ":1", "a:", "a", "a:65536", "a:-1", "a:²", "::1:1", "[::1]", "[]:1", "a b:1", "a:1\n"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(text)


@given(st.text(max_size=12))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host
    assert 0 <= port <= 65_535


def test_loopback() -> None:
    assert [host for host in ("localhost", "127.0.0.1", "127.255.0.1", "::1") if not is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "10.0.0.1", "a", "localhost.evil", "") if is_loopback(host)] == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/run/c.sock", "/run/c.sock"),
        ("/a,b/c.sock", "c.sock"),
        ("/a,b/d,e/c.sock", "/a,b/d,e/c.sock"),
        (f"/a,b/{'x' * 120}/c.sock", f"/a,b/{'x' * 120}/c.sock"),
        (f"/a,b/d,e/{'x' * 94}.sock", f"d,e/{'x' * 94}.sock"),
        (f"/{'x' * 98}/,", f"/{'x' * 98}/,"),
    ],
)
def test_a_socket_is_bound_by_the_name_that_can_be(monkeypatch: pytest.MonkeyPatch, path: str, name: str) -> None:
    """One without a comma, where there is a choice, and in any case one that fits."""
    monkeypatch.setattr("os.getcwd", lambda: "/a,b")
    assert bindable(Path(path)) == Path(name)
