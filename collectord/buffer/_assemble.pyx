# distutils: language = c++
"""Kernel of `assemble.py`: gathers the rows of many batches into one set of Arrow buffers.

Works on payloads and tables that were checked before they were acknowledged (see the face); it follows their offsets
without looking again. Table words are those of the batch kernel. The filter of ids is that of docs/formats/blob.md, its
hash is XXH64 after https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

cdef enum:
    T_REQUESTS = 1
    T_TIMES = 4
    T_ROW_COUNTS = 5
    T_FIRST_ROWS = 6
    T_SAMPLING = 13
    T_FIRST_COLUMN = 17
    C_VALIDITY = 0
    C_OFFSETS = 2
    C_DATA = 4
    C_WORDS = 6

# The filter of ids.
cdef enum:
    FILTER_BYTES = 16384
    SMALLEST_FILTER = 8
    PROBES = 5


cdef uint64_t PRIME_1 = 0x9E3779B185EBCA87ULL
cdef uint64_t PRIME_2 = 0xC2B2AE3D27D4EB4FULL
cdef uint64_t PRIME_3 = 0x165667B19E3779F9ULL
cdef uint64_t PRIME_4 = 0x85EBCA77C2B2AE63ULL
cdef uint64_t PRIME_5 = 0x27D4EB2F165667C5ULL


cdef struct Piece:
    const uint8_t* base
    const int64_t* table
    int64_t start       # rows [start, stop) of the batch
    int64_t stop
    int64_t request     # the request that holds row `start`
    int64_t skip        # rows of that request before `start`


cdef inline uint32_t u32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline int32_t i32(const uint8_t* at) noexcept nogil:
    cdef int32_t value
    memcpy(&value, at, 4)
    return value


cdef inline void put32(uint8_t* at, uint32_t value) noexcept nogil:
    memcpy(at, &value, 4)


cdef inline uint64_t u64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint64_t rotated(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline uint64_t stirred(uint64_t lane, uint64_t word) noexcept nogil:
    return rotated(lane + word * PRIME_2, 31) * PRIME_1


cdef inline uint64_t merged(uint64_t digest, uint64_t lane) noexcept nogil:
    return (digest ^ stirred(0, lane)) * PRIME_1 + PRIME_4


cdef uint64_t xxh64(const uint8_t* at, int64_t length) noexcept nogil:
    """XXH64 with seed 0; the names of the steps are those of its specification."""
    cdef const uint8_t* end = at + length
    cdef uint64_t digest, one, two, three, four
    if length >= 32:
        one = PRIME_1 + PRIME_2
        two = PRIME_2
        three = 0
        four = 0 - PRIME_1
        while end - at >= 32:
            one = stirred(one, u64(at))
            two = stirred(two, u64(at + 8))
            three = stirred(three, u64(at + 16))
            four = stirred(four, u64(at + 24))
            at += 32
        digest = rotated(one, 1) + rotated(two, 7) + rotated(three, 12) + rotated(four, 18)
        digest = merged(merged(merged(merged(digest, one), two), three), four)
    else:
        digest = PRIME_5
    digest += <uint64_t>length
    while end - at >= 8:
        digest = rotated(digest ^ stirred(0, u64(at)), 27) * PRIME_1 + PRIME_4
        at += 8
    if end - at >= 4:
        digest = rotated(digest ^ (u32(at) * PRIME_1), 23) * PRIME_2 + PRIME_3
        at += 4
    while at < end:
        digest = rotated(digest ^ (at[0] * PRIME_5), 11) * PRIME_1
        at += 1
    digest = (digest ^ (digest >> 33)) * PRIME_2
    digest = (digest ^ (digest >> 29)) * PRIME_3
    return digest ^ (digest >> 32)


cdef inline void put_in_filter(uint8_t* bits, const uint8_t* at, int64_t length) noexcept nogil:
    """Sets an id's bits in a filter of `FILTER_BYTES`."""
    cdef uint64_t place = xxh64(at, length)
    cdef uint64_t step = (place >> 32) | 1
    cdef int probe
    for probe in range(PROBES):
        bits[(place >> 3) & (FILTER_BYTES - 1)] |= <uint8_t>(1 << (place & 7))
        place += step


cdef int64_t folded(uint8_t* bits, int64_t least) noexcept nogil:
    """Makes a filter of `FILTER_BYTES` as small as it can be with `least` bytes. Returns its bytes."""
    cdef int64_t size = FILTER_BYTES, i
    while size > SMALLEST_FILTER and size // 2 >= least:
        # Half as large a filter takes the same places modulo its size.
        size //= 2
        for i in range(size):
            bits[i] |= bits[size + i]
    return size


cdef inline uint64_t milliseconds(const uint8_t* at) noexcept nogil:
    """Of a UUIDv7: 48 bits, most significant byte first."""
    cdef uint64_t value = 0
    cdef int i
    for i in range(6):
        value = (value << 8) | at[i]
    return value


cdef struct Seen:
    uint64_t first      # milliseconds of UUIDv7
    uint64_t last
    int64_t others      # ids in the filter


cdef inline void see_uuid(Seen* seen, uint8_t* bits, const uint8_t* one) noexcept nogil:
    cdef uint64_t at
    if one[6] >> 4 == 7 and one[8] >> 6 == 2:
        at = milliseconds(one)
        seen.first = min(seen.first, at)
        seen.last = max(seen.last, at)
    else:
        put_in_filter(bits, one, 16)
        seen.others += 1


cdef inline void see_text(
    Seen* seen, uint8_t* bits, const uint8_t* data, const uint8_t* offsets, int64_t number
) noexcept nogil:
    cdef int32_t begin = i32(offsets + 4 * number)
    put_in_filter(bits, data + begin, i32(offsets + 4 * (number + 1)) - begin)
    seen.others += 1


cdef inline int64_t run_length(const Piece* p, int64_t request) noexcept nogil:
    if p.table[T_ROW_COUNTS] < 0:
        return 1
    return u32(p.base + p.table[T_ROW_COUNTS] + 4 * request)


cdef void locate(Piece* p) noexcept nogil:
    cdef int64_t before = 0, length
    if p.table[T_ROW_COUNTS] < 0:
        p.request = p.start
        p.skip = 0
        return
    p.request = 0
    while True:
        length = run_length(p, p.request)
        if before + length > p.start:
            p.skip = p.start - before
            return
        before += length
        p.request += 1


cdef class Gather:
    """The rows [start, stop) of several batches of one schema, in order. Keeps payloads and tables alive."""

    cdef vector[Piece] pieces
    cdef list owners
    cdef readonly int64_t rows

    def __init__(self):
        self.owners = []
        self.rows = 0

    def add(self, const uint8_t[::1] payload not None, bytes table not None, int64_t start, int64_t stop):
        cdef Piece piece
        cdef int64_t total = (<const int64_t*>PyBytes_AS_STRING(table))[0]
        if not 0 <= start < stop <= total:
            raise ValueError(f"rows [{start}, {stop}) of a batch of {total}")
        piece.base = &payload[0]
        piece.table = <const int64_t*>PyBytes_AS_STRING(table)
        piece.start = start
        piece.stop = stop
        with nogil:
            locate(&piece)
        self.pieces.push_back(piece)
        self.owners.append((payload, table))
        self.rows += stop - start

    def fixed(self, int64_t word, int64_t width, uint8_t[::1] out not None):
        """Values of `width` bytes per row, found at table word `word`."""
        cdef uint8_t* at = &out[0]
        cdef int64_t length
        cdef Piece p
        cdef size_t i
        if out.shape[0] < self.rows * width:
            raise ValueError("the output is too small")
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                length = (p.stop - p.start) * width
                memcpy(at, p.base + p.table[word] + p.start * width, length)
                at += length

    def per_request(self, int64_t word, int64_t width, uint8_t[::1] out not None):
        """Values of `width` bytes per request, repeated for each of its rows."""
        cdef uint8_t* at = &out[0]
        cdef const uint8_t* value
        cdef int64_t left, request, run
        cdef Piece p
        cdef size_t i
        if out.shape[0] < self.rows * width:
            raise ValueError("the output is too small")
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                left = p.stop - p.start
                if p.table[T_ROW_COUNTS] < 0:
                    memcpy(at, p.base + p.table[word] + p.start * width, left * width)
                    at += left * width
                    continue
                request = p.request
                run = run_length(&p, request) - p.skip
                while left > 0:
                    value = p.base + p.table[word] + request * width
                    if run > left:
                        run = left
                    left -= run
                    while run > 0:
                        memcpy(at, value, width)
                        at += width
                        run -= 1
                    request += 1
                    if left > 0:
                        run = run_length(&p, request)

    def row_numbers(self, uint8_t[::1] out not None):
        """uint32 per row: its index in its request."""
        cdef uint8_t* at = &out[0]
        cdef int64_t left, request, run
        cdef uint32_t number
        cdef Piece p
        cdef size_t i
        if out.shape[0] < self.rows * 4:
            raise ValueError("the output is too small")
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                left = p.stop - p.start
                request = p.request
                run = run_length(&p, request) - p.skip
                number = <uint32_t>p.skip
                while left > 0:
                    if p.table[T_FIRST_ROWS] >= 0:
                        number += u32(p.base + p.table[T_FIRST_ROWS] + 4 * request)
                    if run > left:
                        run = left
                    left -= run
                    while run > 0:
                        put32(at, number)
                        at += 4
                        number += 1
                        run -= 1
                    request += 1
                    number = 0
                    if left > 0:
                        run = run_length(&p, request)

    def text_bytes(self, int64_t column):
        """Bytes that the texts of a column need."""
        cdef int64_t total = 0
        cdef const int64_t* c
        cdef Piece p
        cdef size_t i
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                c = p.table + T_FIRST_COLUMN + column * C_WORDS
                total += i32(p.base + c[C_OFFSETS] + 4 * p.stop) - i32(p.base + c[C_OFFSETS] + 4 * p.start)
        return total

    def texts(self, int64_t column, uint8_t[::1] offsets not None, uint8_t[::1] data not None):
        """Texts of a column: int32[rows + 1] offsets from 0, and their bytes."""
        cdef uint8_t* offset_at = &offsets[0]
        cdef uint8_t* data_at = &data[0] if data.shape[0] else NULL
        cdef int64_t written = 0, row
        cdef int32_t first
        cdef const int64_t* c
        cdef Piece p
        cdef size_t i
        if offsets.shape[0] < 4 * (self.rows + 1) or data.shape[0] < self.text_bytes(column):
            raise ValueError("the output is too small")
        with nogil:
            put32(offset_at, 0)
            offset_at += 4
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                c = p.table + T_FIRST_COLUMN + column * C_WORDS
                first = i32(p.base + c[C_OFFSETS] + 4 * p.start)
                for row in range(p.start + 1, p.stop + 1):
                    put32(offset_at, <uint32_t>(written + i32(p.base + c[C_OFFSETS] + 4 * row) - first))
                    offset_at += 4
                row = i32(p.base + c[C_OFFSETS] + 4 * p.stop) - first
                if row:
                    memcpy(data_at + written, p.base + c[C_DATA] + first, row)
                written += row

    def id_bytes(self, int64_t word):
        """Bytes that the text ids at table word `word` (followed by length and offsets) need, one per row."""
        cdef int64_t total = 0, left, request, run, size
        cdef const uint8_t* offsets
        cdef Piece p
        cdef size_t i
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                offsets = p.base + p.table[word + 2]
                left = p.stop - p.start
                request = p.request
                run = run_length(&p, request) - p.skip
                while left > 0:
                    if run > left:
                        run = left
                    left -= run
                    size = i32(offsets + 4 * (request + 1)) - i32(offsets + 4 * request)
                    total += run * size
                    request += 1
                    if left > 0:
                        run = run_length(&p, request)
        return total

    def ids(self, int64_t word, uint8_t[::1] offsets_out not None, uint8_t[::1] data not None):
        """Text ids, repeated for each row of their request."""
        cdef uint8_t* offset_at = &offsets_out[0]
        cdef uint8_t* data_at = &data[0] if data.shape[0] else NULL
        cdef int64_t written = 0, left, request, run, size
        cdef const uint8_t* offsets
        cdef const uint8_t* text
        cdef Piece p
        cdef size_t i
        if offsets_out.shape[0] < 4 * (self.rows + 1) or data.shape[0] < self.id_bytes(word):
            raise ValueError("the output is too small")
        with nogil:
            put32(offset_at, 0)
            offset_at += 4
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                offsets = p.base + p.table[word + 2]
                left = p.stop - p.start
                request = p.request
                run = run_length(&p, request) - p.skip
                while left > 0:
                    if run > left:
                        run = left
                    left -= run
                    size = i32(offsets + 4 * (request + 1)) - i32(offsets + 4 * request)
                    text = p.base + p.table[word] + i32(offsets + 4 * request)
                    while run > 0:
                        if size:
                            memcpy(data_at + written, text, size)
                        written += size
                        put32(offset_at, <uint32_t>written)
                        offset_at += 4
                        run -= 1
                    request += 1
                    if left > 0:
                        run = run_length(&p, request)

    def present(self, int64_t word, bint texts, uint8_t[::1] out not None):
        """Which ids at table word `word` occur: first and last millisecond of UUIDv7, bytes of the filter of all others.

        The filter is in `out`, which must hold `FILTER_BYTES` zeros. A pass over requests, whose ids are 16 bytes each,
        or `texts` (followed by length and offsets).
        """
        cdef int64_t left, request, size = 0
        cdef const uint8_t* data
        cdef const uint8_t* offsets
        cdef Seen seen
        cdef Piece p
        cdef size_t i
        if out.shape[0] < FILTER_BYTES:
            raise ValueError("the output is too small")
        seen.first = <uint64_t>-1
        seen.last = 0
        seen.others = 0
        with nogil:
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                data = p.base + p.table[word]
                offsets = p.base + p.table[word + 2] if texts else NULL
                left = p.stop - p.start + p.skip
                request = p.request
                while left > 0:
                    if texts:
                        see_text(&seen, &out[0], data, offsets, request)
                    else:
                        see_uuid(&seen, &out[0], data + 16 * request)
                    left -= run_length(&p, request)
                    request += 1
            if seen.others:
                size = folded(&out[0], seen.others)
        return seen.first, seen.last, size

    def has_nulls(self, int64_t column):
        """Whether any of the batches brought a validity bitmap for the column."""
        cdef size_t i
        for i in range(self.pieces.size()):
            if self.pieces[i].table[T_FIRST_COLUMN + column * C_WORDS + C_VALIDITY] >= 0:
                return True
        return False

    def validity(self, int64_t column, uint8_t[::1] out not None):
        """Bitmap of a column, least significant bit first."""
        cdef uint8_t* at = &out[0]
        cdef int64_t row, position = 0
        cdef const int64_t* c
        cdef const uint8_t* bits
        cdef Piece p
        cdef size_t i
        if out.shape[0] < (self.rows + 7) // 8:
            raise ValueError("the output is too small")
        with nogil:
            memset(at, 0, (self.rows + 7) // 8)
            for i in range(self.pieces.size()):
                p = self.pieces[i]
                c = p.table + T_FIRST_COLUMN + column * C_WORDS
                bits = p.base + c[C_VALIDITY]
                for row in range(p.start, p.stop):
                    if c[C_VALIDITY] < 0 or bits[row >> 3] >> (row & 7) & 1:
                        at[position >> 3] |= <uint8_t>(1 << (position & 7))
                    position += 1


def present(
    const uint8_t[::1] data not None, const uint8_t[::1] offsets, int64_t count, int64_t least, uint8_t[::1] out not None
):
    """What `Gather.present` says, of `count` ids that lie end to end: 16 bytes each or, with int32 offsets, texts.

    The filter has `least` bytes or more.
    """
    cdef const uint8_t* at = &data[0] if data.shape[0] else NULL
    cdef const uint8_t* offset_at = NULL
    cdef int64_t number, size = 0
    cdef Seen seen
    if out.shape[0] < FILTER_BYTES:
        raise ValueError("the output is too small")
    if offsets is not None:
        if count < 0 or offsets.shape[0] < 4 * (count + 1):
            raise ValueError("too few offsets")
        offset_at = &offsets[0]
        if i32(offset_at) < 0 or i32(offset_at + 4 * count) > data.shape[0]:
            raise ValueError("the offsets do not fit the data")
    elif count < 0 or data.shape[0] < 16 * count:
        raise ValueError("too few ids")
    seen.first = <uint64_t>-1
    seen.last = 0
    seen.others = 0
    with nogil:
        for number in range(count):
            if offset_at == NULL:
                see_uuid(&seen, &out[0], at + 16 * number)
            else:
                see_text(&seen, &out[0], at, offset_at, number)
        if seen.others:
            size = folded(&out[0], least)
    return seen.first, seen.last, size
