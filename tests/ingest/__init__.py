"""Tests of collectord.ingest."""
