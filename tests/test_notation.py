"""How values of settings are written."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import SecretStr

from collectord.notation import MaskedStr, Names, Size, is_masked, is_secret, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5", 5),
        ("5b", 5),
        ("1k", 1 << 10),
        ("2 KiB", 2 << 10),
        ("3m", 3 << 20),
        ("256MiB", 256 << 20),
        (" 1GIB ", 1 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "1TB", "1 2", "0x10"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


@pytest.mark.parametrize(
    ("kind", "secret", "masked"),
    [
        (str, False, False),
        (Size, False, False),
        (Names, False, False),
        (SecretStr, True, True),
        (SecretStr | None, True, True),
        (Annotated[SecretStr, "x"] | None, True, True),
        (tuple[SecretStr, ...], True, True),
        (dict[str, SecretStr | None], True, True),
        (MaskedStr, False, True),
        (MaskedStr | None, False, True),
    ],
)
def test_a_type_says_whether_its_values_are_secret(kind: Any, secret: bool, masked: bool) -> None:
    assert (is_secret(kind), is_masked(kind)) == (secret, masked)
