"""Where settings come from: defaults, a TOML file, the environment, the command line — the later wins.

Every setting has the same name everywhere: `flush_interval`, `COLLECTORD_FLUSH_INTERVAL`, `--flush-interval`. A wrong one
stops the start with `ConfigError`, which names the field, the value and what is allowed. What there is to set is in
`settings.py`.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticUndefinedType

from collectord.errors import ConfigError
from collectord.notation import forms, is_masked, looks_secret
from collectord.settings import UNSHOWN, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 1 << 20


def load(
    config_file: Path | None = None, overrides: Mapping[str, object] | None = None, kind: type[Settings] = Settings
) -> Settings:
    """Reads all sources.

    Args:
        config_file: a TOML file of settings.
        overrides: what the command line said; None values are ignored.
        kind: where other rules hold for some of them.

    Raises:
        ConfigError: naming field, value and what is allowed.
    """
    given: dict[str, Any] = {name: value for name, value in (overrides or {}).items() if value is not None}
    if config_file is not None:
        _check_file(config_file)
        given["config_file"] = config_file
    try:
        return kind(**given)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(dict(item)) for item in error.errors())) from None
    except (ValueError, OSError, RecursionError) as error:  # TOML syntax, or a file that cannot be read
        raise ConfigError(f"config: {config_file}: {_syntax(error)}") from None


def _syntax(error: Exception) -> str:
    """What the TOML parser could not take, where its own words are a riddle."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply; settings are plain keys and values"
    return str(error).replace("Cannot overwrite a value", "this key stands in the file a second time")


def _check_file(file: Path) -> None:
    """What the TOML parser says less well. Raises ConfigError."""
    if not file.is_file():
        raise ConfigError(f"config: {file} is not a file")
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"config: {file} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"config: {file} has more than {MAX_FILE_BYTES} bytes; settings need no more than a few")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"config: {file} begins with a byte-order mark; save it as UTF-8 without one")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"config: {file} is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None


def origins(config_file: Path | None, overrides: Mapping[str, object] | None = None) -> dict[str, list[str]]:
    """Who says something of a setting, by setting, the one that counts first; those that nobody speaks of are left out.

    Raises:
        ConfigError: the file is not one of settings.
    """
    found: dict[str, list[str]] = {}
    file: dict[str, Any] = {}
    if config_file is not None:
        _check_file(config_file)
        try:
            file = tomllib.loads(config_file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"config: {config_file}: {_syntax(error)}") from None
    for name in Settings.model_fields:
        said = [
            *([f"--{name.replace('_', '-')}"] if (overrides or {}).get(name) is not None else []),
            *([f"COLLECTORD_{name.upper()}"] if f"COLLECTORD_{name.upper()}" in os.environ else []),
            *([str(config_file)] if name in file else []),
        ]
        if said:
            found[name] = said
    return found


def file_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the TOML file: https://json-schema.org/draft/2020-12"""
    made = Settings.model_json_schema()
    for name, field in Settings.model_fields.items():
        said = made["properties"][name]
        if "anyOf" in said:
            # There is no null in TOML: whoever means it leaves the line out.
            (one,) = [form for form in said.pop("anyOf") if form != {"type": "null"}]
            least = {"minimum": one.pop("ge")} if "ge" in one else {}
            said |= one | least
            said.pop("default", None)
        if written := forms(field):
            said |= {"type": written}
        if is_masked(field.annotation):
            said.pop("format", None)
        if name == "node":
            said.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "collectord.toml"}


def template() -> str:
    """A TOML file of all settings, each with its meaning and commented out at its default."""
    lines = [
        "# Settings of collectord. What is commented out is as it is by default; `collectord config check` checks a file."
    ]
    for name, field in Settings.model_fields.items():
        lines += ["", *(f"# {line}" for line in textwrap.wrap(str(field.description), 100))]
        lines.append(f"# {name} = {_toml(name, field.default)}")
    return "\n".join(lines) + "\n"


def _toml(name: str, value: object) -> str:
    if name == "socket_mode":
        return f'"{value:04o}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps("" if value is None or isinstance(value, PydanticUndefinedType) else str(value))


def read_columns_key(settings: Settings) -> bytes:
    """The key of the column rules' hmac; empty if no rule needs one.

    Raises:
        ConfigError: it is empty, or its file cannot be read.
    """
    if "hmac" not in settings.column_rules.values():
        return b""
    try:
        if settings.columns_key_file is not None:
            key = settings.columns_key_file.read_bytes().rstrip(b"\r\n")
        else:
            assert settings.columns_key is not None
            key = settings.columns_key.get_secret_value().encode()
    except OSError as error:
        raise ConfigError(f"columns_key_file: {settings.columns_key_file} cannot be read: {error.strerror}") from None
    if not key:
        raise ConfigError("columns_key: the key is empty")
    return key


# Read by the client, or by the command line itself.
_NOT_SETTINGS = {
    "COLLECTORD_CLIENT_PURE", "COLLECTORD_CONFIG", "COLLECTORD_ENDPOINT", "COLLECTORD_ERRORS", "COLLECTORD_EXIT_TIMEOUT",
    "COLLECTORD_MAX_US_PER_CALL", "COLLECTORD_MODEL", "COLLECTORD_MODEL_CONFIG_MAP", "COLLECTORD_MODEL_VERSION",
    "COLLECTORD_PRINTS", "COLLECTORD_SAMPLING", "COLLECTORD_TLS_CA", "COLLECTORD_TLS_NAME", "COLLECTORD_TOKEN",
    "COLLECTORD_TOKEN_FILE",
}  # fmt: skip


def unknown_environment() -> list[str]:
    """Variables that look like settings and are none, to be warned about.

    They cannot stop the start: Kubernetes itself sets COLLECTORD_PORT and the like for a Service named collectord.
    """
    known = {f"COLLECTORD_{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    return sorted(name for name in os.environ if name.startswith("COLLECTORD_") and name not in known)


def _explain(item: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in item["loc"]) or "settings"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, Settings.model_fields, 1)
        hint = f"do you mean {near[0]}?" if near else "`collectord config --help` lists them"
        return f"{field}: there is no such setting; {hint}"
    if not item["loc"]:
        return message
    hidden = is_masked(Settings.model_fields[str(item["loc"][0])].annotation) or item["loc"][0] in UNSHOWN
    # Secrets are pasted into the wrong setting, too.
    if hidden or looks_secret(str(item["input"])):
        return f"{field}: {message}"
    return f"{field}: {item['input']!r} is not accepted: {message}"
