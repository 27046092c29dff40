"""Azure ML's names for collectord's correlation contexts."""

from collectord_client.azureml.v2 import (
    BasicCorrelationContext,
    CorrelationContext,
    get_context,
    get_context_wrapper,
)

__all__ = ["BasicCorrelationContext", "CorrelationContext", "get_context", "get_context_wrapper"]
