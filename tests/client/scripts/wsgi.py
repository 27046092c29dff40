"""A scoring service for gunicorn. TEST_ENDPOINT says where to; TEST_WARM=1 collects at import, before --preload forks."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from collectord_client import Client

client = Client("m", "1", endpoint=os.environ["TEST_ENDPOINT"], linger=30)
inputs = client.collector("inputs", feature_names=["number"])
predictions = client.collector("predictions", feature_names=["double"])

if os.environ.get("TEST_WARM") == "1":
    inputs.collect([[-1.0]])
    client.flush(20)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    number = float(environ["QUERY_STRING"])
    context = inputs.collect([[number]])
    predictions.collect([[2 * number]], context=context)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
