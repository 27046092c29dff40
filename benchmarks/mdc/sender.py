"""One sender, in a process of its own as a scoring worker is: `python sender.py PORT ROWS PAUSE BEGIN END`.

Posts frames over a connection for each, as the SDK does, and prints how long each answer took, and how many were refused.
Times are those of `time.monotonic`; PAUSE is what it waits between an answer and the next payload, on average.
"""

import json
import os
import random
import socket
import sys
import time


def main(port: int, rows: int, pause: float, begin: float, end: float) -> None:
    body = json.dumps(
        [{f"f{n}": round(random.gauss(0, 1), 10) for n in range(10)} for _ in range(rows)], separators=(",", ":")
    ).encode()
    trace = os.urandom(8).hex()
    took: list[float] = []
    refused = 0
    time.sleep(max(0.0, begin - time.monotonic()))
    while time.monotonic() < end:
        if pause:
            time.sleep(random.expovariate(1 / pause))
        head = (
            f"POST /modeldata/log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\ntrace-id: {trace}-{len(took)}\r\nce-time: {int(time.time())}\r\n"
            f"ce-type: azureml.inference.model_inputs\r\nce-x-request-id: {trace}-{len(took)}\r\n\r\n"
        ).encode()
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + body)
            answer = connection.recv(4096)
        took.append(time.perf_counter() - began)
        refused += not answer.startswith(b"HTTP/1.1 202")
    print(json.dumps({"took": took, "refused": refused}))


main(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:6]))
