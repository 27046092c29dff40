"""`enable_app_insights()`: what Azure ML's switch of that name gives a service, by one line of its script, or by none.

Which service, model and workspace it is, is found as for the collectors of the SDKs.
"""

from __future__ import annotations

import logging

from ..client import Client
from ..notices import once
from .clients import Clients
from .identity import find_deployed

_clients = Clients()


def enable_app_insights() -> Client:
    """From now on prints, records of logging, and requests with what goes wrong in them are told, where telemetry is on:
    for the service, by AML_APP_INSIGHTS_ENABLED, or by the daemon. May be called again. Returns the client that tells them.

    Never raises: where names or settings are unusable, that is said once, and nothing is told.
    """
    try:
        client = _clients.find(find_deployed(), "insights")
    except (ValueError, TypeError) as error:
        once(logging.WARNING, "insights", "telemetry is off: %s", error)
        return _clients.counting()
    client.capture()
    return client
