"""The face of Azure ML's SDKs in front of collectord: scoring scripts that were written for them need no change.

`ModelDataCollector` is that of `azureml-monitoring` (v1). The distribution `collectord-azureml` re-exports it under the
names that scripts import. `python -m collectord_client.azureml` tells what it would do here.
"""

from .collector import ModelDataCollector

__all__ = ["ModelDataCollector"]
