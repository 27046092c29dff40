"""Events leave for other services: Application Insights, and whoever speaks OTLP. Values in, answers out.

`event.py` is an event as a value, `exporter.py` what an exporter has to do, `delivery.py` what is sent when and what becomes of
it (pure), `poster.py` the one connection. Application Insights: `connection.py` (where and as whom), `envelope.py` (an event as an
item, with its limits), `appinsights.py` (what the answers mean), `credential.py` (Entra). `otlp.py`: the same for OTLP. `large.py`:
what is too large for an item.

Promises: an event is delivered at least once, with an id that never changes, or counted as refused or expired. Assumes: whoever
drives it reads the events from the log, and writes down what was settled. Threads: an exporter and its delivery belong to one.
Nothing here logs, and no answer quotes what was sent.
"""
