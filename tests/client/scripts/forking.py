"""Forks with and without earlier use: forking.py ENDPOINT cold | warm | busy | multiprocessing. Rows are (who, number)."""

import multiprocessing
import os
import sys
import threading

from collectord_client import Client

CHILDREN = 3


def collect(client: Client, who: float, count: int) -> None:
    bound = client.collector("inputs")
    for k in range(count):
        bound.collect([[who, float(k)]])


def main(endpoint: str, how: str) -> None:
    client = Client("m", "1", endpoint=endpoint)
    if how != "cold":
        collect(client, -1.0, 10)
        assert client.flush(20)
        # These are unsent at the fork: the parent's, exactly once.
        collect(client, -2.0, 10)
    if how == "multiprocessing":
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=collect, args=(client, float(n), 20)) for n in range(CHILDREN)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        return
    stop = threading.Event()
    thread = threading.Thread(target=keep_collecting, args=(client, stop))
    if how == "busy":
        thread.start()
    pids = []
    for n in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            collect(client, float(n), 20)
            if n == 0:
                # A grandchild, from a child that is connected.
                assert client.flush(20)
                if os.fork() == 0:
                    collect(client, 100.0, 20)
                else:
                    os.wait()
            sys.exit(0)
        pids.append(pid)
        collect(client, -3.0 - n, 10)
    if how == "busy":
        stop.set()
        thread.join()
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert client.flush(20)


def keep_collecting(client: Client, stop: threading.Event) -> None:
    bound = client.collector("inputs")
    number = 0.0
    while not stop.is_set() or number < 200:
        bound.collect([[-10.0, number]])
        number += 1
        stop.wait(0.001)
    print(int(number), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
