"""Every error of ours has a remedy, and a gRPC status."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import grpc
import pytest

import collectord
from collectord import errors
from collectord.ingest.status import TABLE, status_of

REMEDIES = (errors.TryAgain, errors.NeverAgain, errors.CallHuman)


def tree(root: type[errors.CollectordError]) -> list[type[errors.CollectordError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


def all_modules() -> None:
    """Rooms add errors of their own; they have to be loaded to be seen."""
    for module in pkgutil.walk_packages(collectord.__path__, "collectord."):
        if not module.name.startswith(("collectord.demo", "collectord.__main__")):
            importlib.import_module(module.name)


def test_every_error_of_the_tree_has_a_status_of_its_own() -> None:
    own = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CollectordError)]
    assert set(own) == set(TABLE)
    assert len(own) > 10


def test_every_error_of_any_room_has_one_remedy_and_a_status() -> None:
    """Also those that a room has added: they answer as their nearest ancestor does."""
    all_modules()
    kinds = tree(errors.CollectordError)
    assert len(kinds) > len(TABLE), "some room has errors of its own"
    for kind in kinds:
        if kind is errors.CollectordError or kind in REMEDIES:
            continue
        assert sum(issubclass(kind, remedy) for remedy in REMEDIES) == 1, kind
        status = status_of(kind.__new__(kind))
        assert isinstance(status, grpc.StatusCode)
        assert status is not grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("remedy", "allowed"),
    [
        (errors.TryAgain, {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}),
        (errors.NeverAgain, {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED}),
        (errors.CallHuman, {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED}),
    ],
)
def test_the_status_tells_the_remedy(remedy: type[errors.CollectordError], allowed: set[grpc.StatusCode]) -> None:
    """A caller that knows nothing but gRPC does the right thing."""
    assert {TABLE[kind] for kind in TABLE if issubclass(kind, remedy)} <= allowed


def test_a_rejection_says_why_in_a_word_and_in_a_sentence() -> None:
    error = errors.Rejected(errors.Reason.NO_ROWS, "rows is 0")
    assert (error.reason, error.detail, str(error)) == (errors.Reason.NO_ROWS, "rows is 0", "no_rows: rows is 0")
