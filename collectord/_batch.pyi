from collectord.model import Buffer

def room(size: int) -> bytearray: ...
def find(payload: Buffer) -> tuple[int, bytes]: ...
def check(
    payload: Buffer,
    table: bytes,
    types: bytes,
    widths: bytes,
    tensor: bool,
    correlation: int,
    request: int,
    sampled: bool,
    earliest: int,
    latest: int,
    longest_id: int,
    longest_value: int,
    fixed_text: int,
    row_text: int,
) -> tuple[int, int, int]: ...
