"""The value way: `collect()` as the v1 SDK has it, which returns a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values import moment
from .context import Context

if TYPE_CHECKING:
    from ..collector import Collector

CORRELATION = "$aml_dc_correlation_id"
TIMESTAMP = "$aml_dc_scoring_timestamp"
REQUEST = "$aml_request_id"
"""The correlations that differ from call to call, as the v1 SDK calls them."""


class Correlations(dict[str, Any]):
    """What `ModelDataCollector.collect` returns: the columns that its rows carry beside their own. May be kept as JSON and
    given back later."""

    __slots__ = ("context",)

    context: Context
    """The same for this process; it also knows how many rows there were."""


def describe(context: Context, constants: dict[str, Any]) -> Correlations:
    """The correlations of one call; `constants` has those of every call, and the order of all."""
    made = Correlations(constants)
    made[CORRELATION] = text_of(context._id)
    # What is finer than a microsecond is not in the CSV either.
    made[TIMESTAMP] = moment(context.time_ns // 1000 * 1000)
    if context._request is not None:
        made[REQUEST] = text_of(context._request)
    made.context = context
    return made


def text_of(id: bytes | str) -> str:
    """An id as the CSV has it."""
    if isinstance(id, str):
        return id
    digits = id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class ValueWay:
    """`collect()` of a collector that returns its correlations by value."""

    _own: Collector
    _constants: dict[str, Any]
    _plain: bool
    """False where every call has to go the long way."""

    def collect(
        self, input_data: Any, user_correlation_id: Any = "", *, correlations: Any = None, request_id: Any = None
    ) -> Correlations:
        """Copies `input_data` into memory, to be sent in the background, and returns the columns its rows carry.

        Inputs get a correlation id of their own, behind `user_correlation_id` and a hyphen where one is given. Predictions
        in the same request get that of their inputs. What comes later, or from elsewhere, names it: by `correlations` (what
        collecting the inputs returned, also when it was JSON in between; or the id alone), by `user_correlation_id`, by
        the columns of a frame, by `add_correlations`, or by the `request_id`.
        """
        try:
            shape = self._own._shape
            if (
                self._plain
                and correlations is None
                and request_id is None
                and (user_correlation_id is None or (type(user_correlation_id) is str and not user_correlation_id))
                and type(input_data) is shape[0]
                # A frame may carry the columns of its inputs.
                and shape[7] is None
            ):
                return describe(self._own.collect(input_data), self._constants)
        except Exception as error:  # noqa: BLE001
            return self._accident(error)
        return self._long_way(input_data, user_correlation_id, correlations, request_id)

    def _long_way(self, data: Any, user_id: Any, given: Any, request_id: Any) -> Correlations:
        raise NotImplementedError

    def _accident(self, error: Exception) -> Correlations:
        """Counts the rows of a call that failed."""
        raise NotImplementedError
