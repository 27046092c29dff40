"""Tests of collectord.buffer."""
