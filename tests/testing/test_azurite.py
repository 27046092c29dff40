"""A missing service is said, not skipped."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from collectord.errors import CallHuman
from collectord.testing.azurite import ACCOUNT, Azurite, running


def test_where_it_is_not_installed_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CallHuman, match="make azurite"), running(tmp_path):
        pass


def test_it_answers_on_the_loopback(azurite: Azurite) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{azurite.url}/{ACCOUNT}/c/b", timeout=10)
    assert "Azurite" in caught.value.headers["Server"]
    caught.value.close()
    assert f":{azurite.port}/" in azurite.connection_string()
    assert ":7/" in azurite.connection_string(7)
