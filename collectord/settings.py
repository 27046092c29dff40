"""What a daemon runs with: every setting, its default, its meaning, and what makes it wrong by itself.

What settings demand of each other is in `coherence.py`; where they come from, and how a file of them is written, in `config.py`.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from collectord import coherence
from collectord.address import check_for_clients, check_socket_path, is_loopback, split_address
from collectord.model import CORRELATION_COLUMN, REQUEST_COLUMN, SYSTEM_COLUMNS, Stream
from collectord.notation import MaskedStr, Mode, Names, Size, is_secret, looks_secret, parse_pairs
from collectord.patterns import StreamPatterns
from collectord.telemetry import connection

ADMIN_SOCKET = "admin.sock"
MOST_DAYS = 36_525
QUARANTINE_SHARE = 0.05
"""Of the spool's budget, unless it is said."""
MDC_PORT = 50011
"""Where the v2 SDK sends to unless AZUREML_MDC_PORT says otherwise."""
COLUMN_ACTS = ("drop", "mask", "hmac")
ID_ACTS = {CORRELATION_COLUMN: ("hmac",), REQUEST_COLUMN: ("hmac", "drop")}
"""What may be done to ids, as in the clients: whatever else took away what joins the rows."""
STREAM_NAMES = ("subscription", "resource_group", "workspace", "webservice", "model", "version")
UNSHOWN = ("otlp_endpoint",)
"""Besides secrets: what is wrong there may be a user's password."""
AT_ONCE = (
    "flush_interval", "flush_bytes", "drain_deadline", "late_window", "late_days", "early_days", "collect_default", "collect_on", "telemetry_default",
    "log_level",
)  # fmt: skip
"""Settings that change in a running daemon when their file does; all others wait for a restart."""


class Settings(BaseSettings):
    """What a daemon runs with."""

    model_config = SettingsConfigDict(
        env_prefix="COLLECTORD_", extra="forbid", frozen=True, validate_default=True, enable_decoding=False
    )

    store: str = Field("./collectord-data/store", description="A directory, or az://CONTAINER[/PREFIX].")
    spool: Path = Field(Path("./collectord-data/spool"), description="Directory of the log and the ledger; private.")
    listen: Names = Field(
        ("unix:./collectord-data/collectord.sock",),
        description="Where clients connect: unix:PATH or HOST:PORT, comma-separated. Other than loopback hosts need TLS, and "
        "tokens or certificates of the clients.",
    )
    admin: str | None = Field(
        None, description="HOST:PORT of the HTTP side: the status page, /livez, /readyz, /metrics. Off unless set."
    )
    mdc: str | None = Field(
        None,
        description=f"HOST:PORT, HOST or PORT where payloads of azureml-ai-monitoring are taken; port {MDC_PORT} unless "
        "named. Hosts as of listen. Off unless set.",
    )
    tls_cert: Path | None = Field(
        None,
        description="Certificate and chain, PEM: all ports of listen, and mdc, speak TLS. Read again when it changes.",
    )
    tls_key: Path | None = Field(None, description="Private key of tls_cert, PEM, not encrypted.")
    tls_client_ca: Path | None = Field(
        None, description="Authorities, PEM: over TLS only clients come in with a certificate of one of them (mTLS)."
    )
    admin_tls: bool = Field(
        False,
        description="Whether the HTTP side speaks TLS too, with tls_cert. Whoever asks there needs no certificate.",
    )
    tenants: Path | None = Field(
        None,
        description="TOML file of tenants: tokens, streams and quotas (docs/operations.md). Read again when it changes.",
    )
    mdc_names: str = Field(
        "",
        description="Names of the streams of such payloads where their headers have none: workspace=W,webservice=S,model=M.",
    )
    columns: str = Field(
        "", description="Column rules for these payloads, comma-separated: COLUMN=drop, COLUMN=mask, COLUMN=hmac."
    )
    columns_key: SecretStr | None = Field(None, description="Key of the column rules' hmac.")
    columns_key_file: Path | None = Field(
        None, description="A file that holds that key; a newline at its end is none of it."
    )
    codec: Literal["zstd", "gzip", "none"] = Field("zstd", description="Compression of the blobs.")
    level: int = Field(1, ge=1, le=19, description="Compression level; for gzip 1 to 3.")
    layout: str = Field("documented", description="Names of the blobs: documented, sdk-v1, or a template.")
    mdc_output: Names = Field(
        (),
        description="Streams that are written as JSON lines in the layout of Azure ML's Model Data Collector, instead of "
        "as CSV: patterns webservice/model/designation, comma-separated; */*/* for all.",
    )
    boundary: Literal["day", "hour"] = Field("day", description="The period that a blob covers.")
    node: str = Field(default_factory=socket.gethostname, description="Label of this node, for {node} in a template.")
    flush_interval: float = Field(
        60.0, gt=0, le=86_400, description="Seconds after which a row is uploaded at the latest."
    )
    flush_bytes: Size = Field(
        1 << 20, ge=4096, le=3 << 20, description="Compressed bytes at which a frame is uploaded."
    )
    drain_deadline: float = Field(50.0, ge=0, le=3600, description="Seconds that SIGTERM leaves for uploading.")
    late_window: float = Field(
        0.0, ge=0, le=3600,
        description="Seconds of drain_deadline in which clients that are still there are served; less, once the last one has gone.",
    )  # fmt: skip
    durability: Literal["fsync", "os"] = Field(
        "fsync", description="os: acknowledge without fsync; lost on power loss."
    )
    memory_budget: Size = Field(256 << 20, ge=64 << 20, description="Memory that the daemon plans with, in bytes.")
    spool_budget: Size = Field(8 << 30, ge=256 << 20, description="Most bytes in the spool directory.")
    quarantine_budget: Size | None = Field(
        None,
        ge=1 << 20,
        description="Most bytes in the quarantine, at most a tenth of spool_budget; what finds no room there blocks its own stream. "
        "Unless set, a twentieth of spool_budget.",
    )
    segment_bytes: Size = Field(64 << 20, ge=16 << 20, le=1 << 30, description="Size of a segment of the log.")
    uploads: int = Field(4, ge=1, le=64, description="Appends under way at the same time.")
    late_days: float = Field(
        35.0, ge=0, le=MOST_DAYS, description="Scoring times older than this many days are rejected."
    )
    early_days: float = Field(
        1.0, ge=0, le=MOST_DAYS, description="Scoring times further ahead than this many days are rejected."
    )
    quota_bytes: Size | None = Field(
        None,
        ge=1,
        description="Bytes a second that are taken of a tenant that has no quota of its own, or of each service where clients "
        "name no tenant; more waits with the clients.",
    )
    quota_rows: int | None = Field(None, ge=1, description="Rows a second, likewise.")
    tenant_share: float = Field(
        0.8,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Part of what the others leave that one tenant, or one service where clients name no tenant, may have: of the "
        "log, of the open partitions, of the connected clients, of the names of streams. 1: all of it.",
    )
    collect_default: bool = Field(True, description="Whether clients collect as long as nobody says otherwise.")
    collect_on: Names = Field(
        (),
        description="Streams that are collected by default where collect_default is false: patterns webservice/model/designation, "
        "comma-separated.",
    )
    collect_only: Names = Field(
        (),
        description="The only streams that are taken, whatever is switched on: patterns as of collect_on. Unless set: all.",
    )
    telemetry_default: bool = Field(
        False, description="Whether clients send telemetry events as long as nobody says otherwise."
    )
    switches_interval: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="Seconds between looks at _collectord/services.json in the store, which says what is switched on; 0: "
        "it is not looked at.",
    )
    socket_mode: Mode = Field(
        0o666, ge=0, le=0o777, description="Mode of the unix socket, octal. Connecting needs write permission."
    )
    socket_group: str | None = Field(None, description="Group that owns the unix socket.")
    max_clients: int | None = Field(
        None,
        ge=1,
        description="Connected clients; one more is refused. Unless set, as many as memory_budget has for: one needs about 128 KiB.",
    )
    max_streams: int = Field(10_000, ge=1, description="Partitions open at a time; rows of one more are rejected.")
    max_columns: int = Field(
        10_000, ge=1, le=10_000, description="Columns that a schema may have; rows of one with more are rejected."
    )
    max_name_bytes: int = Field(
        255,
        ge=32,
        le=255,
        description="Bytes of a part of a stream's name, such as its model; rows of one with a longer one are rejected.",
    )
    max_column_name_bytes: Size = Field(
        1024, ge=1, le=1024, description="Bytes of a column's name; rows of a schema with a longer one are rejected."
    )
    max_value_bytes: Size = Field(
        1 << 20, ge=1024, le=1 << 20, description="Bytes of a text value; a batch with a longer one is rejected."
    )
    max_message_bytes: Size = Field(
        4 << 20,
        ge=64 << 10,
        le=4 << 20,
        description="Bytes of a message, which clients are told; a longer one ends the stream.",
    )
    max_remembered: int = Field(
        100_000,
        ge=1000,
        le=10_000_000,
        description="Clients that are remembered, connected or not, some 500 bytes each; for one more the one is forgotten that has been "
        "silent for longest.",
    )
    mdc_connections: int = Field(
        512, ge=1, le=65_536, description="Connections to the port of mdc; one more is answered 503 and hung up on."
    )
    claim_interval: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds between renewals of the spool's claim in the store; 0: none is held, and nobody can adopt "
        "the spool safely.",
    )
    mark_days: float = Field(7.0, gt=0, le=MOST_DAYS, description="How long a silent client's sequence is remembered.")
    azure_account_url: MaskedStr | None = Field(
        None,
        description="https://ACCOUNT.blob.core.windows.net: the account of an az:// store, with an identity unless a SAS or a key "
        "is set.",
    )
    azure_credential: Literal["default", "workload", "managed"] = Field(
        "default",
        description="Which identity asks for tokens: workload (AKS), managed, or the first that azure-identity's default chain finds.",
    )
    azure_client_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="Client id of that identity, where there are several; else AZURE_CLIENT_ID, or the system-assigned one.",
    )
    azure_sas: SecretStr | None = Field(None, description="Shared access signature for azure_account_url.")
    azure_sas_file: Path | None = Field(
        None, description="A file that holds it; read again when it changes, as are the next two files."
    )
    azure_connection_string: SecretStr | None = Field(
        None, description="Account of an az:// store, with a SAS or a key."
    )
    azure_connection_string_file: Path | None = Field(None, description="A file that holds it.")
    azure_account_key: SecretStr | None = Field(
        None, description="Key of the account in azure_account_url; it may do everything: prefer an identity."
    )
    azure_account_key_file: Path | None = Field(None, description="A file that holds it.")
    tenant_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.-]+$",
        description="Microsoft Entra tenant, id or domain, in which azure-identity gets its tokens; else the one that it finds.",
    )
    app_insights: SecretStr | None = Field(
        None, description="Connection string of the Application Insights resource that events go to. Off unless set."
    )
    app_insights_key: SecretStr | None = Field(
        default_factory=lambda: SecretStr(os.environ.get("AML_APP_INSIGHTS_KEY", "")),
        description="Its instrumentation key instead, also read from AML_APP_INSIGHTS_KEY.",
    )
    app_insights_auth: Literal["none", "entra"] = Field(
        "none", description="entra: with a token of the credential that azure-identity finds."
    )
    otlp_endpoint: str | None = Field(
        None, description="https://HOST[:PORT][/PATH] of an OTLP receiver that events go to. Off unless set."
    )
    otlp_headers: SecretStr | None = Field(
        None, description="Headers for it, such as a key: NAME=VALUE, comma-separated."
    )
    export_max_lag_hours: float = Field(
        48.0, gt=0, le=24 * MOST_DAYS, description="Events that could not be delivered for so long are given up."
    )
    export_max_lag_bytes: Size = Field(
        1 << 30,
        ge=1 << 20,
        description="Most bytes of the log that are kept for events to be delivered; never more than 40 % of it.",
    )
    # Azure's list prices of a general-purpose v2 account: hot tier, locally redundant, one of the cheaper regions.
    price_write_10k: float = Field(
        0.05,
        ge=0,
        allow_inf_nan=False,
        description="What 10,000 write operations cost, in any currency: for the expected cost in the status only.",
    )
    price_gb_month: float = Field(
        0.018, ge=0, allow_inf_nan=False, description="What 1 GiB costs that is kept for a month, likewise."
    )
    log_format: Literal["json", "console"] = Field("json", description="Form of the daemon's own log on stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = getattr(init_settings, "init_kwargs", {}).pop("config_file", None)
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=file)) if file else sources

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """A file may say `true`, the environment the word; neither is a 1, and a 1 or a yes is neither."""
        if (cls.model_fields[str(info.field_name)].annotation is bool) == isinstance(value, bool):
            return value
        if isinstance(value, bool):
            raise ValueError("it is neither on nor off")
        if not isinstance(value, str) or value.strip().lower() not in ("true", "false"):
            raise ValueError("a boolean is true or false")
        return value.strip().lower() == "true"

    @field_validator("listen")
    @classmethod
    def _listen_is_safe(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one address is needed")
        if len(set(value)) < len(value):
            raise ValueError("an address occurs twice")
        for address in value:
            if address.startswith("unix:"):
                if not address[5:]:
                    raise ValueError("unix: needs a path, such as unix:/run/collectord/collectord.sock")
                check_for_clients(Path(address[5:]))
                check_socket_path(Path(address[5:]).resolve())
            else:
                split_address(address)
        return value

    @field_validator("mdc_output", "collect_on", "collect_only")
    @classmethod
    def _patterns_name_streams(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        StreamPatterns(value)
        return value

    @field_validator("admin")
    @classmethod
    def _admin_is_an_address(cls, value: str | None) -> str | None:
        if value:
            split_address(value)
        return value or None

    @field_validator("mdc")
    @classmethod
    def _mdc_is_safe(cls, value: str | None) -> str | None:
        if not value:
            return None
        if value.isdecimal():
            value = f"127.0.0.1:{value}"
        elif re.fullmatch(r"[^:\[\]\s]+|\[[0-9a-fA-F:.]+\]", value):
            value = f"{value}:{MDC_PORT}"
        split_address(value)
        return value

    @field_validator("mdc_names")
    @classmethod
    def _mdc_names_are_names(cls, value: str) -> str:
        unknown = set(parse_pairs(value, "NAME=TEXT")) - set(STREAM_NAMES)
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]!r} is none of {', '.join(STREAM_NAMES)}")
        return value

    @field_validator("columns")
    @classmethod
    def _columns_are_rules(cls, value: str) -> str:
        rules = parse_pairs(value, f"COLUMN= and one of {', '.join(COLUMN_ACTS)}", COLUMN_ACTS)
        for name in rules.keys() & set(SYSTEM_COLUMNS):
            if rules[name] not in ID_ACTS.get(name, ()):
                allowed = " or ".join(ID_ACTS.get(name, ()))
                raise ValueError(
                    f"{name!r} " + (f"can only be {allowed}" if allowed else "is added later: no rule reaches it")
                )
        return value

    @field_validator("app_insights", "app_insights_key")
    @classmethod
    def _app_insights_is_a_resource(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        text = value.get_secret_value().strip() if value is not None else ""
        if not text:
            return None
        connection.parse(text) if info.field_name == "app_insights" else connection.of_key(text)
        return SecretStr(text)

    @field_validator("otlp_endpoint")
    @classmethod
    def _otlp_endpoint_is_an_address(cls, value: str | None) -> str | None:
        return connection.check_url(value, "it", anywhere=True).rstrip("/") if value else None

    @field_validator("otlp_headers")
    @classmethod
    def _otlp_headers_are_headers(cls, value: SecretStr | None) -> SecretStr | None:
        connection.parse_headers(value.get_secret_value() if value is not None else "")
        return value

    @field_validator("spool", mode="before")
    @classmethod
    def _spool_is_named(cls, value: object) -> object:
        if value == "":
            raise ValueError("a directory is needed")
        return value

    @field_validator("spool")
    @classmethod
    def _admin_socket_fits(cls, value: Path) -> Path:
        check_socket_path(value.resolve() / ADMIN_SOCKET)
        return value

    @field_validator("azure_sas_file", "azure_connection_string_file", "azure_account_key_file")
    @classmethod
    def _secret_is_in_the_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and looks_secret(str(value)):
            name = str(info.field_name).removesuffix("_file")
            raise ValueError(f"this is the secret itself, and no name of a file that holds it: set {name} instead")
        return value

    @field_validator("azure_account_url")
    @classmethod
    def _account_url_is_no_connection_string(cls, value: MaskedStr | None) -> MaskedStr | None:
        # A SAS may stand in it.
        if value and re.search(r"(?i)(accountname|blobendpoint)=", value.get_secret_value()):
            raise ValueError("this is a connection string: set azure_connection_string instead")
        return value

    @field_validator("store")
    @classmethod
    def _store_is_known(cls, value: str) -> str:
        if looks_secret(value):
            # As a prefix it would stand in the name of every blob, and as a directory on the disk.
            raise ValueError(
                "a store is a directory or az://CONTAINER[/PREFIX], without a SAS or a key: these are azure_sas, "
                "azure_account_key or azure_connection_string"
            )
        if not value:
            raise ValueError("a store is a directory or az://CONTAINER[/PREFIX]")
        if "://" in value and not value.startswith("az://"):
            raise ValueError("a store is a directory or az://CONTAINER[/PREFIX]")
        if value.startswith("az://") and not value[5:].split("/")[0]:
            raise ValueError("az:// needs a container: az://modeldata")
        return value

    @model_validator(mode="after")
    def _they_agree(self) -> Settings:
        coherence.check(self)
        return self

    @property
    def column_rules(self) -> dict[str, str]:
        """By column one of `COLUMN_ACTS`."""
        return parse_pairs(self.columns, "a rule", COLUMN_ACTS)

    @property
    def stream_names(self) -> Stream:
        """What `mdc_names` says, and of a deployment of Azure ML the service's name."""
        named: dict[str, Any] = {"webservice": os.environ.get("SERVICE_NAME", "")}
        return Stream(**named | parse_pairs(self.mdc_names, "NAME=TEXT"))

    @property
    def most_quarantined(self) -> int:
        """`quarantine_budget`, or what it is unless set."""
        return self.quarantine_budget or int(self.spool_budget * QUARANTINE_SHARE)

    @property
    def most_clients(self) -> int:
        """`max_clients`, or what the memory allows."""
        return self.max_clients or max(1, self.memory_budget // coherence.CLIENT_BYTES)

    @property
    def boundary_minutes(self) -> int:
        return 60 if self.boundary == "hour" else 1440

    @property
    def reachable(self) -> list[str]:
        """The listeners that other machines can reach, `mdc` among them, as tenants know them."""
        found = [address for address in self.listen if not address.startswith("unix:") and _is_reachable(address)]
        return [*found, *(["mdc"] if self.mdc and _is_reachable(self.mdc) else [])]

    @property
    def admin_socket(self) -> Path:
        """Where the command line reaches this daemon."""
        return self.spool.resolve() / ADMIN_SOCKET

    def shown(self) -> dict[str, Any]:
        """All settings, with secrets masked, as JSON values."""
        return self.model_dump(mode="json") | {"socket_mode": f"{self.socket_mode:04o}"}


def _is_reachable(address: str) -> bool:
    return not is_loopback(split_address(address)[0])


def option_names() -> list[str]:
    """The settings that the command line takes: all but secrets."""
    return [name for name, field in Settings.model_fields.items() if not is_secret(field.annotation)]
