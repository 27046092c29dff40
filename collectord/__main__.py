"""`python -m collectord`."""

from collectord.cli.main import main

main()
