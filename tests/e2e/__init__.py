"""The whole of collectord, as real processes: what users can rely on."""
