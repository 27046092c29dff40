"""Four writers, a real blob service, and a wire that fails a third of the time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FAULTS, FaultProxy
from collectord.upload.azureblob import AzureBlob
from tests.upload.world import HEADER, Writer, check_books

APPENDS = 60


@pytest.mark.parametrize("headers", [[HEADER] * 4, [HEADER, b"other\n"] * 2], ids=["one_blob", "two_headers"])
def test_four_writers_over_a_faulty_wire_lose_and_double_nothing(
    azurite: Azurite, new_container: Callable[[], str], tmp_path: Path, headers: list[bytes]
) -> None:
    container = new_container()
    direct = AzureBlob(container, connection_string=azurite.connection_string())
    with FaultProxy(azurite.port, rate=0.3, seed=len(set(headers)), delay=0.4) as proxy:
        store = AzureBlob(container, connection_string=azurite.connection_string(proxy.port), read_timeout=0.25)
        writers = [
            Writer(tmp_path / f"spool{number}", store, name=f"w{number}", header=header, seed=number)
            for number, header in enumerate(headers)
        ]
        with ThreadPoolExecutor(len(writers)) as pool:
            list(pool.map(lambda writer: writer.run(APPENDS), writers))
        store.close()
    # Leaving the proxy has let everything arrive that it held back.
    check_books(direct, [(writer, APPENDS) for writer in writers])
    assert {blob.metadata["collectord"] for blob in direct.list("")} == {"1"}
    assert len(list(direct.list(""))) == len(set(headers))
    counts = [writer.appender.counts() for writer in writers]
    assert set(proxy.counts()) == {"requests", *FAULTS}, "a kind of fault never fired"
    assert sum(count.unknown for count in counts) > 50
    assert sum(count.races for count in counts) > 10
    assert sum(count.settled for count in counts) > 10
    for writer in writers:
        writer.close()
    direct.close()
