"""Fakes that are held to the same tests as what they stand for, and faults that can be ordered. For tests only."""
