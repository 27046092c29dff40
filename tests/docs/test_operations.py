"""docs/operations.md and deploy/ name fields, reasons and settings that exist, and leave none out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from collectord.config import load
from collectord.model import Reason
from collectord.settings import Settings
from collectord.tenants import OF_LISTENER, OF_TENANT, read
from tests.docs.test_wire import section, words

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CLIENT = ROOT / "clients" / "python" / "collectord_client"
UPLOAD = ROOT / "collectord" / "upload"


def keys_of(tree: ast.Dict, prefix: str = "") -> set[str]:
    """The keys of a dictionary display, nested ones with a dot; those of lists of dictionaries with `[]`."""
    found: set[str] = set()
    for key, value in zip(tree.keys, tree.values, strict=True):
        assert isinstance(key, ast.Constant)
        inner, name = value, prefix + str(key.value)
        if isinstance(value, ast.ListComp):
            inner, name = value.elt, f"{name}[]"
        found |= keys_of(inner, f"{name}.") if isinstance(inner, ast.Dict) else {name}
    return found


def status_fields() -> set[str]:
    """What `Answers.status` returns, from its source."""
    source = (ROOT / "collectord" / "answers.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "status":
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            assert len(returned) == 1
            assert isinstance(returned[0], ast.Dict)
            return keys_of(returned[0])
    raise AssertionError("there is no status in answers.py")


def documented_fields(text: str) -> set[str]:
    """The fields of the table: `a`, `a.b`; in a row of `list[]`, the fields of its items stand in the second cell."""
    found: set[str] = set()
    for names, meaning in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text, re.MULTILINE):
        fields = re.findall(r"`([\w.\[\]]+)`", names)
        if fields[0].endswith("[]"):
            found |= {f"{fields[0]}.{item}" for item in re.findall(r"`(\w+)`", meaning)}
        else:
            found |= set(fields)
    return found


def test_the_fields_of_the_status_are_documented_and_no_others() -> None:
    assert documented_fields(section(PAGE, "Status")) == status_fields()


def test_a_field_without_a_row_would_be_noticed() -> None:
    text = section(PAGE, "Status").replace("| `last_error` |", "| something |")
    assert status_fields() - documented_fields(text) == {"last_error"}


def test_every_reject_reason_has_advice() -> None:
    assert sorted(words(section(PAGE, "Rejected rows by reason"))) == sorted(map(str, Reason))


def test_every_reason_of_the_client_to_drop_rows_has_advice() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in CLIENT.rglob("*.py"))
    raised = set(re.findall(r'CollectError\(\s*"([a-z_]+)"', source))
    assert len(raised) > 5
    listed = set(words(section(PAGE, "Client drops by reason")))
    assert raised <= listed
    assert {reason for reason in listed if f'"{reason}"' not in source} == set()


def test_every_word_for_a_blocked_blob_is_in_the_table_of_symptoms() -> None:
    sources = {path.stem: path.read_text() for path in UPLOAD.glob("*.py")}
    azure, local = sources["azureblob"], sources["localdir"]
    said = set(re.findall(r'Blocked\(\s*"([a-z_]+)"', "".join(sources.values())))
    said |= set(re.findall(r"^    \(\d+, [^)]*\): \"([a-z_]+)\"", azure, re.MULTILINE))
    said |= set(re.findall(r"^    errno\.\w+: \"([a-z_]+)\"", local, re.MULTILINE))
    assert {"forbidden", "no_space", "frame_lost"} <= said
    row = next(line for line in PAGE.splitlines() if line.startswith("| `troubles` with `blocked: true`"))
    assert said <= set(re.findall(r"`(\w+)`", row))


def test_the_example_without_a_daemon_names_settings_and_a_mounted_path() -> None:
    text = (ROOT / "deploy" / "manifests" / "aci.yaml").read_text(encoding="utf-8")
    given = {name: value.strip('"') for name, value in re.findall(r"name: COLLECTORD_(\w+), value: ([^}]+)}", text)}
    endpoint = given.pop("ENDPOINT")
    mounts = re.findall(r"mountPath: (\S+)}", text)
    assert endpoint.removeprefix("dir:").startswith(mounts[0])
    assert given["SPOOL"] in mounts
    assert load(overrides={name.lower(): value for name, value in given.items()}).flush_interval == 5.0


def tables() -> list[str]:
    """The TOML of the page: settings of TLS, tenants."""
    found = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    return found


def test_the_settings_of_tls_and_the_tenants_of_the_page_are_accepted(tmp_path: Path) -> None:
    """And the tenant's line has everything that a tenant may have but the other forms of a token."""
    file = tmp_path / "collectord.toml"
    file.write_text(tables()[0])
    assert load(file).reachable == ["0.0.0.0:9807"]
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "fraud").write_text("0123456789abcdef\n")
    file.write_text(tables()[1])
    known = read(file)
    assert [tenant.name for tenant in known.tenants] == ["fraud"]
    assert set(re.findall(r"^(\w+) =", tables()[1], re.MULTILINE)) >= {*OF_TENANT, *OF_LISTENER} - {
        "token",
        "token_sha256",
    }


def test_the_settings_file_of_the_page_is_accepted(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    text = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(text) == 1
    file = tmp_path / "collectord.toml"
    file.write_text(text[0])
    settings = load(file, {"azure_account_url": "https://account.blob.core.windows.net"})
    assert f"flush_interval = {settings.flush_interval:g}" in text[0]
    assert settings.flush_interval != Settings.model_fields["flush_interval"].default
