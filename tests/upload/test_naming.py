"""Names follow from stream and day alone, never clash, and never leave their place."""

from __future__ import annotations

from dataclasses import astuple, replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.errors import ConfigError
from collectord.kinds import EVENTS
from collectord.model import Partition, Stream, StreamKind
from collectord.outputs import Outputs
from collectord.upload.naming import Layout, codec_of, content_type, is_telemetry
from collectord.upload.template import MAX_LEVEL, MAX_NAME, escape

EXAMPLE = Stream(
    "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14", "myresourcegrp", "myWorkspace", "aks-w-collv9", "best_model", "10", "inputs"
)
CUSTOM = "{model}={version}/{webservice}/{designation}/{yyyy}-{mm}-{dd}/{collection}.csv"


def partition(text: str, minutes: int = 1440) -> Partition:
    moment = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return Partition.of(bytes(16), int(moment.timestamp()) * 1_000_000_000, minutes)


DAY = partition("2018-12-31T23:59:59")


def test_the_seed_s_example_is_named_as_it_was_published() -> None:
    assert Layout(suffix="").base(EXAMPLE, DAY) == (
        "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myWorkspace/aks-w-collv9/best_model/10/inputs/"
        "2018/12/31/data.csv"
    )


@pytest.mark.parametrize("suffix", ["", ".zst", ".gz"])
def test_parts_are_numbered_before_the_extension(suffix: str) -> None:
    layout = Layout(suffix=suffix)
    base = layout.base(EXAMPLE, DAY)
    folder = base.rpartition("/")[0]
    assert layout.blob(base, 0) == f"{folder}/data.csv{suffix}"
    assert layout.blob(base, 1) == f"{folder}/data.1.csv{suffix}"
    assert layout.blob(base, 12) == f"{folder}/data.12.csv{suffix}"


def test_an_hourly_boundary_adds_a_level_in_every_template() -> None:
    hour = partition("2018-03-01T07:30:00", 60)
    assert Layout(suffix="").base(EXAMPLE, hour).endswith("/inputs/2018/03/01/07/data.csv")
    assert Layout("sdk-v1", suffix="").base(EXAMPLE, hour).endswith("/inputs/2018/03/01/07/inputs.csv")
    assert Layout("{designation}/{yyyy}{mm}{dd}T{HH}/{model}.csv", suffix="").base(EXAMPLE, hour) == (
        "inputs/20180301T07/best_model.csv"
    )


def test_unset_levels_are_called_default() -> None:
    assert Layout(suffix="").base(Stream(designation="inputs"), DAY) == (
        "default/default/default/default/default/default/inputs/2018/12/31/data.csv"
    )


def test_another_collection_is_part_of_the_file_name() -> None:
    stream = replace(EXAMPLE, collection="drift")
    assert Layout(suffix=".gz").base(stream, DAY).endswith("/inputs/2018/12/31/data-drift.csv.gz")
    assert (
        Layout("{designation}/{yyyy}/{mm}/{dd}/{model}.csv", suffix="")
        .base(stream, DAY)
        .endswith("/best_model=drift.csv")
    )
    for default in ("", "default"):
        assert Layout(suffix="").base(replace(EXAMPLE, collection=default), DAY).endswith("/data.csv")


@pytest.mark.parametrize(
    "designation, collection, file",
    [
        ("inputs", "", "inputs.csv"),
        ("predictions", "default", "predictions.csv"),
        ("labels", "late", "labels-late.csv"),
        ("signals", "heat", "heat.csv"),
        ("general", "", "default.csv"),
        ("raw", "", "raw.csv"),
    ],
)
def test_sdk_v1_names_files_after_designation_or_collection(designation: str, collection: str, file: str) -> None:
    stream = replace(EXAMPLE, designation=designation, collection=collection, resource_group="MyGroup")
    assert Layout("sdk-v1", suffix="").base(stream, DAY) == (
        f"1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/mygroup/myworkspace/aks-w-collv9/best_model/10/{designation}/2018/12/31/{file}"
    )


def test_a_prefix_stands_before_every_name() -> None:
    for prefix in ("modeldata", "/modeldata/", "modeldata/"):
        assert Layout(suffix="", prefix=prefix).base(EXAMPLE, DAY).startswith("modeldata/1a2b3c4d")


def test_node_and_writer_may_be_in_the_name() -> None:
    layout = Layout("{designation}/{yyyy}/{mm}/{dd}/data@{node}@{writer}.csv", suffix="", node="aks/1", writer="ab12")
    assert layout.base(EXAMPLE, DAY) == "inputs/2018/12/31/data@aks%2F1@ab12.csv"


@pytest.mark.parametrize(
    "value, name",
    [
        ("", "default"),
        ("a b-c_d.e~f", "a b-c_d.e~f"),
        ("Größe-模型-४२", "Größe-模型-४२"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        (".hidden", "%2Ehidden"),
        ("_hidden", "%5Fhidden"),
        ("dot.", "dot%2E"),
        ("back\\slash", "back%5Cslash"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("a\x00b\nc", "a%00b%0Ac"),
        ('a:b*c?d"e<f>g|h+i', "a%3Ab%2Ac%3Fd%22e%3Cf%3Eg%7Ch%2Bi"),
        (" padded ", "%20padded%20"),
        ("model.1", "model%2E1"),
        ("v1.2.3", "v1.2%2E3"),
        ("\u202egnp", "%E2%80%AEgnp"),
    ],
)
def test_values_are_encoded_where_they_could_harm(value: str, name: str) -> None:
    assert escape(value) == name


def test_a_value_that_is_too_long_keeps_its_beginning_and_gets_a_hash() -> None:
    name = escape("ü" * 300)
    assert len(name.encode()) <= MAX_LEVEL and name.startswith("ü" * 100) and "+" in name
    assert escape("ü" * 300) == name != escape("ü" * 299 + "u")


def test_codec_and_content_type_follow_from_the_suffix() -> None:
    names = ["a/data.csv", "a/data.1.csv.zst", "a/data.csv.gz"]
    assert [codec_of(name) for name in names] == ["none", "zstd", "gzip"]
    assert [content_type(name) for name in names] == ["text/csv; charset=utf-8", "application/zstd", "application/gzip"]


@pytest.mark.parametrize(
    "template, complaint",
    [
        ("{foo}/{yyyy}/{mm}/{dd}/data.csv", r"unknown placeholder \{foo\}; allowed are \{subscription\}"),
        ("nonsense", "must end with a file name in .csv"),
        ("{designation}/{yyyy}/{mm}/data.csv", r"lacks \{dd\}"),
        ("{model}/{yyyy}/{mm}/{dd}/data.csv", r"lacks \{designation\}"),
        ("{designation}/{yyyy}/{mm}/{dd}/data.parquet", "must end with a file name in .csv"),
        ("{designation}/{yyyy}/{mm}/{dd}/.csv", "begins with a dot"),
        ("{model}/{designation}.{yyyy}{mm}{dd}.csv", "number of a part"),
        ("{designation}/{yyyy}/{mm}/{dd}/data.{version}.csv", "number of a part"),
        ("{designation}/{yyyy}/{mm}/{dd}/data.v{version}.2.csv", "number of a part"),
        ("/{designation}/{yyyy}/{mm}/{dd}/data.csv", "empty level"),
        ("{designation}//{yyyy}/{mm}/{dd}/data.csv", "empty level"),
        ("../{designation}/{yyyy}/{mm}/{dd}/data.csv", "level '..'"),
        ("a\\b/{designation}/{yyyy}/{mm}/{dd}/data.csv", "not allowed"),
        ("_collectord/{designation}/{yyyy}/{mm}/{dd}/data.csv", "not for data"),
        ("{designation}{model}/{yyyy}/{mm}/{dd}/data.csv", r"joins \{designation\} and \{model\}"),
        ("{designation}-{model}/{yyyy}/{mm}/{dd}/data.csv", r"joins \{designation\} and \{model\}"),
        ("{designation}/{yyyy}/{mm}/{dd}/data-{node}.csv", "node is empty"),
        ("{designation}/{yyyy}/{mm}/{dd}/data-{writer}.csv", "writer is empty"),
        ("{designation!r}/{yyyy}/{mm}/{dd}/data.csv", "stand alone"),
        ("{designation}/{yyyy:>8}/{mm}/{dd}/data.csv", "stand alone"),
        ("{designation/{yyyy}/{mm}/{dd}/data.csv", "cannot be read"),
        ("x" * 220 + "{designation}/{yyyy}/{mm}/{dd}/data.csv", "leaves too little"),
        ("/".join(["x" * 200] * 5) + "/{designation}/{yyyy}/{mm}/{dd}/data.csv", "leaves no room"),
    ],
)
def test_a_template_that_cannot_work_is_refused_and_says_why(template: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^layout: .*{complaint}"):
        Layout(template, suffix="")


def test_the_name_of_a_node_ends_like_a_part_only_if_it_is_a_number() -> None:
    template = "{designation}/{yyyy}/{mm}/{dd}/data.{node}.csv"
    Layout(template, suffix="", node="aks-0.12")
    with pytest.raises(ConfigError, match="number of a part"):
        Layout(template, suffix="", node="12")


@pytest.mark.parametrize("prefix", ["_collectord", "_collectord/x", "a/../b", "a\\b", "a\nb"])
def test_a_prefix_that_cannot_work_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match=r"^prefix: "):
        Layout(suffix="", prefix=prefix)


PARTS = (
    st.text(max_size=20)
    | st.text(st.sampled_from("aA.%-_/\\+~=1 ü\u0301default"), max_size=6)
    | st.text(min_size=200, max_size=255)
)
STREAMS = st.builds(Stream, *[PARTS] * 8)
DAYS = st.builds(
    Partition.of,
    st.just(bytes(16)),
    st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1_000_000_000),
    st.sampled_from([60, 1440]),
)
LAYOUTS = st.sampled_from(
    [
        Layout(suffix=".zst"),
        Layout(suffix="", prefix="modeldata"),
        Layout("sdk-v1", suffix=".gz"),
        Layout(CUSTOM, suffix=""),
        Layout("{designation}/{subscription}@{resource_group}/{workspace},{webservice}/{model}/{version}/{yyyy}/{mm}/{dd}/x{model}.csv", suffix=""),
    ]
)  # fmt: skip


@given(LAYOUTS, STREAMS, DAYS, st.integers(0, 100_000))
def test_no_stream_leaves_its_place(layout: Layout, stream: Stream, day: Partition, part: int) -> None:
    name = layout.blob(layout.base(stream, day), part)
    levels = name.split("/")
    assert len(name.encode()) <= MAX_NAME
    assert levels[0] != "_collectord" and all(levels)
    for level in levels:
        assert len(level.encode()) <= MAX_LEVEL
        assert level not in (".", "..") and "\\" not in level and level.isprintable()
        assert level[0] not in "._ " and level[-1] not in ". "
    assert len(levels) == len(layout.base(EXAMPLE, day).split("/"))


def identity(stream: Stream) -> tuple[str, ...]:
    return tuple(part or "default" for part in astuple(stream)[:8])


def similar(stream: Stream) -> st.SearchStrategy[Stream]:
    """Another stream that differs in a few parts, or swaps, or shifts text between neighbours."""
    parts = identity(stream)
    changed = st.tuples(
        *[st.just(part) | PARTS | st.sampled_from([part + ".1", part + "-", part.upper(), "default"]) for part in parts]
    )
    shuffled = st.permutations(list(parts)).map(tuple)
    return (changed | shuffled).map(lambda parts: Stream(*parts))


@given(st.sampled_from(["documented", "prefixed"]), STREAMS.flatmap(lambda one: st.tuples(st.just(one), similar(one))), DAYS, DAYS, st.integers(0, 3), st.integers(0, 3))  # fmt: skip
def test_two_streams_or_days_or_parts_never_share_a_name(
    kind: str, pair: tuple[Stream, Stream], day: Partition, other_day: Partition, part: int, other_part: int
) -> None:
    layout = Layout(suffix=".zst", prefix="" if kind == "documented" else "modeldata")
    one, other = pair
    same = layout.blob(layout.base(one, day), part) == layout.blob(layout.base(other, other_day), other_part)
    equal = (identity(one), day, part) == (identity(other), other_day, other_part)
    assert same == equal


@given(STREAMS.flatmap(lambda one: st.tuples(st.just(one), similar(one))), st.integers(0, 2), st.integers(0, 2))
def test_sdk_v1_keeps_streams_apart_but_for_the_case_of_three_parts(
    pair: tuple[Stream, Stream], part: int, other: int
) -> None:
    layout = Layout("sdk-v1", suffix="")

    def folded(stream: Stream) -> tuple[str, ...]:
        parts = identity(stream)
        return (*(part.lower() for part in parts[:3]), *parts[3:])

    one, two = pair
    same = layout.blob(layout.base(one, DAY), part) == layout.blob(layout.base(two, DAY), other)
    assert same == ((folded(one), part) == (folded(two), other))


@given(STREAMS.flatmap(lambda one: st.tuples(st.just(one), similar(one))))
def test_a_template_keeps_apart_what_it_names(pair: tuple[Stream, Stream]) -> None:
    layout = Layout(CUSTOM, suffix="")

    def named(stream: Stream) -> tuple[str, ...]:
        return identity(stream)[3:]

    one, two = pair
    assert (layout.base(one, DAY) == layout.base(two, DAY)) == (named(one) == named(two))


@pytest.mark.parametrize("template", ["documented", "sdk-v1", "{designation}/{yyyy}/{mm}/{dd}/data.csv"])
@pytest.mark.parametrize("prefix", ["", "some/prefix"])
@pytest.mark.parametrize("kind", EVENTS)
def test_events_lie_at_the_root_of_the_container_by_table_and_hour(
    template: str, prefix: str, kind: StreamKind
) -> None:
    """Whatever layout, codec, prefix, and what the client calls the stream: queries look there."""
    writer = "0123456789abcdef" * 2
    layout = Layout(template, suffix=".gz", writer=writer, prefix=prefix, outputs=Outputs(["*/*/*"]))
    stream = Stream("Sub", "rg", "ws/1", "svc", "best", "", "anything", "else", kind)
    base = layout.base(stream, Partition.of(b"", 1_519_887_600_000_000_000, 60))
    assert base == (
        f"_collectord/telemetry/{EVENTS[kind].table}/Sub/rg/ws%2F1/svc/best/default/2018/03/01/07/{writer}.jsonl"
    )
    assert layout.blob(base, 2) == base.replace(".jsonl", ".2.jsonl")
    assert (codec_of(layout.blob(base, 2)), content_type(base)) == ("telemetry", "application/x-ndjson")
    with pytest.raises(ConfigError, match="writer"):
        Layout(suffix="").base(stream, Partition(b"", 0, 60))


def test_no_rows_are_named_like_events() -> None:
    """Neither by a person's template or prefix, nor by what a stream is called."""
    for wrong in (
        {"prefix": "_collectord/telemetry"},
        {"template": "_collectord/{designation}/{yyyy}/{mm}/{dd}/d.csv"},
    ):
        with pytest.raises(ConfigError, match="_collectord"):
            Layout(suffix="", **wrong)
    name = Layout(suffix="").base(Stream("_collectord", "telemetry", "traces"), Partition(b"", 0, 60))
    assert not is_telemetry(name)
    assert not name.startswith("_collectord")
