"""Collects what a model sees and says in production, without slowing it down.

    client = Client(model="best_model", version="10")
    inputs = client.collector("inputs", feature_names=["feat1", "feat2"])
    predictions = client.collector("predictions", feature_names=["prediction"])

    context = inputs.collect(data)
    predictions.collect(model.predict(data), context=context)

`collect()` copies the rows into memory and returns; a background thread sends them to a collectord daemon. Needs protobuf,
and grpcio where the daemon is reached over TCP; loads them when there is something to send and somebody to send it to.
"""

from .client import Client
from .collector import Collector
from .context import Context
from .core import CORE
from .endpoint import EndpointError
from .errors import CollectError
from .request import Request
from .version import VERSION as __version__

__all__ = ["CORE", "Client", "CollectError", "Collector", "Context", "EndpointError", "Request", "__version__"]
