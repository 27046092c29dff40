"""Hours of faults for real daemons; see `python -m tests.soak.run --help`."""
