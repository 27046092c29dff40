"""The names that Azure ML's monitoring looks for, and nothing else under them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from collectord.errors import ConfigError
from collectord.model import Partition, Stream
from collectord.outputs import Outputs
from collectord.upload.naming import Layout, codec_of, content_type

WRITER = "0123456789abcdef" * 2
STREAM = Stream("sub", "rg", "ws", "svc", "best_model", "10", "inputs")
SEVEN = Partition.of(b"", 1_519_887_600_000_000_000, 60)
ALL = Outputs(["*/*/*"])


@pytest.mark.parametrize("template", ["documented", "sdk-v1", "{designation}/{yyyy}/{mm}/{dd}/data.csv"])
@pytest.mark.parametrize("prefix", ["", "some/prefix"])
def test_the_path_is_that_of_the_model_data_collector(template: str, prefix: str) -> None:
    """Whatever the layout and codec of all else."""
    layout = Layout(template, suffix=".gz", writer=WRITER, prefix=prefix, outputs=ALL)
    base = layout.base(STREAM, SEVEN)
    folder = f"{prefix}/" if prefix else ""
    assert base == f"{folder}modelDataCollector/svc/best_model/inputs/2018/03/01/07/{WRITER}.jsonl"
    assert layout.blob(base, 0) == base
    assert layout.blob(base, 12) == base.replace(".jsonl", ".12.jsonl")
    assert (codec_of(layout.blob(base, 3)), content_type(base)) == ("jsonl", "application/x-ndjson")
    day = Partition(b"", SEVEN.start_hour, 1440)
    assert layout.base(STREAM, day) == Layout(template, suffix=".gz", prefix=prefix).base(STREAM, day)


def test_a_stream_that_is_not_chosen_keeps_its_name() -> None:
    layout = Layout(suffix=".zst", writer=WRITER, outputs=Outputs(["svc/*/predictions"]))
    assert layout.base(STREAM, SEVEN).endswith("/inputs/2018/03/01/07/data.csv.zst")
    assert layout.base(replace(STREAM, designation="predictions"), SEVEN).endswith(f"{WRITER}.jsonl")


def test_a_collection_name_is_the_folder() -> None:
    layout = Layout(suffix="", writer=WRITER, outputs=ALL)
    assert "/best_model/model_inputs/2018/" in layout.base(replace(STREAM, collection="model_inputs"), SEVEN)


def test_no_name_leads_out_of_its_folder() -> None:
    layout = Layout(suffix="", writer=WRITER, outputs=ALL)
    for evil in ("../..", ".", "a/b", "x" * 3000, "modelDataCollector", "a\\b"):
        name = layout.base(replace(STREAM, webservice=evil, model=evil, collection=evil), SEVEN)
        assert re.fullmatch(rf"modelDataCollector/[^/]+/[^/]+/[^/]+/2018/03/01/07/{WRITER}\.jsonl", name)
        assert not {".", ".."} & set(name.split("/"))
        assert len(name.encode()) <= 1000


def test_lines_are_no_layout_to_choose() -> None:
    """CSV never gets such a name, and without a writer the lines get none: two daemons would share them unseen."""
    with pytest.raises(ConfigError, match=r"must end with a file name in \.csv"):
        Layout("modelDataCollector/{designation}/{yyyy}/{mm}/{dd}/{writer}.jsonl", suffix="", writer=WRITER)
    with pytest.raises(ConfigError, match="writer is empty"):
        Layout(suffix="", outputs=ALL)
