from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .core import NO_SHAPE as NO_SHAPE
from .core import Context as Context
from .core import Correlations as Correlations
from .core import Lock as Lock
from .core import Pending as Pending
from .core import Sheet as Sheet
from .core import ShortWay as ShortWay
from .core import Slot as Slot
from .core import Tray as Tray
from .core import Uuid7 as Uuid7
from .core import ValueWay as ValueWay
from .core import describe as describe
from .core import only_block as only_block
from .core import text_of as text_of

def find_requests_by(entered: ContextVar[Any], of_flask: Callable[[Any], Any]) -> None: ...
