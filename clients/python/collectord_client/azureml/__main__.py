"""`python -m collectord_client.azureml MODEL`: what a `ModelDataCollector` would do here; with `--collection NAME` in place of the
model, what a `Collector` would. In a Dockerfile it fails the build where the package is not whole. With `run -- COMMAND …`, it runs
a command whose scripts tell events: see `run.py`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from ..embedded import PACKAGE
from ..endpoint import EndpointError, directory_of, resolve
from ..overgrpc import look_for_grpc
from ..version import VERSION
from . import Collector, ModelDataCollector
from .identity import Identity
from .run import run

V1 = (ModelDataCollector, ("azureml.monitoring", "azureml.datacollector"), "collectord-azureml", "azureml-monitoring")
V2 = (
    Collector, ("azureml.ai.monitoring", "azureml.ai.monitoring.collector"), "collectord-azureml-ai",
    "azureml-ai-monitoring",
)  # fmt: skip
"""A class, the modules that scripts import it from, our distribution, and the one whose place it takes."""


def main(arguments: list[str]) -> int:
    """Prints, and returns the exit status."""
    if arguments[:1] == ["run"]:
        return run(arguments[1:])
    if arguments[:1] != ["--collection"] and arguments and arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments[0] in ("-h", "--help") else 2
    print(f"collectord-client {VERSION}")
    if arguments[:1] == ["--collection"]:
        status = _names(*V2) | _collection(arguments[1] if len(arguments) > 1 else "model_inputs")
    else:
        status = _names(*V1) | _model(arguments[0] if arguments else "model")
    try:
        target, path = resolve(None)
        directory = directory_of(None)
        if path is None:
            look_for_grpc(target)
    except EndpointError as error:
        print(f"endpoint: {error}")
        return 1
    if directory is not None:
        # Then the process itself does what a daemon does elsewhere.
        installed = importlib.util.find_spec(PACKAGE) is not None
        print(
            f"endpoint: dir:{directory}{'' if installed else f' needs a package that is missing: pip install {PACKAGE}'}"
        )
        return status if installed else 1
    there = "" if path is None or os.path.exists(path) else " (nothing is there now)"  # noqa: PTH110
    print(f"endpoint: {target}{there}")
    return status


def _names(kind: type[object], modules: tuple[str, ...], ours: str, theirs: str) -> int:
    """1 where a script would get another class, or none."""
    status = 0
    for name in modules:
        try:
            # Of a package whose files are gone, the folder may be left.
            found = getattr(importlib.import_module(name), kind.__name__, None)
        except ImportError:
            found = None
        if found is kind:
            what = "collectord's"
        else:
            status = 1
            what = (
                f"missing: pip install {ours}" if found is None
                else f"Microsoft's: uninstall {theirs}, then reinstall {ours}"
            )  # fmt: skip
        print(f"{name}: {what}")
    return status


def _model(model: str) -> int:
    """1 where nothing can be collected."""
    collector = ModelDataCollector(model, designation="inputs")
    unusable = collector.stats()["unusable"]
    if unusable:
        print(f"nothing can be collected: {unusable}")
    _stream("inputs", collector.identity)
    print(f"collecting: {'as the daemon says' if collector.stats()['enabled'] else 'switched off by the environment'}")
    return 1 if unusable else 0


def _collection(name: str) -> int:
    """1 where nothing can be collected, whatever the configuration of a deployment will say."""
    collector = Collector(name=name)
    _stream(collector.name, collector.identity)
    told = collector.stats()
    how = told["refused"] or (
        "as the daemon says" if told["enabled"] else "nothing is sent: local mode, or a rate of 0"
    )
    print(f"collecting: {how}; what decides is {told['switch']}")
    return 1 if collector._unusable else 0


def _stream(designation: str, of: Identity) -> None:
    print(f"{designation} of {of.model}: {of.workspace}/{of.webservice}/{of.model}/{of.version}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
