"""What a fleet of nodes does to the blobs it shares, simulated."""
