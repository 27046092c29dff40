"""The HTTP side for probes and scrapers: /livez, /readyz, /metrics. Off unless an address is given.

Promises: neither probe depends on the store, so an outage of Azure restarts no pod. Threads: the event loop.
"""
