"""What one tenant, or one service where clients name none, may have of what all share: a share of what the others leave.

One that is alone gets the share, of what is left the next one gets the same part, and so on: as some of it is given back, those
who want all they can get end at the same height. So nobody has to be told what he may have, and nobody takes everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def allowed(share: float, whole: int, others: int) -> int:
    """How much of `whole` one may have, where the others have `others` of it. Pure."""
    return math.ceil(share * max(0, whole - others))


class Names:
    """The streams that are told apart in the books, by the bytes of their names.

    Each segment of the log says of each of them how many rows have ever come, and nothing forgets one: so there is a limit,
    and whoever invents names reaches his share of it. What was there before is nobody's. Belongs to the event loop.
    """

    def __init__(self, limit: int, share: float, known: Iterable[str] = ()) -> None:
        """`limit` in bytes; `known`: the keys of the streams that are in the books already."""
        self._limit = limit
        self._share = share
        self._known = set(known)
        self._of: dict[str, int] = {}
        self.bytes = sum(map(_weight, self._known))

    def __len__(self) -> int:
        return len(self._known)

    def let_in(self, key: str, whose: str) -> bool:
        """Whether a stream may be in the books."""
        if key in self._known:
            return True
        mine, weight = self._of.get(whose, 0), _weight(key)
        if mine + weight > allowed(self._share, self._limit, self.bytes - mine):
            return False
        self._known.add(key)
        self._of[whose] = mine + weight
        self.bytes += weight
        return True


NAME_BYTES = 64
"""What a stream takes besides its name."""


def _weight(key: str) -> int:
    return len(key) + NAME_BYTES
