"""The whole journey: from the socket to appended bytes in a directory store, durable, against pyarrow's text and zstd alone."""

from __future__ import annotations

import statistics

from benchmarks.daemon import Sender, daemon, together
from benchmarks.journey.peer import Peer, landed_rows

ROWS, BATCHES, CLIENTS = 3400, 150, 2


def test_from_socket_to_appended_bytes(benchmark) -> None:
    """Rows of 6 float64 columns and our own; verified by reading the blobs back. The peer writes rows of one of them."""
    with daemon("--flush-interval", "5") as running:
        senders = [Sender(running.socket, 6, ROWS, designation=f"d{n}") for n in range(CLIENTS)]

        def journey() -> None:
            together(senders, BATCHES)
            with running.control() as control:
                assert control.flush(120).complete

        journey()
        peer = Peer(running.folder / "store")
        before = running.cpu_seconds()
        peers = []
        rounds = 5

        def between() -> None:
            peers.append(min(peer.seconds() for _ in range(5)))

        benchmark.pedantic(journey, setup=between, rounds=rounds)
        cpu = (running.cpu_seconds() - before) / (rounds * CLIENTS * BATCHES * ROWS)
        assert landed_rows(running.folder / "store") == (rounds + 1) * CLIENTS * BATCHES * ROWS
        alone = statistics.median(peers)
        benchmark.extra_info.update(
            daemon_cpu_ns_per_record=round(cpu * 1e9),
            pyarrow_text_zstd_ns_per_record=round(alone * 1e9),
            ratio_to_pyarrow=round(cpu / alone, 3),
            records_per_second=round(CLIENTS * BATCHES * ROWS / benchmark.stats.stats.min),
            peak_rss_mib=round(running.peak_rss() / 2**20),
        )
        for sender in senders:
            sender.close()
