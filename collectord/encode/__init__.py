"""The encode room: Arrow record batches become CSV text or lines of JSON, text becomes compressed frames, frames become text
again.

Promises: the same rows give the same CSV on every machine, however they are cut into batches; lines of JSON show how, and
are the same otherwise; every finite float reads back to the same bits; a frame that is torn or damaged is named, unless its
index says that it is not wanted; an index is never wrong about an id that is in its frame.

Assumes that batches were judged at ingest (text is UTF-8, times are in their window), but reads nothing outside their
buffers even if not. Nothing here knows of streams' names in the store, of the log, or of time.

Threads: a `CsvPlan` or `JsonlPlan` is immutable and shared; a `TextBuffer` and a `FrameEncoder` belong to one worker each.
Encoding and compressing hold no GIL.

Limits: 256 MiB of text per frame. A `TextBuffer` grows to the text of the largest call and keeps that size.
"""
