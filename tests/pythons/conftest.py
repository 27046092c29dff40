"""The fake daemon of the client's tests."""

from tests.client.conftest import daemon

__all__ = ["daemon"]
