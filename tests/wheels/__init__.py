"""What is uploaded to a package registry, built and used far from the checkout. `make test-wheels`."""
