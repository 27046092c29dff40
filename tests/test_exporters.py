"""Which exporters there are, as the settings say; and that nothing is loaded for those that are not wanted."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from typing import Any

import pytest

from collectord.config import load
from collectord.errors import ConfigError
from collectord.exporters import open_exporters
from collectord.settings import Settings

KEY = "12345678-9abc-4def-8123-456789abcdef"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("COLLECTORD_", "AML_", "APPLICATIONINSIGHTS_")):
            monkeypatch.delenv(name)
    for name in ("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED"):
        monkeypatch.setenv(name, "")


def names(**given: Any) -> list[str]:
    made = open_exporters(load(overrides=given))
    for one in made:
        one.close()
    return [one.name for one in made]


def test_without_settings_there_are_none() -> None:
    assert names() == []


def test_each_setting_makes_its_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(app_insights=f"InstrumentationKey={KEY};") == ["app_insights"]
    assert names(app_insights_key=KEY) == ["app_insights"]
    assert names(app_insights=f"InstrumentationKey={KEY}", otlp_endpoint="http://otel:4318") == ["app_insights", "otlp"]
    monkeypatch.setenv("AML_APP_INSIGHTS_KEY", KEY)
    assert names() == ["app_insights"]
    assert names(app_insights_auth="entra", tenant_id="t") == ["app_insights"]


def test_the_libraries_are_silenced_before_they_are_loaded() -> None:
    names(app_insights_key=KEY)
    assert os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] == "true"
    assert os.environ["APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED"] == "true"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"app_insights": "InstrumentationKey=sesame"}, "app_insights: InstrumentationKey is no instrumentation key"),
        ({"app_insights_key": "sesame"}, "app_insights_key: it is no instrumentation key"),
        ({"otlp_endpoint": "sesame"}, "otlp_endpoint: it is not an address"),
        ({"otlp_endpoint": "https://me:sesame@host"}, "otlp_endpoint: it is an address without user"),
        ({"otlp_headers": "sesame"}, "otlp_headers: headers are NAME=VALUE"),
        ({"app_insights_auth": "key"}, "app_insights_auth: 'key'"),
        ({"export_max_lag_hours": 0}, "export_max_lag_hours: 0"),
        ({"export_max_lag_bytes": "1KiB"}, "export_max_lag_bytes: 1024"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_no_secret_is_shown(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        load(overrides=given)
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"app_insights_auth": "entra"}, "app_insights_auth: 'entra' says how, and app_insights is not set"),
        ({"otlp_headers": "api-key=sesame"}, "otlp_headers: otlp_endpoint is not set"),
    ],
)
def test_how_events_are_sent_without_a_place_for_them_is_refused(given: dict[str, Any], said: str) -> None:
    """It would do nothing, and nobody would know."""
    with pytest.raises(ConfigError, match=f"^{said}") as raised:
        load(overrides=given)
    assert "sesame" not in str(raised.value)
    place = {"otlp_endpoint": "http://localhost:4318"} if "otlp_headers" in given else {"app_insights_key": KEY}
    load(overrides=given | place)


def test_secrets_are_masked_and_not_options_of_the_command_line() -> None:
    from collectord.settings import option_names

    secret = {"app_insights", "app_insights_key", "otlp_headers"}
    assert not secret & set(option_names())
    shown = Settings(
        app_insights=f"InstrumentationKey={KEY}",
        otlp_headers="k=hidden",
        otlp_endpoint="http://localhost:1",  # type: ignore[arg-type]
    ).shown()
    assert KEY not in str(shown)
    assert "hidden" not in str(shown)


def test_without_its_package_otlp_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "collectord.telemetry.otlp"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"pip install collectord\[otlp\]"):
        open_exporters(load(overrides={"otlp_endpoint": "http://otel:4318"}))


def test_of_the_service_library_only_its_types_are_loaded_and_nothing_of_it_runs() -> None:
    code = (
        "import sys, threading\n"
        "from collectord.config import load\n"
        "from collectord.exporters import open_exporters\n"
        f"open_exporters(load(overrides={{'app_insights_key': '{KEY}'}}))\n"
        "print(sorted(n for n in sys.modules if n.startswith('opencensus.')), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    types = [
        "opencensus.ext",
        "opencensus.ext.azure",
        "opencensus.ext.azure.common",
        "opencensus.ext.azure.common.protocol",
    ]
    assert done.stdout.strip() == f"{types} 1"


def test_a_daemon_without_exporters_loads_nothing_of_them() -> None:
    code = (
        "import sys, collectord.daemon, collectord.process\n"
        "print([n for n in sys.modules if n.startswith(('opencensus', 'opentelemetry', 'azure'))"
        " or n in ('collectord.telemetry.poster', 'collectord.telemetry.envelope')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
