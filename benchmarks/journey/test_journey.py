"""The whole journey: from the socket to appended bytes in a directory store, durable, against pyarrow's text and zstd alone."""

from __future__ import annotations

import io
import time
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.csv
import zstandard

from benchmarks.daemon import Sender, daemon, together
from collectord.encode.frame_reader import iter_frames

ROWS, BATCHES, CLIENTS = 3400, 150, 2


def pyarrow_seconds(rows: int) -> float:
    """CPU that pyarrow and zstd level 1 need for rows of the same kind, the eight constant columns written as text."""
    rng = np.random.default_rng(6)
    columns = {f"f{n}": pa.array(rng.standard_normal(rows)) for n in range(6)}
    columns["$aml_dc_correlation_id"] = pa.array([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(rows)])
    columns["$aml_dc_scoring_timestamp"] = pa.array(np.datetime64("2026-01-01T00:00:00.000000") + np.arange(rows)).cast(
        pa.string()
    )
    for name, value in (
        ("$aml_dc_boundary", "1440"), ("$aml_workspace", "default/default/default"), ("$aml_service_name", "default"),
        ("$aml_model_name", "bench"), ("$aml_model_version", "1"),
        ("$aml_request_id", "00000000-0000-0000-0000-000000000000"), ("$aml_dc_row", "0"),
    ):  # fmt: skip
        columns[name] = pa.array([value] * rows)
    table = pa.table(columns)
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    began = time.thread_time()
    out = io.BytesIO()
    pyarrow.csv.write_csv(table, out)
    compressor.compress(out.getbuffer())
    return time.thread_time() - began


def test_from_socket_to_appended_bytes(benchmark) -> None:
    """Rows of 6 float64 columns and our own; verified by reading the blobs back."""
    with daemon("--flush-interval", "5") as running:
        senders = [Sender(running.socket, 6, ROWS, designation=f"d{n}") for n in range(CLIENTS)]

        def journey() -> None:
            together(senders, BATCHES)
            with running.control() as control:
                assert control.flush(120).complete

        journey()
        before = running.cpu_seconds()
        peers = []
        rounds = 3

        def between() -> None:
            peers.append(min(pyarrow_seconds(20_000) for _ in range(3)) / 20_000)

        benchmark.pedantic(journey, setup=between, rounds=rounds)
        records = rounds * CLIENTS * BATCHES * ROWS
        cpu = (running.cpu_seconds() - before) / records
        landed = 0
        for path in (running.folder / "store").rglob("*.csv.zst"):
            with path.open("rb") as file:
                landed += sum(frame.text.count(b"\n") for frame in iter_frames("zstd", file)) - 1
        assert landed == (rounds + 1) * CLIENTS * BATCHES * ROWS
        benchmark.extra_info.update(
            daemon_cpu_ns_per_record=round(cpu * 1e9),
            pyarrow_text_zstd_ns_per_record=round(min(peers) * 1e9),
            ratio_to_pyarrow=round(cpu / min(peers), 3),
            records_per_second=round(CLIENTS * BATCHES * ROWS / benchmark.stats.stats.min),
            peak_rss_mib=round(running.peak_rss() / 2**20),
        )
        for sender in senders:
            sender.close()
