"""Ports that other machines may reach: TLS, certificates of the clients, tokens, and who may write what."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import collectord_client
import pytest

from collectord.books import StreamBooks
from collectord.doctor import near
from tests.authority import DAY, NOW, Authority
from tests.e2e import wire
from tests.e2e.process import Daemon, free_port
from tests.e2e.waiting import eventually
from tests.ingest.payloads import headers

RED, BLUE, SLOW = "red-0123456789abcdef", "blue-0123456789abcdef", "slow-0123456789abcdef"
TENANTS = f"""
[tenants.red]
token = "{RED}"
streams = ["red/*/*"]
[tenants.blue]
token_file = "blue.token"
streams = ["blue/*/*", "*/shared/*"]
[tenants.slow]
token = "{SLOW}"
streams = ["slow/*/*"]
rows_per_second = 200
"""


class Node:
    """A daemon with all its doors open to others, and what clients need for it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "pki")
        self.files = self.authority.files("daemon")
        self.tenants = folder / "tenants.toml"
        self.tenants.write_text(TENANTS)
        (folder / "blue.token").write_text(BLUE + "\n")
        self.port, self.mdc = free_port(), free_port()
        self.daemon = Daemon(folder / "d")
        self.daemon.folder.mkdir()
        # 0.0.0.0 is what other machines reach.
        self.daemon.settings |= {
            "listen": f"{self.daemon.endpoint},0.0.0.0:{self.port}", "mdc": f"0.0.0.0:{self.mdc}",
            "tls_cert": self.files.cert, "tls_key": self.files.key, "tenants": self.tenants,
        }  # fmt: skip
        self._clients: list[collectord_client.Client] = []

    def client(self, token: str = RED, webservice: str = "red", **given: Any) -> collectord_client.Client:
        given = {"endpoint": f"tls://localhost:{self.port}", "tls_ca": self.authority.ca, "linger": 0.01} | given
        self._clients.append(collectord_client.Client("m", "1", webservice, token=token, **given))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close(0.1)
        self.daemon.clear_away()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = Path(tempfile.mkdtemp(prefix="cd-"))
    made = Node(folder)
    made.daemon.start()
    yield made
    made.close()
    assert "Traceback" not in made.daemon.said()
    for secret in (RED, BLUE, "PRIVATE KEY"):
        assert secret not in made.daemon.said()
    shutil.rmtree(folder)


def sent(client: collectord_client.Client, *rows: int) -> bool:
    client.collector("inputs", ["n"]).collect([[row] for row in rows])
    return client.flush(20)


def complaint(client: collectord_client.Client, word: str) -> str:
    """What it says is wrong; its rows are kept."""
    client.collector("inputs", ["n"]).collect([[1]])
    eventually(lambda: word in client.stats()["last_error"], f"{word}: {client.stats()['last_error']}")
    assert client.stats()["waiting"] == 1
    assert not client.stats()["dropped"]
    return str(client.stats()["last_error"])


def test_rows_travel_over_tls_with_a_token_and_are_the_tenants(node: Node) -> None:
    """The status says whose connection it is; the token itself is in no answer."""
    assert sent(node.client(), 1, 2, 3)
    status = node.daemon.status()
    assert ("red", f"0.0.0.0:{node.port}") in {(one["tenant"], one["listener"]) for one in status["clients"]}
    assert status["tenants"] == {"names": ["red", "blue", "slow"], "problem": None}
    assert RED not in json.dumps(status)


def test_a_tenant_cannot_write_into_anothers_stream(node: Node) -> None:
    """It is refused for good, with a sentence; what is the tenant's own goes on, over the same connection."""
    node.daemon.flush()
    before = node.daemon.books()
    thief = node.client(BLUE, "red")
    assert sent(thief, 7)
    assert thief.stats()["rejected"] == {"not_allowed": 1}
    assert sent(node.client(BLUE, "blue"), 8)
    node.daemon.flush()
    after = node.daemon.books()
    assert _of(after, "red") == _of(before, "red")
    assert [book.landed for book in _of(after, "blue").values()] == [1]


def _of(books: dict[str, StreamBooks], webservice: str) -> dict[str, StreamBooks]:
    return {stream: book for stream, book in books.items() if f"/{webservice}/" in stream}


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "needs a token"),
        ("wrong-0123456789abcdef", "not known here"),
        ("short", "fewer than 16"),
        ("x" * 512, "not known here"),
    ],
)
def test_who_has_no_token_or_a_wrong_one_is_told_and_keeps_his_rows(node: Node, token: str, why: str) -> None:
    before = refused(node)
    assert complaint(node.client(token), why).startswith("UNAUTHENTICATED: ")
    assert refused(node) > before


def refused(node: Node) -> float:
    return node.daemon.metrics().get('collectord_streams_refused_total{reason="token"}', 0.0)


def test_on_the_socket_nobody_needs_a_token_but_a_wrong_one_is_no_good(node: Node) -> None:
    endpoint = node.daemon.endpoint
    assert sent(node.client("", "anything", endpoint=endpoint), 1)
    complaint(node.client("wrong-0123456789abcdef", endpoint=endpoint), "not known here")


def test_a_daemon_that_the_client_cannot_trust_gets_no_rows(node: Node, tmp_path: Path) -> None:
    """Another authority, another name, none named at all, and no TLS at the other end: each has its sentence."""
    other = Authority(tmp_path / "other", "other")
    port = node.port
    assert "signed by no authority" in complaint(node.client(tls_ca=other.ca), "authority")
    assert "COLLECTORD_TLS_CA" in complaint(node.client(tls_ca=None), "authority")
    assert "another name than 'model.example'" in complaint(node.client(tls_name="model.example"), "name")
    admin = f"tls://127.0.0.1:{node.daemon.admin_port}"
    assert "does not speak TLS" in complaint(node.client(endpoint=admin), "TLS")
    assert "cannot be read" in complaint(node.client(tls_ca=tmp_path / "none"), "tls_ca")
    assert "tls://" in complaint(node.client(endpoint=f"192.0.2.1:{port}", tls_ca=None), "over TLS only")
    plain = f"127.0.0.1:{port}"
    assert "name the authority" in complaint(node.client("", endpoint=plain, tls_ca=None), "speaks TLS")
    found = near.client({"COLLECTORD_ENDPOINT": plain}, (), None)
    assert (found.ok, "TLS is spoken there" in found.what) == (False, True), "and so says the doctor"
    assert f"COLLECTORD_ENDPOINT=tls://{plain}" in found.todo


def test_a_certificate_is_replaced_while_it_runs_and_a_bad_one_changes_nothing(node: Node) -> None:
    """Swapped keys and expired ones leave the old one in its place, with a metric and a log line; clients go on."""
    good = node.files.cert.read_bytes(), node.files.key.read_bytes()
    fresh = node.authority.sign("localhost", "127.0.0.1")
    assert served(node) == ssl.PEM_cert_to_DER_cert(good[0].decode())
    for chain, key, why in (
        (fresh[0], good[1], "is not the key of the certificate"),
        (b"rubbish", good[1], "holds no certificate"),
        (*node.authority.sign("localhost", begins=NOW - 9 * DAY, ends=NOW - DAY), "expired on"),
    ):
        node.authority.replace(node.files, chain, key)
        assert served(node) == ssl.PEM_cert_to_DER_cert(good[0].decode())
        eventually(lambda why=why: why in (node.daemon.status()["tls"]["problem"] or ""), why)  # type: ignore[misc]
        assert node.daemon.metrics()["collectord_tls_problem"] == 1
        assert sent(node.client(tls_name=""), 1)
    node.authority.replace(node.files, *fresh)
    assert served(node) == ssl.PEM_cert_to_DER_cert(fresh[0].decode())
    assert served(node, node.mdc) == ssl.PEM_cert_to_DER_cert(fresh[0].decode())
    assert node.daemon.metrics()["collectord_tls_problem"] == 0
    assert sent(node.client(), 2)


def served(node: Node, port: int | None = None) -> bytes:
    """The certificate that a port shows."""
    context = ssl.create_default_context(cafile=str(node.authority.ca))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port or node.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def test_a_token_is_replaced_while_it_runs(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one's connections end, nothing is lost, and the client reads the new one where it read the old."""
    place = tmp_path / "token"
    place.write_text(RED + "\n")
    monkeypatch.setenv("COLLECTORD_TOKEN_FILE", str(place))
    client = node.client("")
    assert sent(client, 1)
    other = "red2-0123456789abcdef"
    node.tenants.write_text(TENANTS.replace(RED, other))
    look(node)
    eventually(lambda: "not known here" in client.stats()["last_error"], "the token is withdrawn")
    client.collector("inputs", ["n"]).collect([[2]])
    place.write_text(other)
    assert client.flush(20)
    for wrong in ("rubbish", TENANTS.replace(RED, "short"), ""):
        node.tenants.write_text(wrong)
        look(node)
        assert node.daemon.metrics()["collectord_tenants_problem"] == 1
        assert sent(client, 3), "what was known before counts"
    node.tenants.write_text(TENANTS)
    look(node)
    assert node.daemon.status()["tenants"]["problem"] is None
    assert client.stats()["acknowledged"] == 5


def look(node: Node) -> None:
    """Has the daemon see what has changed: as it does whenever somebody comes, and once a second."""
    assert post(node, None, "red")[0] == 401


def post(node: Node, token: str | None, webservice: str, trace: str = "t") -> tuple[int, str]:
    """A payload of the v2 SDK."""
    context = ssl.create_default_context(cafile=str(node.authority.ca))
    connection = http.client.HTTPSConnection("localhost", node.mdc, timeout=30, context=context)
    given = headers(ce_time=str(int(time.time())), ce_webservice=webservice, trace_id=trace)
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    connection.request("POST", "/modeldata/log", json.dumps([{"a": 1}]), given)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_v2_door_speaks_tls_and_asks_for_the_token(node: Node) -> None:
    """401 with a sentence without one; 403 for another's stream; and one tenant's trace id is not another's."""
    assert post(node, None, "red")[0] == 401
    assert "not known here" in post(node, "wrong-0123456789abcdef", "red")[1]
    status, text = post(node, BLUE, "red")
    assert (status, "not_allowed" in text) == (403, True), text
    # Whoever says a trace id first must not make a repeat of what the other sends.
    assert post(node, BLUE, "blue", "same") == (202, "accepted\n")
    assert post(node, RED, "red", "same") == (202, "accepted\n")
    assert post(node, RED, "red", "same") == (202, "accepted before\n")


def test_the_status_says_who_is_connected_to_the_socket_as_the_kernel_knows_it(node: Node) -> None:
    """A client's process and user; and a client that gives itself out for another process is not believed."""
    endpoint = node.daemon.endpoint
    assert sent(node.client("", "peers", endpoint=endpoint), 1)
    user = {"uid": os.getuid(), "gid": os.getgid()}
    mine = [one for one in node.daemon.status()["clients"] if one["listener"] == endpoint and one["rows"]]
    assert [one["peer"] for one in mine] == [{"pid": os.getpid(), **user}] * len(mine)
    liar = wire.WireClient(endpoint)
    liar.pid = 1
    with liar:
        status = node.daemon.status()
        (found,) = (one for one in status["clients"] if one["pid"] == 1)
        assert found["peer"] == {"pid": None, **user}, "the user is certain, as it is the only one"
        assert {(one["pid"], one["uid"]) for one in status["peers"]} == {(os.getpid(), os.getuid())}


def test_clients_show_certificates_of_their_own(folder: Path) -> None:
    """mTLS: without one, or with another authority's, nobody comes in; a name in it names the tenant. The HTTP side speaks TLS
    with the same certificate, and asks for none."""
    node = Node(folder)
    node.tenants.write_text('[tenants.red]\ncertificate = "pod.red"\nstreams = ["red/*/*"]\n')
    clients = folder / "clients.pem"
    clients.write_bytes(node.authority.ca.read_bytes())
    node.daemon.settings |= {"tls_client_ca": clients, "admin_tls": True}
    try:
        node.daemon.start()
        mine, foreign = node.authority.files("pod", ["pod.red"]), Authority(folder / "x", "x").files("pod", ["pod.red"])
        old = node.authority.files("old", ["pod.red"], begins=NOW - 9 * DAY, ends=NOW - DAY)
        assert sent(node.client("", tls_cert=mine.cert, tls_key=mine.key), 1)
        assert [one["tenant"] for one in node.daemon.status()["clients"]] == ["red"]
        asks = complaint(node.client(""), "TLS")
        assert "asks for a certificate of this client" in asks
        for wrong in (foreign, old):
            assert "refuses the certificate" in complaint(
                node.client("", tls_cert=wrong.cert, tls_key=wrong.key), "TLS"
            )
        stranger = node.authority.files("green", ["pod.green"])
        assert complaint(node.client("", tls_cert=stranger.cert, tls_key=stranger.key), "needs a token")
        context = ssl.create_default_context(cafile=str(node.authority.ca))
        probe = http.client.HTTPSConnection("localhost", node.daemon.admin_port, timeout=30, context=context)
        probe.request("GET", "/readyz")
        assert probe.getresponse().status == 200
        probe.close()
        door = http.client.HTTPSConnection("localhost", node.mdc, timeout=30, context=context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            door.request("POST", "/modeldata/log", "[]")
            door.getresponse()
        door.close()
        context.load_cert_chain(mine.cert, mine.key)
        door = http.client.HTTPSConnection("localhost", node.mdc, timeout=30, context=context)
        door.request(
            "POST", "/modeldata/log", '[{"a": 1}]', headers(ce_time=str(int(time.time())), ce_webservice="red")
        )
        assert door.getresponse().status == 202
        door.close()
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context.maximum_version = version
            clients.write_bytes(node.authority.ca.read_bytes())
            answered, session = asked(node, context)
            assert answered
            clients.write_bytes(Authority(folder / version.name, "x").ca.read_bytes())
            assert not asked(node, context)[0]
            assert not asked(node, context, session)[0], "nor with a session from before"
    finally:
        node.close()


def asked(
    node: Node, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether the v2 door answers at all, and the session that it gives."""
    try:
        with (
            socket.create_connection(("127.0.0.1", node.mdc), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secured,
        ):
            secured.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return secured.recv(1) != b"", secured.session
    except OSError:
        return False, None


def test_handshakes_that_never_end_hold_no_place_for_long(node: Node) -> None:
    """Whoever connects to the v2 door and says nothing, or rubbish, stands in nobody's way."""
    before = node.daemon.metrics()["collectord_tls_failures_total"]
    idle = [socket.create_connection(("127.0.0.1", node.mdc)) for _ in range(20)]
    for one in idle[:10]:
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert post(node, RED, "red", "idle") == (202, "accepted\n")
    eventually(lambda: node.daemon.metrics()["collectord_tls_failures_total"] >= before + 10, "rubbish is counted")
    for one in idle:
        one.close()


def test_what_is_beyond_a_tenants_quota_waits_and_lands_while_the_other_goes_on(node: Node) -> None:
    """The one reads why it has no credit; of neither is a row lost, and the other one never waited."""
    slow, quiet = node.client(SLOW, "slow"), node.client(BLUE, "blue")
    collector = slow.collector("inputs", ["n"])
    for start in (0, 100, 200, 300):
        collector.collect([[row] for row in range(start, start + 100)])
        # Each is a batch of its own; the third finds nothing left.
        eventually(lambda: not slow.stats()["waiting"] or "quota" in slow.stats()["last_error"], "it is sent")
    assert "the quota of the tenant slow is used up" in slow.stats()["last_error"]
    assert sent(quiet, 1, 2, 3)
    assert slow.flush(30)
    assert (slow.stats()["acknowledged"], slow.stats()["dropped"]) == (400, {})
    assert node.daemon.metrics()['collectord_credit_waits_total{cause="quota"}'] >= 1
    node.daemon.flush()
    assert [book.landed for book in _of(node.daemon.books(), "slow").values()] == [400]
