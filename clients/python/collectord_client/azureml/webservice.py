"""`Webservice(workspace, name).update(...)` as azureml-core has it: switches a deployed service, without deploying it again; and
`get_logs()`.

The switches are a document in collectord's store, and logs lie there too, so this needs the package `collectord` beside the client, and the settings
that say where the store is (COLLECTORD_STORE, or the spool of a daemon on this machine). Scoring needs neither.
"""

from __future__ import annotations

import datetime
import importlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..notices import log, once

PACKAGE = "collectord"


@dataclass(frozen=True)
class DeploymentConfiguration:
    """What a deployment switches on; None: nothing is said."""

    collect_model_data: bool | None = None
    enable_app_insights: bool | None = None

    def apply(self, workspace: Any, name: str) -> Webservice:
        """Switches the service of that name so, which need not be deployed yet. Raises as `Webservice.update`."""
        service = Webservice(workspace, name)
        service.update(self.collect_model_data, self.enable_app_insights)
        return service

    def environment(self) -> dict[str, str]:
        """The variables that say the same to the pods of one deployment only."""
        said = (
            ("AML_MODEL_DC_STORAGE_ENABLED", self.collect_model_data),
            ("AML_APP_INSIGHTS_ENABLED", self.enable_app_insights),
        )
        return {name: str(switch).lower() for name, switch in said if switch is not None}


class Webservice:
    """A deployed service. `workspace` is taken and not needed: the store is the workspace's."""

    def __init__(self, workspace: Any, name: str) -> None:
        """Raises ValueError without a name."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"a service has a name, such as my-service, not {name!r}")
        self.workspace = workspace
        self.name = name

    def update(
        self,
        collect_model_data: bool | None = None,
        enable_app_insights: bool | None = None,
        *,
        sampling: dict[str, float | None] | None = None,
        capture: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Switches the service on all nodes; running clients follow within seconds. What is None stays as it is.

        `sampling` is the fraction of requests by designation; a fraction of None removes it. `capture` is a recipe, as `capture`
        makes one; an empty one ends it. What else azureml-core takes,
        such as `cpu_cores`, is for whoever deploys: it is told and means nothing here.

        Raises RuntimeError where collectord is not installed, and its errors (`collectord.errors`) where the settings name no
        store, or the store refuses.
        """
        for name, value in others.items():
            if value is not None:
                once(
                    logging.WARNING,
                    f"update {name}",
                    "%s means nothing to collectord: change it where you deploy",
                    name,
                )
        switches = {"collect_model_data": collect_model_data, "enable_app_insights": enable_app_insights}
        patch: dict[str, Any] = {name: switch for name, switch in switches.items() if switch is not None}
        if sampling is not None:
            patch["sampling"] = dict(sampling) if isinstance(sampling, Mapping) else sampling
        if capture is not None:
            patch["capture"] = capture or None
        if patch:
            services, settings = _operator("services", "switching a service", "collectord service set")
            services.update(settings, self.name, patch)

    def capture(
        self,
        requests: int | None = None,
        where: str | None = None,
        failed: bool = False,
        *,
        hours: float | None = None,
        until: datetime.datetime | str | None = None,
    ) -> None:
        """For a while, collects only the next so many `requests` of each client, those with a prediction of which `where` holds,
        such as `"score > 0.9"`, or those that `failed`; of several conditions each must be met. Then what is switched
        counts again. It lasts 24 hours, or so many `hours`, or `until` a time (UTC if it has no zone).

        Raises as `update`, and ValueError where no condition is given.
        """
        if hours is not None and until is not None:
            raise ValueError("a recipe ends after so many hours, or at a time, not both")
        if hours is not None:
            try:
                until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"a recipe lasts so many hours, such as 2, not {hours!r}") from None
        if isinstance(until, datetime.datetime):
            until = until.isoformat()
        recipe = {"requests": requests, "where": where, "failed": failed or None, "until": until}
        given = {name: value for name, value in recipe.items() if value is not None}
        if not given.keys() - {"until"}:
            raise ValueError("a recipe selects by requests, where or failed; stop_capture() ends one")
        self.update(capture=given)

    def stop_capture(self) -> None:
        """Ends a recipe now. Raises as `update`."""
        self.update(capture={})

    def get_logs(self, num_lines: int = 5000, init: bool = False) -> str:
        """The newest lines of the service's log, oldest first, as azureml-core gives them: one text.

        What its scripts printed and logged, exceptions and failed requests, of all nodes as far as they have landed, and what waits on
        this one; and what the collector has to say about the service, such as a start that failed. Also of a service that
        was deployed long ago. `init`: only what the collector says.

        Raises RuntimeError where collectord is not installed, ValueError for a number of lines that is none, and its errors
        (`collectord.errors`) where nothing is known of the service, the settings name no store, or the store refuses.
        """
        if isinstance(num_lines, bool) or not isinstance(num_lines, int) or num_lines < 1:
            raise ValueError(f"num_lines is a number of lines, such as 5000, not {num_lines!r}")
        logs, settings = _operator("servicelogs", "reading a service's log", "collectord logs")
        found = logs.read_log(settings, self.name, num_lines, own_only=bool(init))
        for notice in found.notices:
            log.warning("%s", notice)
        return str(found.text())

    @staticmethod
    def deploy_configuration(
        collect_model_data: bool | None = None, enable_app_insights: bool | None = None, **others: Any
    ) -> DeploymentConfiguration:
        """What a deployment is to switch on. `others`: what azureml-core takes too; it is for whoever deploys."""
        return DeploymentConfiguration(collect_model_data, enable_app_insights)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class AksWebservice(Webservice):
    """A service on AKS."""


class AciWebservice(Webservice):
    """A service on Azure Container Instances."""


def _operator(module: str, purpose: str, command: str) -> tuple[Any, Any]:
    """A module of collectord, and the settings it works with."""
    try:
        config, found = (importlib.import_module(f"{PACKAGE}.{name}") for name in ("config", module))
    except ImportError as error:
        raise RuntimeError(
            f"{purpose} needs the package collectord on this machine, and {error.name} cannot be imported; "
            f"or use `{command}` where it is installed"
        ) from None
    file = os.environ.get("COLLECTORD_CONFIG")
    return found, config.load(Path(file) if file else None)
