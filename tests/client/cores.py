"""Makes random calls of `collect` and tells what became of them, so that the two cores can be compared.

`python -m tests.client.cores SEED COUNT` prints one line of JSON per example, the name of the core first. Ids and times that
the client makes are told by where they first came up.
"""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
import sys
from typing import Any

import numpy as np
import pandas as pd
from collectord_client import CORE, Client, Context, Request
from collectord_client.client import NOT_CONNECTED
from collectord_client.condition import parse
from collectord_client.core import NO_SHAPE, Correlations, describe
from collectord_client.page import Page
from collectord_client.recipe import Recipe
from collectord_client.switches import Said, Switches

HOUR = 3_600_000_000_000
SMALL = np.arange(6.0).reshape(1, 6)
FRAME = pd.DataFrame(SMALL, columns=list("abcdef"))
DATA: list[Any] = [
    SMALL,
    SMALL + 1,
    np.arange(18.0).reshape(3, 6),
    np.asfortranarray(np.arange(18.0).reshape(3, 6)),
    np.arange(36.0).reshape(3, 12)[:, ::2],
    np.arange(36.0).reshape(6, 6)[::-1],
    SMALL.astype(">f8"),
    np.broadcast_to(SMALL, (4, 6)),
    np.arange(6, dtype="i8").reshape(1, 6),
    np.arange(6, dtype="f4").reshape(1, 6),
    np.array([[True, False]]),
    np.zeros((0, 6)),
    np.zeros((200, 6)),
    np.random.default_rng(1).random((100, 200)).astype("f4"),
    np.array([0.5]),
    np.array([0.5, 0.25, 0.125]),
    np.arange(12.0)[::4],
    np.array(4.0),
    FRAME,
    FRAME + 1,
    FRAME.iloc[:, ::-1],
    pd.DataFrame(np.arange(18.0).reshape(3, 6), columns=FRAME.columns),
    pd.DataFrame({name: [1.0, 2.0, 3.0] for name in FRAME.columns}, columns=FRAME.columns),
    pd.concat([FRAME, FRAME]),
    FRAME.astype("f4"),
    FRAME.assign(g="text"),
    [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]],
    b"no table",
]
USUAL = [0, 0, 0, 1, 1, 2, 14, 15, 18, 18, 19, 21, 22]
REQUESTS = [None, "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1", "gateway-7"]


FAR = 1 << 62
RECIPES = [
    Recipe("next", 3, until=FAR),
    Recipe("large", condition=parse("prediction > 0.3"), until=FAR),
    Recipe("any", 1, parse("prediction >= 0"), until=FAR),
]


class Tape:
    """A sender that keeps its pages."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.held: list[Page] = []
        self.dropped: list[tuple[str, str, int]] = []
        self.wakes = 0

    def enqueue(self, outbox: object, page: Page) -> None:
        self.pages.append(page)
        self.held.append(page)

    def wake(self) -> None:
        self.wakes += 1

    def detach(self, outbox: object) -> None: ...

    def count_dropped(self, stream: Any, reason: str, rows: int) -> None:
        self.dropped.append((stream.designation, reason, rows))

    def stats(self) -> dict[str, Any]:
        return dict(NOT_CONNECTED)


def play(seed: int) -> dict[str, Any]:
    """One example: its calls, pages and books."""
    choose = random.Random(seed)
    client = Client(
        "m", endpoint="unix:/nowhere/c.sock", linger=3600,
        page_bytes=choose.choice([1024, 1500, 20_000, 256 << 10]), outbox_bytes=choose.choice([64 << 10, 1 << 20, 32 << 20]),
    )  # fmt: skip
    tape = client._outbox.carrier = Tape()
    client._pending._variable.set(None)
    collectors = {
        "inputs": client.collector("inputs"),
        "named": client.collector("inputs", list("abcdef")),
        "predictions": client.collector("predictions", choose.choice([None, ["p"]])),
        "labels": client.collector("labels"),
    }
    contexts: list[Context] = []
    calls: list[Any] = []
    seen: dict[str, int] = {}
    times: dict[int, str] = {}
    short = 0

    def place(id: str) -> int | str:
        return seen.get(id, id)

    for _ in range(choose.randrange(5, 80)):
        act = choose.random()
        if act < 0.008:
            recipe = choose.choice(RECIPES)
            client._outbox.board.obey(Switches(services={"": Said(choose.random() < 0.5, recipe=recipe)}))
            continue
        if act < 0.04:
            client._outbox.board.obey(Switches(choose.random() < 0.5))
            continue
        if act < 0.08:
            client._outbox.seal()
        if act < 0.12:
            while tape.held:
                page = tape.held.pop()
                client._outbox.settle(page.rows, None, page)
            continue
        if act > 0.995:
            client._outbox.close()
        name = choose.choice(list(collectors))
        data = DATA[choose.choice(USUAL) if choose.random() < 0.8 else choose.randrange(len(DATA))]
        told: dict[str, Any] = {}
        if choose.random() < 0.1:
            told["correlation_id"] = choose.choice(["key", REQUESTS[1]])
        if choose.random() < 0.1:
            told["timestamp"] = choose.randrange(400_000, 400_003) * HOUR
        if choose.random() < 0.05:
            told["request_id"] = choose.choice(REQUESTS[1:])
        if contexts and choose.random() < 0.3:
            told["context"] = choose.choice(contexts)
        collector = collectors[name]
        short += collector._shape is not NO_SHAPE
        if choose.random() < 0.3:
            with Request(choose.choice(REQUESTS)):
                made = collector.collect(data, **told)
        else:
            made = collector.collect(data, **told)
        contexts.append(made)
        id = str(made.correlation)
        if id[14:15] == "7":
            seen.setdefault(id, len(seen))
        if made.time_ns // HOUR > 400_010:
            times.setdefault(made.time_ns, f"time {place(id)}")
        for other in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
            assert type(other) is type(made)
            assert (other.correlations, other._request_rows) == (made.correlations, made._request_rows)
        assert repr(made).startswith(f"Context(correlation='{id}'")
        by_value = describe(
            made, {"$aml_dc_correlation_id": "", "$aml_dc_scoring_timestamp": "", "$aml_request_id": "0"}
        )
        assert isinstance(by_value, Correlations)
        assert (
            pickle.loads(pickle.dumps(by_value)) == by_value == copy.copy(by_value) == json.loads(json.dumps(by_value))
        )
        assert by_value.context is made
        calls.append(
            (
                type(made).__name__, place(id), made.rows, str(made.request_id), len(made.correlations), made._taken,
                times.get(made.time_ns, made.time_ns), by_value["$aml_dc_correlation_id"] == id, by_value["$aml_request_id"],
                pd.Timestamp(by_value["$aml_dc_scoring_timestamp"]).value == made.time_ns // 1000 * 1000,
            )
        )  # fmt: skip
    books = client.stats()
    client._outbox.seal()
    pages = [_told(page, place, times) for page in tape.pages]
    del books["core"]
    return {
        "calls": calls,
        "pages": pages,
        "books": books,
        "dropped": tape.dropped,
        "short": short,
    }


def _told(page: Page, place: Any, times: dict[int, str]) -> Any:
    whole, halves = page.body(), page._halves() if page.rows > 1 else ()
    assert len(whole) > 0
    assert sum(half.rows for half in halves) == (page.rows if halves else 0)
    ids: Any = bytes(page.ids)
    if page.schema.correlation == 1:
        ids = [
            place(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
            for text in (page.ids[at : at + 16].hex() for at in range(0, len(page.ids), 16))
        ]
    else:
        ids = ids.decode()
        for known in [word for word in ids.split("key") if word]:
            ids = ids.replace(known, str(place(known)))
    values = b"".join(page._columns()) if not page.schema.tensor else bytes(page._values())
    return [
        page.schema.raw.hex(), page.rows, page.size, ids, values.hex(), page.requests.hex(), list(page.counts),
        None if page.first_rows is None else list(page.first_rows), [times.get(one, one) for one in page.times],
        page.hour if page.hour < 400_010 else "now",
    ]  # fmt: skip


if __name__ == "__main__":
    print(CORE)
    # What is held of a request goes with its last reference, some of which are in cycles: these go between two examples, not
    # in the middle of one, at a moment that the cores do not share.
    gc.disable()
    gc.freeze()
    for seed in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
        print(json.dumps(play(seed)))
        gc.collect()
