"""Azure ML's name for collectord's collector."""

from collectord_client.azureml import Collector

__all__ = ["Collector"]
