"""Tests of collectord.admin."""
