"""`python -m collectord_client.azureml MODEL`: what a collector would do here. In a Dockerfile it fails the build where the
package is not whole."""

from __future__ import annotations

import importlib
import os
import sys

from ..endpoint import EndpointError, resolve
from ..version import VERSION
from . import ModelDataCollector

NAMES = ("azureml.monitoring", "azureml.datacollector")


def main(model: str) -> int:
    """Prints, and returns the exit status."""
    status = 0
    print(f"collectord-client {VERSION}")
    for name in NAMES:
        try:
            ours = importlib.import_module(name).ModelDataCollector is ModelDataCollector
        except ImportError:
            what, status = "missing: pip install collectord-azureml", 1
        else:
            what = "collectord's" if ours else "Microsoft's: uninstall azureml-monitoring"
            status = status if ours else 1
        print(f"{name}: {what}")
    collector = ModelDataCollector(model, designation="inputs")
    unusable = collector.stats()["unusable"]
    if unusable:
        print(f"nothing can be collected: {unusable}")
        status = 1
    identity = collector.identity
    print(f"inputs of {identity.model}: {identity.workspace}/{identity.webservice}/{identity.model}/{identity.version}")
    print(f"collecting: {'as the daemon says' if collector.stats()['enabled'] else 'switched off by the environment'}")
    try:
        target, path = resolve(None)
    except EndpointError as error:
        print(f"endpoint: {error}")
        return 1
    there = "" if path is None or os.path.exists(path) else " (nothing is there now)"  # noqa: PTH110
    print(f"endpoint: {target}{there}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "model"))
