"""collectord: what machine-learning models see and say in production, exactly once, in compressed CSV blobs."""

__version__ = "0.2.0.dev0"
