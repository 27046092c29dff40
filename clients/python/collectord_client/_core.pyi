from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .pure.context import Context as Context
from .pure.context import Pending as Pending
from .pure.ids import Uuid7 as Uuid7
from .pure.short import NO_SHAPE as NO_SHAPE
from .pure.short import ShortWay as ShortWay
from .pure.short import only_block as only_block
from .pure.tray import Lock as Lock
from .pure.tray import Sheet as Sheet
from .pure.tray import Slot as Slot
from .pure.tray import Tray as Tray
from .pure.value import CORRELATION as CORRELATION
from .pure.value import REQUEST as REQUEST
from .pure.value import TIMESTAMP as TIMESTAMP
from .pure.value import Correlations as Correlations
from .pure.value import ValueWay as ValueWay
from .pure.value import describe as describe
from .pure.value import text_of as text_of

writes_places: bool

def keep_time_by_ticks(whether: bool) -> None: ...
def find_requests_by(entered: ContextVar[Any], of_flask: Callable[[Any], Any]) -> None: ...
