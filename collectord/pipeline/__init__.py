"""The journey of a batch after its acknowledgement: log → buffer → encode → upload. The only room that knows the others."""

from collectord.pipeline.journey import Pipeline

__all__ = ["Pipeline"]
