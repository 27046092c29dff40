"""Collectors of the v2 SDK across forks: forking_v2.py unused | used. Rows are (who, number); nobody flushes."""

import os
import sys

import pandas as pd
from collectord_client.azureml import Collector

collector = Collector(name="model_inputs")


def collect(who: int) -> None:
    for number in range(20):
        collector.collect(pd.DataFrame({"who": [who], "number": [number]}))


def main(used: str) -> None:
    if used == "used":
        collect(-1)
        assert collector.flush(20)
    pids = []
    for who in range(1, 4):
        pid = os.fork()
        if pid == 0:
            collect(who)
            sys.exit(0)
        pids.append(pid)
    collect(0)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
