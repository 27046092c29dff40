"""The hot end of `collect()` in Python, a file per noun: the twin, name for name, of what `_core.pyx` has compiled.

`core.py` chooses between the two, and everybody else takes these names from there.
"""
