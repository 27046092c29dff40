"""The way of a finished frame into its blob."""
