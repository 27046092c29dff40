"""The targets of speed: each measured, with its interval, against what it should be."""
