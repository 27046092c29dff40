"""Where the client looks for the daemon, and what it says about places that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from collectord_client import Client, EndpointError
from collectord_client.endpoint import DEFAULT_SOCKETS, check, directory_of, resolve

from tests.client.fakedaemon import FakeDaemon


@pytest.mark.parametrize(
    "good", ["unix:/run/x.sock", "unix:x.sock", "unix:///run/x.sock", "node:50051", "[::1]:80", "dir:/x"]
)
def test_usable_endpoints(good: str) -> None:
    assert check(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "unix:", "dir:", "dir:a\0b", "/run/x.sock", "host", "host:", "host:0", "host:70000", "http://h:1", "a b:1"],
)
def test_unusable_endpoints_are_a_programmers_error(bad: str) -> None:
    with pytest.raises(EndpointError):
        check(bad)
    if bad:
        with pytest.raises(ValueError, match=r"unix|path|directory"):
            Client(endpoint=bad)


def test_a_path_over_107_bytes_says_so() -> None:
    check("unix:/" + "x" * 106)
    with pytest.raises(EndpointError, match=r"108 bytes.*at most 107"):
        check("unix:/" + "x" * 107)


def test_such_a_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert resolve("unix:./run/c.sock") == ("unix:run/c.sock", "run/c.sock")
    assert resolve(f"unix:{deep.parent}/c.sock") == ("unix:../c.sock", "../c.sock")
    for framed, transport in ((True, "framed"), (False, "grpc")):
        daemon = FakeDaemon("unix:c.sock", framed=framed)
        with Client("m", endpoint=f"unix:{deep}/c.sock") as client:
            client.collect([1.0])
            flushed, stats = client.flush(10), client.stats()
        daemon.stop()
        assert (flushed, stats["transport"]) == (True, transport), stats["last_error"]


def test_a_directory_has_its_socket_in_its_own_spool_unless_the_path_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes find the same one, however they name the directory."""
    monkeypatch.delenv("COLLECTORD_SPOOL", raising=False)
    monkeypatch.chdir("/")
    path = "/no/such/place/_collectord/embedded/collectord.sock"
    for name in ("dir:/no/such/place", "dir:no/such/place/", "dir:///no/such/place"):
        assert resolve(name) == (f"unix:{path}", path)
    link = tmp_path / "link"
    link.symlink_to("/no/such/place")
    assert resolve(f"dir:{link}") == (f"unix:{path}", path)
    places = {resolve(f"dir:/{name}")[1] for name in ("x" * 200, "y" * 200, "a b", "100%")}
    assert len(places) == 4
    for place in places:
        assert place is not None
        assert place.startswith("/tmp/collectord-")
        assert len(place) <= 107
    monkeypatch.setenv("COLLECTORD_SPOOL", "/spool")
    assert resolve("dir:/" + "x" * 200)[1] == "/spool/collectord.sock"
    monkeypatch.setenv("COLLECTORD_ENDPOINT", "dir:~/rows")
    assert directory_of(None) == str(Path.home() / "rows")
    assert directory_of("unix:x.sock") is None
    assert check("dir:rows/") == "dir:/rows"


def test_the_environment_then_the_sockets_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLLECTORD_ENDPOINT", raising=False)
    monkeypatch.setattr("collectord_client.endpoint.DEFAULT_SOCKETS", (f"{tmp_path}/run/c.sock", DEFAULT_SOCKETS[1]))
    assert resolve(None) == (f"unix:{tmp_path}/run/c.sock", f"{tmp_path}/run/c.sock")
    local = tmp_path / "collectord-data" / "collectord.sock"
    local.parent.mkdir()
    local.touch()
    assert resolve(None)[1] == str(local)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "c.sock").touch()
    assert resolve(None)[1] == f"{tmp_path}/run/c.sock"
    monkeypatch.setenv("COLLECTORD_ENDPOINT", "node:1234")
    assert resolve(None) == ("node:1234", None)
    assert resolve("other:1")[0] == "other:1"


def test_a_bad_environment_does_not_reach_the_scoring_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_ENDPOINT", "unix:/" + "x" * 200)
    client = Client("m")
    client.collect([1.0])
    assert not client.flush(0.3)
    assert "at most 107" in client.stats()["last_error"]
    client.close(0)
