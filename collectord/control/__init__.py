"""What an operator asks a running daemon: status, flush, ledger. Served on the admin socket, never where pods can reach.

Threads: the event loop; questions that may wait for the pipeline run on a thread of their own.
"""
