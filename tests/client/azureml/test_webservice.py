"""`Webservice` as azureml-core has it."""

from __future__ import annotations

import sys
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

    monkeypatch.setattr("collectord_client.azureml.webservice._operator", lambda: (Services, None))
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
