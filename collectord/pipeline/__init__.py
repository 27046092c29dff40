"""The journey of a batch after its acknowledgement: log → buffer → encode → upload. The only room that knows the others.

`journey.py` puts it together and has its thread; `dispatch.py` says who works on what; `state.py` holds what its threads share,
and the lock. `reading.py` takes the log's entries in, `sending.py` brings them into their blobs, `upkeep.py` lets go
of what has landed, `overview.py` answers, and `snapshot.py` about rows. For people who watch: `event_minutes.py` (telemetry by
minute), `traffic.py` (what goes to the blobs) and `last_errors.py`. On the way: `known.py` (what a partition is), `framer.py`
(frames), `ahead.py` (those that are made before their turn), `sources.py` (where an entry's bytes are), `troubles.py` (what fails for now), `poison.py` (what can never land), `parking.py` (what waits for long leaves the log). The quarantine: `shelf.py` (in and
out), `holdings.py` (what it holds), `returning.py` (what comes back through the log). After the loss of the ledger:
`rebuild.py` (how far a partition has landed), `rebuilding.py` (all of them), `undecided.py` (whose the quarantine's rows are).

Events on their way to other services: `exports.py` (all exporters), `exporting.py` (one of them), `event_reader.py` and
`unpacking.py` (what it reads), `lag.py` (how far behind it may be). `upload_events.py`: the daemon's own uploads as events.

Promises: every row of the log lands once, or is set aside and counted. Assumes: the log gives back what it has confirmed.
Threads: one that reads and decides, `workers` that upload, one that parks, one per exporter; questions come from any.
"""

from collectord.pipeline.journey import Pipeline

__all__ = ["Pipeline"]
