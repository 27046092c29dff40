"""The books balance, whatever happens to rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectord.books import Books

ROWS = st.integers(1, 1000)


@given(st.lists(st.tuples(st.sampled_from(["land", "quarantine", "lose", "wait", "park", "retry", "drop"]), ROWS)))
def test_what_was_received_is_somewhere(fates: list[tuple[str, int]]) -> None:
    """Each row that was received has exactly one place; missing is what has none."""
    books = Books({}, {}, {}, {}, {})
    waiting, parked = [], []
    for fate, rows in fates:
        books.receive("s", rows)
        if fate in ("wait", "park"):
            (waiting if fate == "wait" else parked).append(("s", rows))
        elif fate in ("retry", "drop"):
            books.quarantine("s", rows)
            if fate == "drop":
                books.discard("s", rows)
            else:
                books.take_out("s", rows)
                waiting.append(("s", rows))
        else:
            getattr(books, fate)("s", rows)
    assert [book.missing for book in books.view(waiting, parked)] == [0] * bool(fates)
    books.receive("s", 7)
    assert books.view(waiting, parked)[0].missing == 7


def test_drops_are_running_totals() -> None:
    """A repeated or older total is no news; what changed is told once."""
    books = Books({}, {}, {}, {}, {(b"a", "s", "outbox_full"): 5})
    assert books.drop((b"a", "s", "outbox_full"), 5) == 0
    assert books.drop((b"a", "s", "outbox_full"), 9) == 4
    assert books.drop((b"a", "s", "outbox_full"), 7) == 0
    assert books.take_fresh_drops() == [((b"a", "s", "outbox_full"), 9)]
    assert books.take_fresh_drops() == []


def test_forgotten_clients_leave_their_drops_behind() -> None:
    """The total of a stream stays, and a returning client counts anew."""
    books = Books({}, {}, {}, {}, {(b"a", "s", "ragged"): 5, (b"b", "s", "ragged"): 2})
    books.forget_clients([b"a"])
    (book,) = books.view([])
    assert book.dropped_by_clients == {"ragged": 7}
    assert books.drop((b"a", "s", "ragged"), 1) == 1
    (book,) = books.view([])
    assert book.dropped_by_clients == {"ragged": 8}
