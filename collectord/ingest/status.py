"""One table from our errors to gRPC status codes."""

from __future__ import annotations

import grpc

from collectord import errors

TABLE: dict[type[errors.CollectordError], grpc.StatusCode] = {
    errors.CollectordError: grpc.StatusCode.INTERNAL,
    errors.TryAgain: grpc.StatusCode.UNAVAILABLE,
    errors.LogUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.SpoolFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NeverAgain: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Rejected: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ProtocolError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TakenOver: grpc.StatusCode.ABORTED,
    errors.TooManyClients: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TenantChanged: grpc.StatusCode.UNAVAILABLE,
    errors.CallHuman: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ConfigError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SpoolInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SpoolUnusable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LedgerMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.FormatTooNew: grpc.StatusCode.FAILED_PRECONDITION,
}


def status_of(error: errors.CollectordError) -> grpc.StatusCode:
    """The status that a caller sees for this error. One that a room has added gets that of its nearest ancestor."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
