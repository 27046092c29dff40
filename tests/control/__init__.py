"""Tests of collectord.control."""
