"""Collects and ends without flush or close, in the way named: leaving.py ENDPOINT at_once | later | error | thread | handler."""

import atexit
import sys
import threading

from collectord_client import Client


def main(endpoint: str, how: str) -> None:
    client = Client("m", "1", endpoint=endpoint)
    if how == "later":
        client.collect([[0.0]] * 10)
        assert client.flush(20)
    if how == "thread":
        thread = threading.Thread(target=lambda: [client.collect([[float(k)]]) for k in range(100)])
        thread.start()
        thread.join()
    elif how == "handler":
        # The first rows of all, when the interpreter is ending already.
        atexit.register(lambda: [client.collect([[float(k)]]) for k in range(100)])
    else:
        for k in range(100):
            client.collect([[float(k)]])
    if how == "error":
        raise ValueError("the script fails")


if __name__ == "__main__":
    main(*sys.argv[1:])
