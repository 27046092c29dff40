"""`python -m collectord`."""

from collectord.cli import main

main()
