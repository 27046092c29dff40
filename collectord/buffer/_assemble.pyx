# distutils: language = c++
"""Kernel of `assemble.py`: gathers the rows of many batches into one set of Arrow buffers.

Works on payloads and tables that were checked before they were acknowledged (see the face); it follows their offsets
without looking again. Table words are those of the batch kernel.
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
