"""The images, built and run. `make image-test`."""
