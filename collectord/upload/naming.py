"""What a blob is called: a pure function of the stream, its day and the settings; never of the clock or of chance.

Rows are named after the layout that a person chose, other forms (`outputs.py`) after a template of their own, which merges
the streams that it leaves parts of out.
"""

from __future__ import annotations

from dataclasses import replace

from collectord.errors import ConfigError
from collectord.kinds import EVENTS
from collectord.model import Partition, Stream
from collectord.outputs import Form, Outputs, collection_of
from collectord.upload.store import CONTROL_PREFIX
from collectord.upload.template import Folder, Template

DOCUMENTED = (
    "{subscription}/{resource_group}/{workspace}/{webservice}/{model}/{version}/{designation}/{yyyy}/{mm}/{dd}/data.csv"
)
SDK_V1 = (
    "{subscription}/{resource_group}/{workspace}/{webservice}/{model}/{version}/{designation}/{yyyy}/{mm}/{dd}/"
    "{designation}.csv"
)
MDC = "modelDataCollector/{webservice}/{model}/{designation}/{yyyy}/{mm}/{dd}/{HH}/{writer}.jsonl"
"""As Azure ML's Model Data Collector names them."""
TELEMETRY_PREFIX = f"{CONTROL_PREFIX}telemetry/"
TELEMETRY = (
    "telemetry/{designation}/{subscription}/{resource_group}/{workspace}/{webservice}/{model}/{version}/"
    "{yyyy}/{mm}/{dd}/{HH}/{writer}.jsonl"
)
"""Under `_collectord/` of the container, whatever the store's prefix. The designation is that of the kind: its table."""
EXTENSION = ".csv"
LINES = ".jsonl"
"""The extension of lines of JSON."""

SUFFIXES = {
    ".zst": ("zstd", "application/zstd"),
    ".gz": ("gzip", "application/gzip"),
    LINES: ("jsonl", "application/x-ndjson"),
}
"""Codec and content type; without one of these a blob is plain CSV."""


class Layout:
    """Names of blobs.

    `template` is `documented`, `sdk-v1`, or a path such as `{model}/{designation}/{yyyy}/{mm}/{dd}/data.csv`. `suffix`
    is the codec's (`.zst`, `.gz`, or empty), `prefix` stands before every name. `node` and `writer` fill the placeholders
    of that name. Names of other forms than CSV always have the writer, since plain text says nowhere else whose it is.
    Raises `ConfigError` if the template cannot work.
    """

    def __init__(
        self, template: str = "documented", *, suffix: str, node: str = "", writer: str = "", prefix: str = "",
        outputs: Outputs | None = None,
    ) -> None:  # fmt: skip
        self._outputs = outputs or Outputs()
        own = {"node": node, "writer": writer}
        text = {"documented": DOCUMENTED, "sdk-v1": SDK_V1}.get(template, template)
        self._templates = {
            Form.CSV: Template(
                text, extension=EXTENSION, own=own, suffix=suffix, prefix=prefix, sdk_v1=template == "sdk-v1"
            )
        }
        if writer or self._outputs.any_mdc:
            self._templates[Form.MDC] = Template(MDC, extension=LINES, own=own, prefix=prefix)
        if writer:
            self._templates[Form.TELEMETRY] = Template(TELEMETRY, extension=LINES, own=own, within=CONTROL_PREFIX)

    def base(self, stream: Stream, partition: Partition) -> str:
        """The name of the first part of a stream's day (or hour); the other parts' names follow from it by `blob`."""
        form = self._outputs.form(stream, partition)
        if form is Form.MDC:
            stream = replace(stream, designation=collection_of(stream), collection="")
        elif form is Form.TELEMETRY:
            stream = replace(stream, designation=EVENTS[stream.kind].table, collection="")
        if form not in self._templates:
            raise ConfigError(f"layout: the names of {form.value} need a writer")
        return self._templates[form].name(stream, partition)

    def folder(self, blob: str) -> Folder | None:
        """As `Template.folder`, of a blob of any form."""
        found = (template.folder(blob) for template in self._templates.values())
        return next((folder for folder in found if folder is not None), None)

    @staticmethod
    def blob(base: str, part: int) -> str:
        """The name of a part: `…/data.csv.zst`, then `…/data.1.csv.zst`, … Depends on nothing but its arguments."""
        if part == 0:
            return base
        at = base.rindex(LINES if base.endswith(LINES) else EXTENSION)
        return f"{base[:at]}.{part}{base[at:]}"


def is_telemetry(name: str) -> bool:
    """Whether a blob holds events, or a beginning of names leads to such blobs only. A store's own prefix may stand before it."""
    return f"/{TELEMETRY_PREFIX}" in f"/{name}/"


def codec_of(blob: str) -> str:
    """The codec of a blob: `zstd`, `gzip`, `jsonl`, `telemetry` or `none`, by its name."""
    codec = next((codec for suffix, (codec, _) in SUFFIXES.items() if blob.endswith(suffix)), "none")
    return "telemetry" if codec == "jsonl" and is_telemetry(blob) else codec


def content_type(blob: str) -> str:
    """What the bytes of a blob are: the suffix decides, and no Content-Encoding is ever set beside it."""
    return next((kind for suffix, (_, kind) in SUFFIXES.items() if blob.endswith(suffix)), "text/csv; charset=utf-8")
