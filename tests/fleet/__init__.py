"""Nodes come and go while pods score; see `make test-fleet`."""
