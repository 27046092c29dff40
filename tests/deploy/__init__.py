"""deploy/: the chart, what is made from it, and the systemd unit."""
