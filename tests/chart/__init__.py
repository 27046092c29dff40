"""The chart beside real tools: kubectl and Prometheus. `make chart-test`."""
