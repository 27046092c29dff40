"""What `azureml-ai-monitoring` (the v2 SDK) has: a collector of named collections, and the context that joins them."""

from .collector import Collector
from .context import BasicCorrelationContext, CorrelationContext, get_context, get_context_wrapper

__all__ = ["BasicCorrelationContext", "Collector", "CorrelationContext", "get_context", "get_context_wrapper"]
