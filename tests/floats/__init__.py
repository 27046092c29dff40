"""Every float32 and a great many doubles, against another way to find their shortest decimals: `make test-floats`."""
