"""Azure ML's name for collectord's collector."""

from collectord_client.azureml import ModelDataCollector

__all__ = ["ModelDataCollector"]
