"""The VM of docs/quickstart.md: the unit under a real systemd. `make vm-test`."""
