"""Tenants: whom a token or a certificate names, what a file of them may say, and that a wrong one changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from collectord.errors import ConfigError, Unauthenticated
from collectord.model import Stream
from collectord.patterns import StreamPatterns
from collectord.tenants import LONGEST_TOKEN, MAX_FILE_BYTES, Tenant, Tenants, read

RED, BLUE = "red-0123456789abcdef", "blue-0123456789abcdef"
SOCKET, PORT = "unix:/run/c.sock", "0.0.0.0:9807"


def write(folder: Path, text: str) -> Path:
    """Replaced as a whole, so that no reader sees half of it."""
    path = folder / "tenants.toml"
    fresh = folder / "fresh"
    fresh.write_text(text)
    fresh.replace(path)
    return path


def tenants(folder: Path, text: str) -> Tenants:
    return Tenants(write(folder, text), [PORT])


def test_a_token_names_its_tenant_however_the_file_has_it(tmp_path: Path) -> None:
    """Itself, its digest, or the name of a file that holds it, whose line's end is none of it; several at a time."""
    (tmp_path / "one").write_text(f"{RED}\r\n")
    digest = hashlib.sha256(BLUE.encode()).hexdigest().upper()
    found = tenants(
        tmp_path,
        f"""
        [tenants.red]
        token = ["{RED}-a", "{RED}-b"]
        token_file = "one"
        streams = ["red/*/*"]
        bytes_per_second = "4MiB"
        rows_per_second = 10
        clients = 2
        partitions = 3
        [tenants.blue]
        token_sha256 = "{digest}"
        """,
    )
    red = Tenant("red", StreamPatterns(("red/*/*",)), 4 << 20, 10, 2, 3)
    for token in (RED, f"{RED}-a", f"{RED}-b"):
        assert found.who(SOCKET, found.digest(token)) == red
    assert found.who(PORT, found.digest(BLUE)) == Tenant("blue")
    assert found.names == ["red", "blue"]
    assert RED not in repr(vars(found)), "nothing of a token is kept"


def test_who_may_write_what() -> None:
    red = Tenant("red", StreamPatterns(("red/*/inputs",)))
    assert red.may_write(Stream(webservice="red", model="m", designation="inputs"))
    assert not red.may_write(Stream(webservice="red", model="m", designation="labels"))
    assert (red.may_know("red"), red.may_know("blue")) == (True, False)
    assert Tenant().may_write(Stream(webservice="any"))
    assert Tenant().may_know("any")


def test_without_a_file_everybody_is_anybody_whatever_he_says() -> None:
    """As it was before there were tokens."""
    found = Tenants(None, [PORT])
    for token in ("", "x", "a\nb", RED):
        assert found.who(PORT, found.digest(token)) == Tenant()
    assert not found.look()


def test_where_others_reach_it_everybody_has_to_be_named(tmp_path: Path) -> None:
    found = tenants(tmp_path, f'[tenants.red]\ntoken = "{RED}"\n')
    assert found.who(SOCKET, b"") == Tenant()
    with pytest.raises(Unauthenticated, match="needs a token: set COLLECTORD_TOKEN"):
        found.who(PORT, b"")
    for listener in (SOCKET, PORT):
        with pytest.raises(Unauthenticated, match="not known here"):
            found.who(listener, found.digest(RED + "!"))


def test_a_listener_may_ask_for_a_name_and_may_allow_less(tmp_path: Path) -> None:
    found = tenants(
        tmp_path,
        f"""
        [tenants.red]
        token = "{RED}"
        [listeners."{SOCKET}"]
        streams = ["open/*/*"]
        [listeners.mdc]
        named = true
        """,
    )
    assert found.who(SOCKET, b"") == Tenant("", StreamPatterns(("open/*/*",)))
    assert found.who(SOCKET, found.digest(RED)) == Tenant("red"), "who is named may do what his name may"
    with pytest.raises(Unauthenticated, match="needs a token"):
        found.who("mdc", b"")


def test_a_certificate_names_a_tenant_and_a_token_counts_more(tmp_path: Path) -> None:
    found = tenants(
        tmp_path, f'[tenants.red]\ncertificate = "red.example"\n[tenants.blue]\ntoken = "{BLUE}"\ncertificate = ["b"]\n'
    )
    assert found.who(PORT, b"", ["x", "red.example"]).name == "red"
    assert found.who(PORT, found.digest(BLUE), ["red.example"]).name == "blue"
    with pytest.raises(Unauthenticated):
        found.who(PORT, b"", ["green.example"])


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("short", "fewer than 16 characters"),
        ("x" * (LONGEST_TOKEN + 1), "more than 512 characters"),
        (RED + "\n", "a newline"),
        ("\r" + RED, "a newline"),
        (RED + "\0", "a NUL"),
        ("two " + RED, "a blank"),
        ("ä" * 20, "printable ASCII"),
    ],
)
def test_what_can_be_no_token_is_refused_without_telling_it(tmp_path: Path, token: str, why: str) -> None:
    """Said by a client, in the file, and in a file of its own."""
    found = tenants(tmp_path, f'[tenants.red]\ntoken = "{RED}"\n')
    with pytest.raises(Unauthenticated, match=why) as refusal:
        found.digest(token)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in token)
    with pytest.raises(ConfigError, match=rf"^tenants: .*tenants\.red\.token: it .*{why}") as wrong:
        read(write(tmp_path, f'[tenants.red]\ntoken = "{escaped}"\n'))
    for error in (refusal, wrong):
        assert token not in str(error.value)
    (tmp_path / "one").write_bytes(token.encode() + b"\n")
    with pytest.raises(ConfigError, match=r"tenants\.red\.token_file: .*/one: it "):
        read(write(tmp_path, '[tenants.red]\ntoken_file = "one"\n'))


WRONG = {
    "": "it is empty",
    "[tenants.red]\n": "neither token, token_sha256, token_file nor certificate",
    '[tenants.red]\ntoken = ""\n': r"tenants\.red\.token: it is empty",
    "[tenants.red]\ntoken = 7\n": "a text or a list of texts",
    '[tenants.red]\ntoken_sha256 = "abc"\n': "64 hexadecimal digits",
    '[tenants.red]\ntoken_file = "absent"\n': "absent cannot be read: No such file",
    f'[tenants."a b"]\ntoken = "{RED}"\n': "a tenant's name has",
    f'[tenants.red]\ntoken = "{RED}"\n[tenants.blue]\ntoken = "{RED}"\n': "tenants.blue: a token is also that of tenants.red",
    '[tenants.red]\ncertificate = "x"\n[tenants.blue]\ncertificate = "x"\n': "the certificate 'x' is also that of",
    f'[tenants.red]\ntoken = "{RED}"\nstreams = []\n': "name at least one",
    f'[tenants.red]\ntoken = "{RED}"\nstreams = ["red"]\n': "is not webservice/model/designation",
    f'[tenants.red]\ntoken = "{RED}"\nrows_per_second = 0\n': "a whole number above 0",
    f'[tenants.red]\ntoken = "{RED}"\nrows_per_second = true\n': "a whole number above 0",
    f'[tenants.red]\ntoken = "{RED}"\nbytes_per_second = "many"\n': "KiB, MiB or GiB",
    f'[tenants.red]\ntoken = "{RED}"\nquota = 1\n': "there is no 'quota'; there are token,",
    f'[tenant.red]\ntoken = "{RED}"\n': "there is no 'tenant'; there are tenants, listeners",
    "tenants = 1\n": "tenants: a table is needed",
    '[listeners."unix:/a"]\nnamed = 1\n': "true or false",
    f'[tenants.red]\ntoken = "{RED}"\n token = "{RED}"\n': r"is not TOML \(at line 3",
    f'[tenants.red]\n"{RED}"\n': r"is not TOML \(at line 2",
    "a = " + "[" * 100_000: "is not TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_stops_the_start_and_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[text]) as error:
        tenants(tmp_path, text)
    assert str(error.value).startswith(f"tenants: {tmp_path / 'tenants.toml'}")
    assert RED not in str(error.value)


def test_files_that_are_no_text_too_large_or_not_there_stop_the_start(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read(path)
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="has more than 1048576 bytes"):
        read(path)
    path.write_text(f'\ufeff[tenants.red]\ntoken = "{RED}"\n')
    assert [tenant.name for tenant in read(path).tenants] == ["red"], "a byte-order mark is none of it"


def test_the_file_counts_as_soon_as_it_changes_and_a_wrong_one_never(tmp_path: Path) -> None:
    found = tenants(tmp_path, f'[tenants.red]\ntoken = "{RED}"\n')
    assert not found.look()
    assert not found.look()
    write(tmp_path, f'[tenants.red]\ntoken = "{BLUE}"\n')
    assert found.look()
    assert found.who(PORT, found.digest(BLUE)).name == "red"
    with pytest.raises(Unauthenticated):
        found.who(PORT, found.digest(RED))
    for wrong in ("rubbish", ""):
        write(tmp_path, wrong)
        assert not found.look()
        assert found.problem.startswith("tenants: ")
        assert found.who(PORT, found.digest(BLUE)).name == "red"
    (tmp_path / "tenants.toml").unlink()
    assert not found.look()
    assert "cannot be read" in found.problem
    write(tmp_path, f'[tenants.red]\ntoken = "{BLUE}"\n')
    assert not found.look(), "it says what it said before"
    assert found.problem == ""


def test_a_file_of_a_token_may_come_after_it_was_named(tmp_path: Path) -> None:
    """Whoever edits one file after the other, or mounts two volumes, does not choose which is seen first."""
    found = tenants(tmp_path, f'[tenants.red]\ntoken = "{RED}"\n')
    assert not found.look()
    write(tmp_path, f'[tenants.red]\ntoken = "{RED}"\ntoken_file = ["one", "two"]\n')
    for name in ("one", "two"):
        assert not found.look()
        assert not found.look()
        assert f"{name} cannot be read" in found.problem
        (tmp_path / name).write_text(BLUE + name)
    assert found.look()
    assert found.problem == ""
    assert found.who(PORT, found.digest(BLUE + "one")).name == "red"
    (tmp_path / "two").write_text(BLUE + "three")
    found.look()
    assert found.who(PORT, found.digest(BLUE + "three")).name == "red"


def test_files_of_tokens_are_looked_at_too_and_swapped_directories_are_seen(tmp_path: Path) -> None:
    """As Kubernetes replaces a Secret: the names stay, and a link to the directory behind them is swapped."""
    for name, token in (("v1", RED), ("v2", BLUE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "token").symlink_to("data/token")
    found = tenants(tmp_path, '[tenants.red]\ntoken_file = "token"\n')
    assert found.who(PORT, found.digest(RED)).name == "red"
    found.look()
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(tmp_path / "data")
    assert found.look()
    assert found.who(PORT, found.digest(BLUE)).name == "red"
