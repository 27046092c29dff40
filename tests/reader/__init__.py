"""Tests of collectord.reader."""
