"""Rows to CSV text to a frame, beside peers' text in the same frames: zstd and gzip at level 1. Run with `--benchmark-enable`."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from benchmarks.encode.peers import ENCODERS, EVERY, NAIVE, ROWS, framed
from collectord.encode.frame_reader import iter_frames


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
@pytest.mark.parametrize("encoder", ENCODERS | NAIVE)
@pytest.mark.parametrize("name", ROWS)
def test_text_and_frame(benchmark: Any, name: str, encoder: str, codec: str) -> None:
    benchmark.group = f"text + {codec} {name}"
    text = bytes(EVERY[encoder](name)())
    frame = benchmark(framed(encoder, name, codec))
    assert [found.text for found in iter_frames(codec, BytesIO(frame))] == [text]
    benchmark.extra_info["rows"] = ROWS[name]
    benchmark.extra_info["ratio"] = round(len(text) / len(frame), 2)
