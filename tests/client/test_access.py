"""Tokens and certificates of a client: where they come from, which can be none, and that nobody sees them."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from collectord_client import Client
from collectord_client.access import LONGEST_TOKEN, Access, AccessError

from tests.authority import DAY, NOW, Authority, Files
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.waiting import eventually

TOKEN = "red-0123456789abcdef"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "TOKEN_FILE", "ENDPOINT", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_NAME"):
        monkeypatch.delenv(f"COLLECTORD_{name}", raising=False)


def test_the_argument_counts_then_the_variable_then_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a line is no part of a token, as secrets often have one."""
    assert Access().token_now() == ""
    place = tmp_path / "token"
    place.write_text(f"{TOKEN}-file\r\n")
    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(place))
    assert Access().token_now() == f"{TOKEN}-file"
    place.write_text(f"{TOKEN}-later")
    assert Access().token_now() == f"{TOKEN}-later", "it is read each time"
    monkeypatch.setenv("COLLECTORD_TOKEN", f"{TOKEN}-env\n")
    assert Access().token_now() == f"{TOKEN}-env"
    assert Access(TOKEN).token_now() == TOKEN


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("a\nb", "a newline"),
        ("a\0b", "a NUL"),
        ("two words", "a blank"),
        ("ä", "printable ASCII"),
        ("x" * (LONGEST_TOKEN + 1), "more than 512 characters"),
    ],
)
def test_what_can_be_no_token_is_refused_without_telling_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, why: str
) -> None:
    """As an argument at once, elsewhere when it is read."""
    with pytest.raises(ValueError, match=f"^token: .*{why}") as argument:
        Client(token=token)
    (tmp_path / "token").write_bytes(token.encode())
    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(AccessError, match=r"^COLLECTORD_TOKEN_FILE: .*/token: the token has") as file:
        Access().token_now()
    for error in (argument, file):
        assert token not in str(error.value)


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "is empty"), (b"\n", "is empty"), (None, "cannot be read: No such file")]
)
def test_a_file_without_a_token_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(AccessError, match=f"^COLLECTORD_TOKEN_FILE: .*/token {why}"):
        Access().token_now()


def test_tls_is_spoken_where_the_endpoint_or_an_authority_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Access(ca="/ca")
    assert Access().speaks_tls("tls://a:1")
    assert named.speaks_tls("a:1")
    assert not Access().speaks_tls("a:1")
    for endpoint in ("unix:/a", "dir:/a", None):
        assert not named.speaks_tls(endpoint)
    monkeypatch.setenv("COLLECTORD_ENDPOINT", "tls://a:1")
    assert Access().speaks_tls(None)
    monkeypatch.setenv("COLLECTORD_TLS_CA", "/ca")
    assert Access().speaks_tls("a:1")


def test_a_token_is_not_sent_to_another_machine_in_the_clear() -> None:
    for target in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/a"):
        Access().check_plain(target, TOKEN)
    Access().check_plain("10.0.0.1:1", "")
    for target in ("10.0.0.1:1", "collectord:1", "[2001:db8::1]:1"):
        with pytest.raises(AccessError, match="over TLS only: endpoint tls://"):
            Access().check_plain(target, TOKEN)


def test_half_of_a_pair_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="belong together"):
        Client(tls_cert="/c")
    monkeypatch.setenv("COLLECTORD_TLS_KEY", "/k")
    with pytest.raises(AccessError, match="COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY belong together"):
        Access().credentials()
    with pytest.raises(AccessError, match="tls_ca: /none cannot be read"):
        Access(ca="/none", cert="/c", key="/k").credentials()
    (tmp_path / "x").write_text("rubbish")
    with pytest.raises(AccessError, match=r"tls_ca: .*/x holds nothing in PEM"):
        Access(ca=str(tmp_path / "x"), cert="/c", key="/k").credentials()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@contextmanager
def serving(files: Files) -> Iterator[str]:
    """Shakes hands with a certificate and greets, as often as somebody comes; the target."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
                secured.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("name", "names", "begins", "ends", "why"),
    [
        ("good", ("127.0.0.1",), NOW - DAY, NOW + DAY, "^$"),
        ("old", ("127.0.0.1",), NOW - 9 * DAY, NOW - DAY, "has expired; renew it where the daemon runs"),
        ("early", ("127.0.0.1",), NOW + DAY, NOW + 9 * DAY, "is not valid yet; is one of the clocks wrong"),
        ("other", ("model.example",), NOW - DAY, NOW + DAY, "is for another name than '127.0.0.1'"),
    ],
)
def test_what_is_wrong_with_the_daemons_certificate_is_said_in_a_sentence(
    authority: Authority, name: str, names: tuple[str, ...], begins: datetime, ends: datetime, why: str
) -> None:
    with serving(authority.files(name, names, begins=begins, ends=ends)) as target:
        assert re.search(why, Access(ca=str(authority.ca)).why_not(target))
        if name == "other":
            assert Access(ca=str(authority.ca), name="model.example").why_not(target) == ""


def test_a_port_that_speaks_tls_is_told_to_who_comes_without(authority: Authority, make: Any) -> None:
    """gRPC says only that the socket was closed; the rows are kept."""
    with serving(authority.files("plain", ("127.0.0.1",), begins=NOW - DAY, ends=NOW + DAY)) as target:
        client = make(endpoint=target)
        client.collect([[1.0]])
        said = eventually(lambda: "TLS" in client.stats()["last_error"] and client.stats()["last_error"], "it is said")
        assert said.startswith(f"TLS: {target} speaks TLS, and this client does not: name the authority")
        assert "tls_ca (COLLECTORD_TLS_CA)" in said
        assert client.stats()["waiting"] == 1
        client.close(0)
    assert Access().why_not_plain(target) == "", "nobody listens there any more"


def test_where_nobody_listens_there_is_nothing_to_explain(authority: Authority) -> None:
    """gRPC's own words say it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert Access(ca=str(authority.ca)).why_not(f"127.0.0.1:{port}") == ""


def test_a_token_is_in_nothing_that_is_shown() -> None:
    """A traceback with values shows it as little as the client's own statistics."""
    client = Client("m", token=TOKEN, endpoint="127.0.0.1:1")
    assert TOKEN not in repr(Access(TOKEN)) + str(Access(TOKEN)) + f"{Access(TOKEN)}"
    assert TOKEN not in str(client.stats()) + repr(client)
    client.close(0)


def test_a_token_that_is_mended_is_taken_at_the_next_attempt(
    daemon: FakeDaemon, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody restarts anything, and no row is lost meanwhile."""
    place = tmp_path / "token"
    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(place))
    daemon.token = TOKEN
    client = make()
    client.collect([[1.0]])
    eventually(lambda: "No such file" in client.stats()["last_error"], "the file is missing")
    fresh = tmp_path / "fresh"
    fresh.write_text(TOKEN)
    fresh.replace(place)
    assert client.flush(20)
    assert client.stats()["acknowledged"] == 1
