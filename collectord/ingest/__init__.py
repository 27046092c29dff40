"""A batch arrives, is judged, is made durable, is acknowledged.

Promises: an acknowledged batch is in the log; a client's batches are stored in order, without gaps and without repeats; a
refused batch is counted and named; nothing that a client sends stops the daemon or another client.
Assumes: a log that calls back when entries are durable; time and settings from outside.
Threads: one asyncio loop; the log's callback comes from its own thread and is handed to the loop.
Limits: message size, unacknowledged bytes, clients, schemas per client, open streams, remembered marks.
"""
