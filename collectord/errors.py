"""Every exception of ours, sorted by remedy: try again, never again, call a human."""

from __future__ import annotations

from collectord.model import Reason


class CollectordError(Exception):
    """Root of the tree."""


class TryAgain(CollectordError):
    """The same call may succeed later; nothing was done."""


class NeverAgain(CollectordError):
    """The same call will always fail: the input is at fault."""


class CallHuman(CollectordError):
    """Somebody has to change something: a setting, a permission, a disk."""


class LogUnavailable(TryAgain):
    """The log could not write or sync; what was handed in is not acknowledged."""


class SpoolFull(TryAgain):
    """The spool's budget or the disk is used up."""


class Rejected(NeverAgain):
    """A batch or schema that will never be accepted."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class ProtocolError(NeverAgain):
    """A stream that does not follow the proto file; it is ended."""


class TakenOver(NeverAgain):
    """Another stream of the same client has begun; this one is ended."""


class TooManyClients(TryAgain):
    """The limit of connected clients is reached."""


class TenantChanged(TryAgain):
    """A client may do something else from now on; he comes again to hear it."""


class ConfigError(CallHuman):
    """A setting is wrong; the message names the field, the value and what is allowed."""


class Unauthenticated(CallHuman):
    """Nobody who is known here: the token is wrong, or there is none."""


class SpoolInUse(CallHuman):
    """Another daemon holds the spool or the socket."""


class SpoolUnusable(CallHuman):
    """The spool directory cannot be written, or is not ours."""


class LedgerMissing(CallHuman):
    """The log has entries but the ledger is gone: uploading would double rows."""


class FormatTooNew(CallHuman):
    """A file was written by a later version of collectord."""


def described(error: BaseException) -> str:
    """An error in words fit for logs and status: those of others than ours and the system may quote a user's value."""
    words = str(error) if isinstance(error, (CollectordError, OSError)) else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
