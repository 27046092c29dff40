"""What a child knows that a connected client forks: forked.py ENDPOINT events | switches | recipe."""

import os
import sys

from collectord_client import Client

from tests.e2e.waiting import eventually


def events(client: Client) -> None:
    """The child begins empty, and the parent goes on."""
    client.trace("before")
    assert client.flush(20)
    client.trace("unsent at the fork")
    if os.fork() == 0:
        client.trace("child")
        assert client.flush(20)
        assert client.stats()["events"] == 1
        return
    assert os.wait()[1] == 0
    client.trace("after")
    assert client.flush(20)


def switches(client: Client) -> None:
    """The parent was switched off; the child asks for itself."""
    client.collect([[1.0, 1.0]])
    assert client.flush(20)
    eventually(lambda: not client.stats()["collecting"], "the client hears of the switch")
    if os.fork() == 0:
        client.collect([[1.0, 1.0]])
        assert client.flush(20)
        assert client.stats()["dropped"] == {"switched_off": 1}
        assert not client.stats()["collecting"]
        return
    assert os.wait()[1] == 0


def recipe(client: Client) -> None:
    """The one request that a recipe selects is counted in each process."""
    client.collect([[0.0]], "inputs")
    assert client.flush(20)
    assert client.stats()["dropped"] == {"switched_off": 1}
    score(client, 1.0)
    if os.fork() == 0:
        score(client, 2.0)
        assert client.flush(20)
        assert client.stats()["dropped"] == {"switched_off": 2}
        score(client, 3.0)
        score(client, 4.0)
        assert client.flush(20)
        assert client.stats()["recipe"]["selected"] == 1
        return
    assert os.wait()[1] == 0
    assert client.flush(20)


def score(client: Client, value: float) -> None:
    client.collect([[value, value]], "inputs")
    client.collect([[value]], "predictions", ["score"])


if __name__ == "__main__":
    {"events": events, "switches": switches, "recipe": recipe}[sys.argv[2]](
        Client("m", "1", endpoint=sys.argv[1], telemetry=sys.argv[2] == "events")
    )
