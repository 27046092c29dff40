"""Ordered, checksummed, durable bytes: the log is the queue and the buffer.

Promises: an append is acknowledged only after its group is on disk; acknowledged entries are read exactly once and in
order, or reported as damage with a copy in quarantine; entries reported as failed are void. The same reader serves live
and after a crash. Assumptions: one process writes the directory (the spool's lock sees to that); a sync that returns has
synced. Threads: one writes, any may read payloads. Limits: payloads of 8 MiB, segments of 64 MiB, the log's budget.
The bytes: `docs/formats/log.md`.
"""
