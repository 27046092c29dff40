"""The HTTP side for probes, scrapers and people: /livez, /readyz, /metrics, and the status page. Off unless an address is given.

Promises: neither probe depends on the store, so an outage of Azure restarts no pod. Threads: the event loop.
"""
