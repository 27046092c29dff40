"""Fixtures of the pipeline's tests."""

from __future__ import annotations

from tests.pipeline.node import node, store
from tests.pipeline.set_aside import encoder, impatient

__all__ = ["encoder", "impatient", "node", "store"]
