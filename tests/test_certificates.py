"""The daemon's certificate: what cannot be used is named, and what is replaced is taken only if it can."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from collectord.certificates import Certificates
from collectord.errors import ConfigError
from collectord.watch import seen
from tests.authority import DAY, NOW, Authority, Files


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    found = Files(tmp_path / "c.crt", tmp_path / "c.key")
    authority.replace(found, *authority.sign("localhost"))
    return found


def made(files: Files, client_ca: Path | None = None) -> Certificates:
    return Certificates(files.cert, files.key, client_ca)


def test_a_good_pair_is_taken_as_it_is(authority: Authority, files: Files) -> None:
    found = made(files, authority.ca)
    assert (found.pair.chain, found.pair.key) == (files.cert.read_bytes(), files.key.read_bytes())
    assert found.pair.client_ca == authority.ca.read_bytes()
    assert found.pair.context.verify_mode is ssl.CERT_REQUIRED
    assert found.problem == ""
    assert abs(found.expires - (NOW + 30 * DAY).timestamp()) < 2


def test_what_cannot_be_used_stops_the_start_and_is_named(authority: Authority, files: Files, tmp_path: Path) -> None:
    """Absent, no PEM, the key of another, an encrypted key, an authority that is none; never with what stands in the files."""
    chain, key = files.cert.read_bytes(), files.key.read_bytes()
    other = authority.sign("localhost")[1]
    locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    for content, why in (
        ((b"rubbish", key), r"^tls_cert: .*c\.crt holds no certificate in PEM"),
        ((key, key), "^tls_cert: .* holds no certificate in PEM"),
        ((chain, b"rubbish"), r"^tls_key: .*c\.key holds no private key in PEM"),
        ((chain, chain), "^tls_key: .* holds no private key"),
        ((chain, other), "^tls_key: .* is not the key of the certificate in "),
        ((chain, locked), "^tls_key: "),
        ((chain, b"x" * ((1 << 20) + 1)), "^tls_key: .* has more than"),
    ):
        authority.replace(files, *content)
        with pytest.raises(ConfigError, match=why) as error:
            made(files)
        assert "MII" not in str(error.value)
    authority.replace(files, chain, key)
    with pytest.raises(ConfigError, match=r"^tls_client_ca: .* holds no certificate"):
        made(files, files.key)
    with pytest.raises(ConfigError, match=r"^tls_client_ca: .* cannot be read: No such file"):
        made(files, tmp_path / "none")
    files.key.unlink()
    with pytest.raises(ConfigError, match=r"^tls_key: .* cannot be read: No such file"):
        made(files)


def test_one_that_is_not_valid_now_is_served_and_said(authority: Authority, files: Files) -> None:
    """The unix sockets are none the worse for it, so the start goes on."""
    for begins, ends, why in (
        (NOW - 9 * DAY, NOW - DAY, "expired on 20"),
        (NOW + DAY, NOW + 9 * DAY, "is not valid before 20"),
    ):
        authority.replace(files, *authority.sign("localhost", begins=begins, ends=ends))
        assert why in made(files).problem


def test_a_replaced_pair_counts_only_if_it_can_be_used(authority: Authority, files: Files) -> None:
    found = made(files)
    first = found.pair
    assert found.pair is first, "nothing is read where nothing has changed"
    for chain, key in (
        (first.chain, authority.sign("localhost")[1]),
        (b"", b""),
        authority.sign("localhost", begins=NOW - 9 * DAY, ends=NOW - timedelta(hours=1)),
    ):
        authority.replace(files, chain, key)
        assert found.pair is first
        assert found.problem.startswith("tls_")
    files.cert.unlink()
    assert found.pair is first
    fresh = authority.sign("localhost")
    authority.replace(files, *fresh)
    assert (found.pair.chain, found.problem) == (fresh[0], "")


def test_where_the_old_one_has_expired_a_later_one_is_better_although_it_has_too(
    authority: Authority, files: Files
) -> None:
    authority.replace(files, *authority.sign("localhost", begins=NOW - 9 * DAY, ends=NOW - 2 * DAY))
    found = made(files)
    fresh = authority.sign("localhost", begins=NOW - 9 * DAY, ends=NOW - DAY)
    authority.replace(files, *fresh)
    assert found.pair.chain == fresh[0]
    assert "expired" in found.problem


def test_what_time_makes_of_a_pair_counts_without_another_change(authority: Authority, files: Files) -> None:
    """One that was renewed on a machine whose clock is ahead counts once its time has come; one that expires is said to have."""
    at = [NOW]
    found = Certificates(files.cert, files.key, now=lambda: at[0].timestamp())
    early = authority.sign("localhost", begins=NOW + timedelta(minutes=5), ends=NOW + 90 * DAY)
    authority.replace(files, *early)
    found.look()
    assert "is not valid before" in found.problem
    at[0] += timedelta(minutes=6)
    assert (found.pair.chain, found.problem) == (early[0], "")
    at[0] += 91 * DAY
    found.look()
    assert "expired on" in found.problem


def test_rights_that_are_given_later_are_seen(files: Files) -> None:
    """Whoever may read the key by now does: neither its content nor the time of that has changed."""
    before = seen([files.key])
    files.key.chmod(0o400)
    assert seen([files.key]) != before


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """What the server says of a handshake in memory; empty if it is content."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname="localhost"),
        server.wrap_bio(up, down, server_side=True),
    ]
    waiting = True
    for _ in range(10):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                waiting = waiting and number == 0
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error.reason
    return "it never ends" if waiting else ""


def test_what_python_serves_with_is_what_counts_when_somebody_comes(
    authority: Authority, files: Files, tmp_path: Path
) -> None:
    """Certificate and authority of the clients alike: who had come in with the former one's does not any more."""
    other = Authority(tmp_path / "other", "other")
    client_ca = tmp_path / "client-ca.pem"
    client_ca.write_bytes(authority.ca.read_bytes())
    found = made(files, client_ca)

    def client(signed_by: Authority) -> ssl.SSLContext:
        own = signed_by.files("client", ["pod"])
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.load_cert_chain(own.cert, own.key)
        return context

    assert shaken(found.pair.context, client(authority)) == ""
    assert shaken(found.pair.context, client(other)) != ""
    asks_nobody = found.context()
    assert shaken(asks_nobody, ssl.create_default_context(cafile=str(authority.ca))) == ""
    assert shaken(found.pair.context, ssl.create_default_context(cafile=str(authority.ca))) != "", "none at all"
    fresh = tmp_path / "fresh"
    fresh.write_bytes(other.ca.read_bytes())
    fresh.replace(client_ca)
    assert shaken(found.pair.context, client(other)) == ""
    assert shaken(found.pair.context, client(authority)) != ""
    assert shaken(asks_nobody, ssl.create_default_context(cafile=str(authority.ca))) == ""


def test_a_directory_that_is_swapped_behind_a_link_is_seen(authority: Authority, tmp_path: Path) -> None:
    """As Kubernetes replaces a Secret."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        authority.replace(Files(tmp_path / name / "c.crt", tmp_path / name / "c.key"), *authority.sign("localhost"))
    link = tmp_path / "data"
    link.symlink_to("v1")
    found = made(Files(link / "c.crt", link / "c.key"))
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(link)
    assert found.pair.chain == (tmp_path / "v2" / "c.crt").read_bytes()
