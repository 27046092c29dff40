"""Settings: who wins, and that a wrong one is named with what is allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from collectord.address import MAX_SOCKET_PATH
from collectord.coherence import doubts
from collectord.config import load, unknown_environment
from collectord.errors import ConfigError
from collectord.notation import parse_size
from collectord.schema import MAX_COLUMNS, MAX_NAME_BYTES, MAX_STREAM_PART_BYTES
from collectord.settings import Settings

SECRET = "AccountKey=c2VjcmV0"


@pytest.fixture(autouse=True)
def in_a_short_folder(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")


def toml(path: Path, text: str) -> Path:
    file = path / "c.toml"
    file.write_text(text)
    return file


def test_without_any_setting_the_defaults_hold() -> None:
    settings = load()
    assert settings.listen == ("unix:./collectord-data/collectord.sock",)
    assert (settings.store, settings.codec, settings.durability, settings.flush_interval) == (
        "./collectord-data/store", "zstd", "fsync", 60.0,
    )  # fmt: skip
    assert settings.admin is None
    assert settings.collect_default is True
    assert settings.boundary_minutes == 1440
    assert settings.admin_socket == Path("/tmp/collectord-data/spool/admin.sock").resolve()


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, "flush_interval = 1.0\nuploads = 2\nlevel = 3\n")
    monkeypatch.setenv("COLLECTORD_FLUSH_INTERVAL", "2")
    monkeypatch.setenv("COLLECTORD_UPLOADS", "3")
    settings = load(file, {"flush_interval": "3", "uploads": None})
    assert (settings.flush_interval, settings.uploads, settings.level, settings.codec) == (3.0, 3, 3, "zstd")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("codec", "lz4", "'zstd', 'gzip' or 'none'"),
        ("level", "0", "greater than or equal to 1"),
        ("level", "x", "integer"),
        ("boundary", "week", "'day' or 'hour'"),
        ("durability", "maybe", "'fsync' or 'os'"),
        ("flush_interval", "0", "greater than 0"),
        ("flush_interval", "nan", "less than or equal to"),
        ("flush_interval", "soon", "number"),
        ("flush_bytes", "4MiB", "less than or equal to"),
        ("flush_bytes", "1 parsec", "KiB, MiB or GiB"),
        ("drain_deadline", "-1", "greater than or equal to 0"),
        ("memory_budget", "1MiB", "greater than or equal to"),
        ("spool_budget", "0.5GiB", "KiB, MiB or GiB"),
        ("segment_bytes", "2GiB", "less than or equal to"),
        ("uploads", "0", "greater than or equal to 1"),
        ("late_days", "-1", "greater than or equal to 0"),
        ("late_days", "inf", "less than or equal to"),
        ("early_days", "1e9", "less than or equal to"),
        ("mark_days", "0", "greater than 0"),
        ("max_clients", "0", "greater than or equal to 1"),
        ("max_streams", "0", "greater than or equal to 1"),
        ("socket_mode", "rwx", "octal"),
        ("socket_mode", "888", "octal"),
        ("socket_mode", "7777", "octal"),
        ("log_level", "loud", "'debug'"),
        ("log_format", "xml", "'json' or 'console'"),
        ("collect_default", "perhaps", "true or false"),
        ("collect_default", "yes", "true or false"),
        ("admin_tls", "1", "true or false"),
        ("tenant_share", "0", "greater than 0"),
        ("max_columns", "0", "greater than or equal to 1"),
        ("max_columns", "10001", "less than or equal to 10000"),
        ("max_name_bytes", "31", "greater than or equal to 32"),
        ("max_name_bytes", "256", "less than or equal to 255"),
        ("max_column_name_bytes", "0", "greater than or equal to 1"),
        ("max_column_name_bytes", "1025", "less than or equal to 1024"),
        ("max_value_bytes", "1023", "greater than or equal to 1024"),
        ("max_value_bytes", "2MiB", "less than or equal to 1048576"),
        ("max_message_bytes", "1024", "greater than or equal to 65536"),
        ("max_message_bytes", "5MiB", "less than or equal to 4194304"),
        ("max_remembered", "999", "greater than or equal to 1000"),
        ("mdc_connections", "0", "greater than or equal to 1"),
        ("quarantine_budget", "1", "greater than or equal to"),
        ("quarantine_budget", "1GiB", "at most a tenth of the spool_budget"),
        ("tenant_share", "1.1", "less than or equal to 1"),
        ("tenant_share", "nan", "number"),
        ("store", "s3://bucket", "az://CONTAINER"),
        ("store", "az://", "az://modeldata"),
        ("store", "", "a directory"),
        ("spool", "", "a directory"),
        ("admin", "9090", "HOST:PORT"),
        ("admin", "localhost:99999", "HOST:PORT"),
        ("listen", "", "at least one"),
        ("listen", "unix:", "needs a path"),
        ("listen", "localhost", "HOST:PORT"),
        ("listen", "unix:/run/a,unix:/run/a", "twice"),
    ],
)
def test_a_wrong_value_names_field_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"COLLECTORD_{name.upper()}", value)
    with pytest.raises(ConfigError) as error:
        load()
    message = str(error.value)
    assert message.startswith(f"{name}: ")
    if value.endswith(("MiB", "GiB")):
        value = str(parse_size(value)) if "." not in value else value
    assert value.split(",")[0] in message
    assert allowed in message


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7000", "10.0.0.1:7000", "[::]:7000", "example.com:7000", "[2001:db8::1]:1"]
)
def test_an_address_that_others_can_reach_is_refused(address: str) -> None:
    """Until there is TLS and a token."""
    with pytest.raises(ConfigError, match=r"listen: .*only loopback"):
        load(overrides={"listen": address})


TLS = {"tls_cert": "/c", "tls_key": "/k"}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "Set tls_cert and tls_key, and tenants or tls_client_ca"),
        (TLS, "Set tenants or tls_client_ca"),
        ({"tenants": "/t"}, "Set tls_cert and tls_key"),
    ],
)
@pytest.mark.parametrize("name", ["listen", "mdc"])
def test_what_is_missing_for_an_address_that_others_reach_is_named(
    name: str, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: '0.0.0.0:7000' is not accepted: .*\. {missing}$"):
        load(overrides={name: "0.0.0.0:7000", **given})


@pytest.mark.parametrize("name", ["uploads", "flush_bytes", "socket_mode", "late_days", "quota_rows", "store", "node"])
def test_a_boolean_of_the_file_is_no_number_and_no_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: True is not accepted: it is neither on nor off"):
        load(toml(tmp_path, f"{name} = true\n"))


@pytest.mark.parametrize("value", ["1", '"yes"', '"on"', "1.0", "[]"])
def test_only_true_and_false_are_booleans(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"^collect_default: .* a boolean is true or false"):
        load(toml(tmp_path, f"collect_default = {value}\n"))


def test_booleans_of_the_file_and_of_the_environment_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(toml(tmp_path, "collect_default = false\n")).collect_default is False
    for text in ("false", "False", "FALSE"):
        monkeypatch.setenv("COLLECTORD_COLLECT_DEFAULT", text)
        assert load(toml(tmp_path, "collect_default = true\n")).collect_default is False


def test_more_clients_than_the_memory_has_for_are_said_and_without_a_number_there_are_none() -> None:
    assert doubts(load()) == []
    assert load().most_clients == 2048
    assert load(overrides={"memory_budget": "64MiB"}).most_clients == 512
    (doubt,) = doubts(load(overrides={"max_clients": 4096}))
    assert doubt.startswith("max_clients: 4096 clients may need 512 MiB, more than the memory_budget of 256 MiB")
    assert doubts(load(overrides={"max_clients": 4096, "memory_budget": "512MiB"})) == []


@pytest.mark.parametrize("spool, among_blobs", [
    ("data", True), ("data/spool", True), ("data/_collectord/embedded", False), ("datas", False), ("link/spool", True), (".", False),
])  # fmt: skip
def test_a_spool_among_the_blobs_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: str, among_blobs: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("link").symlink_to("data")
    found = doubts(load(overrides={"store": "data", "spool": spool}))
    assert [one.partition(" lies in the store ")[0] for one in found] == ([f"spool: {spool}"] if among_blobs else [])


@pytest.mark.parametrize("store", ["data/frames", "data/log", "data/parked/x", "data/quarantine/rows", "link/frames"])
def test_a_store_among_the_files_of_the_spool_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """The next start would sweep up the frames of the last one, and find a directory of blobs."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("link").symlink_to("data")
    for beside in ("store", "data/store", "data", "logs", "az://frames/log"):
        load(overrides={"store": beside, "spool": "data", "azure_account_url": "https://a.blob.core.windows.net"})
    with pytest.raises(ConfigError, match=r"^store: .* where the spool keeps its own files"):
        load(overrides={"store": store, "spool": "data"})


def test_a_store_whose_links_lead_in_a_circle_is_no_traceback(tmp_path: Path) -> None:
    """Whoever uses it says what is wrong."""
    (tmp_path / "loop").symlink_to("loop")
    assert load(overrides={"store": str(tmp_path / "loop"), "spool": str(tmp_path / "spool")}).store.endswith("loop")


@pytest.mark.parametrize("who", [{"tenants": "/t"}, {"tls_client_ca": "/ca"}])
def test_with_tls_and_clients_that_say_who_they_are_others_may_reach_it(who: dict[str, str]) -> None:
    settings = load(overrides={"listen": "unix:/a,127.0.0.1:1,0.0.0.0:7000", "mdc": "[::]:1", **TLS, **who})
    assert settings.reachable == ["0.0.0.0:7000", "mdc"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls_cert": "/c"}, "tls_cert: set COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY, or neither"),
        ({"tls_key": "/k"}, "tls_cert: set COLLECTORD_TLS_CERT and COLLECTORD_TLS_KEY, or neither"),
        ({"tls_client_ca": "/ca"}, "tls_client_ca: needs tls_cert and tls_key"),
        ({"admin_tls": "true"}, "admin_tls: needs tls_cert and tls_key"),
    ],
)
def test_half_of_tls_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{why}$"):
        load(overrides=given)


@pytest.mark.parametrize("address", ["127.0.0.1:7000", "127.9.9.9:0", "localhost:1", "[::1]:7000", "unix:/run/c.sock"])
def test_loopback_addresses_and_sockets_are_accepted(address: str) -> None:
    assert load(overrides={"listen": address}).listen == (address,)


def test_several_addresses_are_separated_by_commas() -> None:
    assert load(overrides={"listen": " unix:/run/a , 127.0.0.1:1,"}).listen == ("unix:/run/a", "127.0.0.1:1")


def test_a_comma_is_no_part_of_the_path_that_clients_connect_to(tmp_path: Path) -> None:
    """Only a file can name one: elsewhere it separates addresses. The spool may have one."""
    with pytest.raises(ConfigError, match=r"^listen: .*cuts /run/a,b\.sock at the comma; choose a path without one"):
        load(toml(tmp_path, 'listen = ["unix:/run/a,b.sock"]'))
    assert load(overrides={"spool": "/tmp/a,b"}).admin_socket == Path("/tmp/a,b/admin.sock")


@pytest.mark.parametrize("name", ["listen", "spool"])
def test_a_socket_path_over_107_bytes_is_an_error_that_says_so(name: str) -> None:
    """The kernel would cut it or refuse it with a riddle; the admin socket lies in the spool. From the working directory, /tmp,
    it may be shorter."""
    room = MAX_SOCKET_PATH - len("/tmp/") - (len("/admin.sock") if name == "spool" else 0)
    prefix = "unix:" if name == "listen" else ""
    load(overrides={name: f"{prefix}/var/{'a' * room}"})
    load(overrides={name: f"{prefix}{'a' * (room + len('/tmp/'))}"})
    load(overrides={name: f"{prefix}/tmp/{'a' * (room + len('/tmp/'))}"})
    for path in ("/var/" + "a" * (room + 1), "a" * (room + len("/tmp/") + 1), "/var/" + "ä" * (room // 2 + 1)):
        with pytest.raises(ConfigError, match=f"^{name}: .*longer than 107 bytes"):
            load(overrides={name: prefix + path})


@pytest.mark.parametrize(("codec", "highest"), [("zstd", 19), ("gzip", 3), ("none", 1)])
def test_a_level_that_the_codec_does_not_have_is_refused_at_the_start(codec: str, highest: int) -> None:
    assert load(overrides={"codec": codec, "level": highest}).level == highest
    with pytest.raises(ConfigError, match=rf"^level: {highest + 1} is not accepted"):
        load(overrides={"codec": codec, "level": highest + 1})


def test_a_segment_must_fit_several_times_into_the_spool() -> None:
    load(overrides={"spool_budget": "512MiB", "segment_bytes": "128MiB"})
    with pytest.raises(ConfigError, match=r"^segment_bytes: .*at least 4 segments"):
        load(overrides={"spool_budget": "512MiB", "segment_bytes": "129MiB"})


def test_the_quarantine_has_a_part_of_the_spool_unless_it_is_said() -> None:
    assert load(overrides={"spool_budget": "1GiB"}).most_quarantined == int((1 << 30) * 0.05)
    assert load(overrides={"spool_budget": "1GiB", "quarantine_budget": "2MiB"}).most_quarantined == 2 << 20


def test_no_more_can_be_allowed_of_a_schema_than_there_is_room_for() -> None:
    assert Settings.model_fields["max_columns"].default == MAX_COLUMNS
    assert Settings.model_fields["max_name_bytes"].default == MAX_STREAM_PART_BYTES
    assert Settings.model_fields["max_column_name_bytes"].default == MAX_NAME_BYTES


def test_an_azure_store_needs_an_account() -> None:
    with pytest.raises(ConfigError, match=r"^store: 'az://modeldata' .*COLLECTORD_AZURE_CONNECTION_STRING"):
        load(overrides={"store": "az://modeldata"})
    assert load(overrides={"store": "az://modeldata/p", "azure_account_url": "https://a.blob.core.windows.net"})


@pytest.mark.parametrize(
    "given, field",
    [
        ({"azure_sas": SECRET, "azure_sas_file": "f"}, "azure_sas"),
        ({"azure_connection_string": SECRET, "azure_connection_string_file": "f"}, "azure_connection_string"),
        ({"azure_account_key": SECRET, "azure_account_key_file": "f"}, "azure_account_key"),
        ({"azure_account_key": SECRET, "azure_sas_file": "f"}, "azure_account_key"),
        ({"azure_credential": "workload", "azure_sas": SECRET}, "azure_credential"),
        ({"azure_credential": "managed", "azure_connection_string_file": "f"}, "azure_credential"),
    ],
)
def test_credentials_that_contradict_each_other_are_refused(given: dict[str, str], field: str) -> None:
    """One of them would not be used, and nobody would know which."""
    with pytest.raises(ConfigError, match=f"^{field}: ") as error:
        load(overrides={"store": "az://modeldata", "azure_account_url": "https://a.blob.core.windows.net", **given})
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("name", ["azure_connection_string", "azure_connection_string_file"])
def test_two_accounts_at_once_are_refused(name: str) -> None:
    """One of them would get the rows, and nobody would know which. Where the store is a directory neither counts."""
    given = {name: "f" if name.endswith("_file") else SECRET, "azure_account_url": "https://a.blob.core.windows.net"}
    with pytest.raises(ConfigError, match=r"^azure_account_url: a connection string names an account too") as error:
        load(overrides={"store": "az://modeldata", **given})
    assert SECRET not in str(error.value)
    assert load(overrides=given)


def test_a_file_is_an_account_too() -> None:
    settings = load(overrides={"store": "az://modeldata", "azure_connection_string_file": "f"})
    assert settings.azure_connection_string is None


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = toml(
        tmp_path, f'azure_connection_string = "{SECRET}"\nazure_sas = "{SECRET}"\nazure_account_url = "{SECRET}"\n'
    )
    settings = load(file)
    assert settings.azure_connection_string is not None
    assert settings.azure_connection_string.get_secret_value() == SECRET
    for text in (repr(settings), str(settings), json.dumps(settings.shown())):
        assert SECRET not in text
        assert "**********" in text
    for name in ("azure_connection_string", "azure_sas", "azure_account_key", "azure_account_url", "columns_key"):
        with pytest.raises(ConfigError) as error:
            load(overrides={name: [SECRET]})
        assert SECRET not in str(error.value)
        assert str(error.value).startswith(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", f"az://modeldata?sp=racwl&sig={SECRET}"),
        ("store", f"az://modeldata/prefix?sp=racwl&sig={SECRET}"),
        ("store", f"https://a.blob.core.windows.net/modeldata?sp=racwl&sig={SECRET}"),
        ("store", f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"),
        ("azure_account_url", f"AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"),
        ("azure_sas_file", f"sp=racwl&sig={SECRET}"),
        ("azure_account_key_file", SECRET + "A" * (86 - len(SECRET)) + "=="),
        ("azure_connection_string_file", f"AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"),
        ("codec", f"sp=racwl&sig={SECRET}"),
    ],
)
def test_a_secret_in_the_wrong_setting_is_refused_and_not_shown(name: str, value: str) -> None:
    """As a prefix of the store it would stand in the names of all blobs, as a directory on the disk."""
    with pytest.raises(ConfigError, match=f"^{name}: ") as error:
        load(overrides={name: value})
    assert SECRET not in str(error.value)


def test_shown_settings_are_all_settings_as_json() -> None:
    shown = load(overrides={"socket_mode": "0660"}).shown()
    assert set(shown) == set(Settings.model_fields)
    assert shown["socket_mode"] == "0660"
    assert json.loads(json.dumps(shown)) == shown


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_several_wrong_settings_are_told_together() -> None:
    with pytest.raises(ConfigError) as error:
        load(overrides={"codec": "x", "uploads": 0})
    assert "codec: " in str(error.value)
    assert "uploads: " in str(error.value)


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flush_intervall: there is no such setting"):
        load(toml(tmp_path, "flush_intervall = 1\n"))


def test_what_the_client_reads_is_not_mistaken_for_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon in the scoring process sees its variables too."""
    clients = Path(__file__).parents[1] / "clients"
    sources = [path.read_text() for path in clients.rglob("*.py") if "build" not in path.relative_to(clients).parts]
    names = {name for source in sources for name in re.findall(r"\"(COLLECTORD_[A-Z_]+)\"", source)}
    assert {"COLLECTORD_ENDPOINT", "COLLECTORD_MODEL"} <= names
    for name in names:
        monkeypatch.setenv(name, "1")
    assert unknown_environment() == []


@pytest.mark.parametrize("text", ["flush_interval = ", "= 1", "\xff"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"config: .*c\.toml"):
        load(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError, match="is not a file"):
            load(path)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().uploads = 5


def test_variables_that_look_like_settings_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLLECTORD_PORT", "COLLECTORD_UPLOADS", "COLLECTORD_ENDPOINT", "COLLECTORD_SAMPLING", "OTHER"):
        monkeypatch.setenv(name, "1")
    assert unknown_environment() == ["COLLECTORD_PORT"]
    assert load().uploads == 1
