"""A scoring pod: collects inputs and predictions with the real client until it is told to end.

    python scorer.py SETTINGS

SETTINGS is JSON: `endpoint`; `who`, a number; `rate`, requests a second; `rows` of each; `ago`, how many days ago
they were scored; `account`, a file. Row n is (who, n, n / 7).

SIGTERM ends it as a pod ends: whatever exit handlers send in their time. A line on its stdin lets it wait until all is
acknowledged, and end. While it runs, a line of the account says what was collected and acknowledged by then, so that much is known
also of one that was killed; when it ends, `account`.end has all that it knows.
"""

import atexit
import json
import logging
import os
import signal
import sys
import threading
import time
from array import array
from pathlib import Path

import numpy as np
from collectord_client import Client
from collectord_client.errors import CollectError

LOOK_EVERY = 0.05
DAY_NS = 86_400 * 10**9

logging.basicConfig(level=logging.WARNING, format="%(message)s")
settings = json.loads(sys.argv[1])
who, rows = float(settings["who"]), int(settings["rows"])
account = os.open(settings["account"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
stop = threading.Event()
left = patient = False
n = 0
refused: dict[str, list[int]] = {"inputs": [], "predictions": []}
"""The first rows of the calls that were dropped."""
errors: list[tuple[float, str]] = []
calls, took, worked = array("d"), array("d"), array("d")
"""When each request was collected, how many seconds its two calls took, and of these how many this thread was at work."""


def tell_all() -> None:
    end = {
        "rows": n, "refused": refused, "errors": errors, "calls": list(calls), "took": list(took), "worked": list(worked),
        "stats": {name: client.stats() for name, client in clients.items()},
    }  # fmt: skip
    Path(settings["account"] + ".end").write_text(json.dumps(end))


# Before the clients are made: exit handlers run the other way round, so this one sees what theirs has sent.
atexit.register(tell_all)
clients = {
    # One client each, so that what it says of its rows is of one stream. Strict: a call that is dropped says so.
    name: Client(
        model="m", version="1", webservice="service", workspace="sub/group/ws", endpoint=settings["endpoint"], linger=0.2,
        strict=True,
    )
    for name in ("inputs", "predictions")
}  # fmt: skip
collectors = {
    name: client.collector(name, feature_names=["who", "n", "x" if name == "inputs" else "y"])
    for name, client in clients.items()
}


def keep_account() -> None:
    said = ""
    while not stop.wait(LOOK_EVERY):
        stats = [client.stats() for client in clients.values()]
        line = [time.monotonic(), n, *(one["acknowledged"] for one in stats)]
        os.write(account, (json.dumps(line) + "\n").encode())
        error = stats[0]["last_error"]
        if error != said:
            said = error
            errors.append((time.monotonic(), error))


def await_end() -> None:
    global patient
    patient = bool(sys.stdin.readline())
    stop.set()


def leave(*_: object) -> None:
    global left
    left = True


signal.signal(signal.SIGTERM, leave)
threading.Thread(target=keep_account, daemon=True).start()
threading.Thread(target=await_end, daemon=True).start()
request, began = 0, time.monotonic()
while not left and not stop.wait(max(0.0, began + request / settings["rate"] - time.monotonic())):
    numbers = np.arange(n, n + rows, dtype=float)
    table = np.column_stack((np.full(rows, who), numbers, numbers / 7))
    when = time.time_ns() - settings["ago"] * DAY_NS
    begin, work = time.perf_counter(), time.thread_time()
    context = None
    for name, collector in collectors.items():
        try:
            context = collector.collect(table, context=context, timestamp=when)
        except CollectError:
            refused[name].append(n)
    calls.append(time.monotonic())
    took.append(time.perf_counter() - begin)
    worked.append(time.thread_time() - work)
    n += rows
    request += 1
if patient and not left:
    for client in clients.values():
        client.flush(90)
