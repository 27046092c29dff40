import pyarrow as pa

class LineWriter:
    def __init__(
        self, ops: list[int], pieces: list[bytes], id_field: int, time_field: int, cells: list[tuple[bytes, int, bool]]
    ) -> None: ...
    def encode(self, batch: pa.RecordBatch, most: int | None) -> bytes: ...
