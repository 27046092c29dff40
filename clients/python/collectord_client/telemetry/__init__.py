"""Events: requests, dependencies, exceptions, traces and metrics, told by a script and by what runs it.

An event is a row of a stream of its kind, and goes the way of all rows: outbox, wire, log, exactly once. Telling one costs the
calling thread some microseconds and takes no lock that anybody holds for long; a thread of the process makes rows of what
was told. Whoever tells is never held up and never gets an error: what cannot be taken is cut, or dropped, and counted.
"""
