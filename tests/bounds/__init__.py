"""The lower bounds of what we depend on. `make test-bounds`."""
