"""`Webservice` as azureml-core has it."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from collectord_client.azureml import AciWebservice, AksWebservice, Webservice
from collectord_client.azureml.webservice import DeploymentConfiguration


def test_the_documents_snippets_name_what_they_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Services:
        @staticmethod
        def update(settings: object, name: str, patch: object) -> None:
            told.append((name, patch))

    monkeypatch.setattr("collectord_client.azureml.webservice._operator", lambda *_: (Services, None))
    service = Webservice("ws", "my-service-name")
    service.update(enable_app_insights=True)
    service.update(collect_model_data=False)
    service.update()
    service.update(sampling=0.5)
    config = AksWebservice.deploy_configuration(collect_model_data=True, enable_app_insights=True, cpu_cores=1)
    assert repr(config.apply("ws", "other")) == "Webservice(name='other')"
    assert told == [
        ("my-service-name", {"enable_app_insights": True}),
        ("my-service-name", {"collect_model_data": False}),
        ("my-service-name", {"sampling": 0.5}),
        ("other", {"collect_model_data": True, "enable_app_insights": True}),
    ]


def test_a_service_is_told_what_to_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Services:
        @staticmethod
        def update(settings: object, name: str, patch: dict[str, Any]) -> None:
            told.append(patch["capture"])

    monkeypatch.setattr("collectord_client.azureml.webservice._operator", lambda *_: (Services, None))
    service = Webservice("ws", "s")
    service.capture(500, until="2026-12-01T12:00:00Z")
    service.capture(where="score > 0.9", failed=True)
    service.capture(failed=True, hours=2)
    service.update(capture={"requests": 3})
    service.stop_capture()
    until = datetime.fromisoformat(told[2].pop("until")) - datetime.now(timezone.utc)
    assert timedelta(hours=1) < until <= timedelta(hours=2)
    assert told == [
        {"requests": 500, "until": "2026-12-01T12:00:00Z"}, {"where": "score > 0.9", "failed": True}, {"failed": True},
        {"requests": 3}, None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="selects by requests, where or failed"):
        service.capture(hours=1)
    for hours in (1e12, float("nan"), "2"):
        with pytest.raises(ValueError, match="lasts so many hours"):
            service.capture(1, hours=hours)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        service.capture(1, hours=1, until="2026-12-01T12:00:00Z")


def test_a_deployment_may_say_it_to_its_pods_alone() -> None:
    assert AciWebservice.deploy_configuration(True, False).environment() == {
        "AML_MODEL_DC_STORAGE_ENABLED": "true", "AML_APP_INSIGHTS_ENABLED": "false",
    }  # fmt: skip
    assert Webservice.deploy_configuration().environment() == {}
    assert Webservice.deploy_configuration() == DeploymentConfiguration(None, None)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_service_has_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="a service has a name"):
        Webservice(None, name)


def test_what_is_for_whoever_deploys_is_said(caplog: pytest.LogCaptureFixture) -> None:
    Webservice(None, "s").update(cpu_cores=2, memory_gb=None)
    assert [record.getMessage() for record in caplog.records] == [
        "cpu_cores means nothing to collectord: change it where you deploy"
    ]


def test_without_the_package_collectord_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("collectord", "collectord.config"):
        # Other tests may have imported it.
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match="collectord service set"):
        Webservice(None, "s").update(True)


def test_the_log_is_one_text_as_azureml_core_gives_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    class Found:
        notices = ("no daemon answers",)

        def text(self) -> str:
            return "a\nb\n"

    class Logs:
        @staticmethod
        def read_log(settings: object, name: str, lines: int, *, own_only: bool) -> Found:
            asked.append((settings, name, lines, own_only))
            return Found()

    monkeypatch.setattr("collectord_client.azureml.webservice._operator", lambda module, *_: (Logs, module))
    service = Webservice("ws", "svc")
    assert service.get_logs() == "a\nb\n"
    service.get_logs(10, init=True)
    assert asked == [("servicelogs", "svc", 5000, False), ("servicelogs", "svc", 10, True)]
    assert [record.getMessage() for record in caplog.records] == ["no daemon answers"] * 2
    for lines in (0, -1, True, "5", None):
        with pytest.raises(ValueError, match="num_lines is a number of lines"):
            service.get_logs(lines)  # type: ignore[arg-type]


def test_without_the_package_collectord_a_log_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectord_client.azureml.webservice.PACKAGE", "collectord_absent")
    with pytest.raises(RuntimeError, match=r"reading a service's log needs the package collectord.*`collectord logs`"):
        Webservice(None, "s").get_logs()
