"""What a person types; see `main.py`."""
