import pyarrow as pa

class EventWriter:
    def __init__(
        self,
        fields: list[tuple[int, int]],
        names: list[bytes],
        pieces: list[bytes],
        has_request: bool,
        sampled: bool,
        most_line: int,
    ) -> None: ...
    def encode(self, batch: pa.RecordBatch, head: bytes, most: int | None) -> bytes: ...
