"""Request lines are told apart as the service does, and refusals look like its own."""

from __future__ import annotations

import pytest

from collectord.testing.blobwire import OPERATIONS, REFUSALS, operation, refusal


@pytest.mark.parametrize(
    "method, target, asked",
    [
        ("PUT", "/a/c/d/data.csv?comp=appendblock", "append"),
        ("PUT", "/a/c/d/data.csv", "create"),
        ("PUT", "/a/c?restype=container", "create_container"),
        ("HEAD", "/a/c/d/data.csv", "length"),
        ("GET", "/a/c/d/data.csv?timeout=3", "read"),
        ("GET", "/a/c?restype=container&comp=list&prefix=x", "list"),
        ("PUT", "/a/c/d/data.csv?comp=lease", "other"),
        ("DELETE", "/a/c/d/data.csv", "other"),
    ],
)
def test_each_request_of_a_store_has_its_operation(method: str, target: str, asked: str) -> None:
    assert operation(method, target) == asked
    assert asked in OPERATIONS


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_status_code_and_no_body(name: str) -> None:
    text = refusal(f"applied_{name}", "7").decode()
    status, code = REFUSALS[name]
    assert text.startswith(f"HTTP/1.1 {status}\r\n") and text.endswith("Content-Length: 0\r\n\r\n")
    assert ("x-ms-error-code" in text) == bool(code)
    assert ("Retry-After: 7" in text) == (name in ("busy", "throttle"))
