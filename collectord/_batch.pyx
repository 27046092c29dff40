# distutils: language = c++
"""Kernel of `batch.py`: finds the fields of a serialized proto `Batch` without copying it, and checks every value.

The wire format is that of https://protobuf.dev/programming-guides/encoding/. A field that occurs twice is refused: no
serializer writes that, and merging would let a batch mean two things.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

# The table that `find` returns: int64 words. Offsets are from the start of the payload, -1 means absent.
cdef enum:
    T_ROWS = 0
    T_REQUESTS = 1
    T_SEQUENCE = 2
    T_SCHEMA = 3
    T_TIMES = 4
    T_ROW_COUNTS = 5
    T_FIRST_ROWS = 6
    T_CORRELATION = 7
    T_CORRELATION_LENGTH = 8
    T_CORRELATION_OFFSETS = 9
    T_REQUEST = 10
    T_REQUEST_LENGTH = 11
    T_REQUEST_OFFSETS = 12
    T_SAMPLING = 13
    T_TENSOR = 14
    T_TENSOR_LENGTH = 15
    T_COLUMNS = 16
    T_FIRST_COLUMN = 17
    # per column
    C_VALIDITY = 0
    C_VALIDITY_LENGTH = 1
    C_OFFSETS = 2
    C_OFFSETS_LENGTH = 3
    C_DATA = 4
    C_DATA_LENGTH = 5
    C_WORDS = 6

# Column types, as in the proto.
cdef enum:
    BOOL = 1
    STRING = 13

# What `find` and `check` answer; `batch.py` gives each its reason and its words.
cdef enum:
    OK = 0
    TORN = 1
    DUPLICATE_FIELD = 2
    BAD_SCHEMA_ID = 3
    NO_ROWS = 4
    TOO_MANY_ROWS = 5
    NO_REQUESTS = 6
    TIMES_LENGTH = 7
    ROW_COUNTS = 8
    FIRST_ROWS = 9
    CORRELATION = 10
    REQUEST = 11
    SAMPLING = 12
    TIME_WINDOW = 13
    MIXED_HOURS = 14
    TENSOR = 15
    COLUMN_COUNT = 16
    COLUMN_VALIDITY = 17
    COLUMN_OFFSETS = 18
    COLUMN_DATA = 19
    UTF8 = 20
    VALUE_TOO_LARGE = 21
    ROW_TOO_LARGE = 22
    BOOL_VALUE = 23
    ID_TOO_LONG = 24

# Those of the proto. Without a bound on the columns, 4 MiB of empty fields would need a table of 100 MB.
cdef enum:
    MAX_ROWS = 1000000
    MAX_COLUMNS = 10000

cdef int64_t HOUR_NS = 3600000000000


cdef struct Reader:
    const uint8_t* base
    int64_t at
    int64_t end


cdef inline bint varint(Reader* r, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while r.at < r.end and shift < 64:
        byte = r.base[r.at]
        r.at += 1
        result |= (<uint64_t>(byte & 0x7F)) << shift
        if byte < 0x80:
            value[0] = result
            return True
        shift += 7
    return False


cdef inline bint field(Reader* r, uint32_t* number, int* wire, uint64_t* value) noexcept nogil:
    """The next field. For wire type 2, `value` is the length and `r.at` the start; the caller moves on."""
    cdef uint64_t tag
    if not varint(r, &tag) or (tag >> 3) == 0 or (tag >> 3) > 536870911:
        return False
    number[0] = <uint32_t>(tag >> 3)
    wire[0] = <int>(tag & 7)
    if wire[0] == 0:
        return varint(r, value)
    if wire[0] == 2:
        return varint(r, value) and value[0] <= <uint64_t>(r.end - r.at)
    if wire[0] == 1:
        value[0] = 0
        r.at += 8
        return r.at <= r.end
    if wire[0] == 5:
        value[0] = 0
        r.at += 4
        return r.at <= r.end
    return False


cdef int find_requests(const uint8_t* base, int64_t start, int64_t end, int64_t* table, int64_t* times_length,
                       int64_t* counts_length, int64_t* firsts_length, int64_t* corr_offsets_length,
                       int64_t* req_offsets_length, int64_t* sampling_length) noexcept nogil:
    cdef Reader r
    cdef uint32_t number
    cdef int wire
    cdef uint64_t value
    cdef uint32_t seen = 0
    r.base = base
    r.at = start
    r.end = end
    while r.at < r.end:
        if not field(&r, &number, &wire, &value):
            return TORN
        if wire != 2:
            continue
        if 1 <= number <= 8:
            if seen & (1u << number):
                return DUPLICATE_FIELD
            seen |= 1u << number
        if number == 1:
            table[T_TIMES] = r.at
            times_length[0] = <int64_t>value
        elif number == 2:
            if value:
                table[T_ROW_COUNTS] = r.at
            counts_length[0] = <int64_t>value
        elif number == 3:
            if value:
                table[T_FIRST_ROWS] = r.at
            firsts_length[0] = <int64_t>value
        elif number == 4:
            table[T_CORRELATION] = r.at
            table[T_CORRELATION_LENGTH] = <int64_t>value
        elif number == 5:
            if value:
                table[T_CORRELATION_OFFSETS] = r.at
            corr_offsets_length[0] = <int64_t>value
        elif number == 6:
            table[T_REQUEST] = r.at
            table[T_REQUEST_LENGTH] = <int64_t>value
        elif number == 7:
            if value:
                table[T_REQUEST_OFFSETS] = r.at
            req_offsets_length[0] = <int64_t>value
        elif number == 8:
            if value:
                table[T_SAMPLING] = r.at
            sampling_length[0] = <int64_t>value
        r.at += <int64_t>value
    return OK


cdef int find_column(const uint8_t* base, int64_t start, int64_t end, int64_t* words) noexcept nogil:
    cdef Reader r
    cdef uint32_t number
    cdef int wire
    cdef uint64_t value
    cdef uint32_t seen = 0
    r.base = base
    r.at = start
    r.end = end
    words[C_VALIDITY] = -1
    words[C_OFFSETS] = -1
    words[C_DATA] = start
    words[C_VALIDITY_LENGTH] = 0
    words[C_OFFSETS_LENGTH] = 0
    words[C_DATA_LENGTH] = 0
    while r.at < r.end:
        if not field(&r, &number, &wire, &value):
            return TORN
        if wire != 2:
            continue
        if 1 <= number <= 3:
            if seen & (1u << number):
                return DUPLICATE_FIELD
            seen |= 1u << number
            if number == 1:
                if value:
                    words[C_VALIDITY] = r.at
                words[C_VALIDITY_LENGTH] = <int64_t>value
            elif number == 2:
                words[C_OFFSETS] = r.at
                words[C_OFFSETS_LENGTH] = <int64_t>value
            else:
                words[C_DATA] = r.at
                words[C_DATA_LENGTH] = <int64_t>value
        r.at += <int64_t>value
    return OK


cdef int find_all(const uint8_t* base, int64_t size, vector[int64_t]& words) noexcept nogil:
    cdef Reader r
    cdef uint32_t number
    cdef int wire
    cdef uint64_t value
    cdef uint32_t seen = 0
    cdef int64_t requests_start = -1, requests_end = -1
    cdef int64_t columns = 0
    cdef int64_t times_length = 0, counts_length = 0, firsts_length = 0
    cdef int64_t corr_offsets_length = 0, req_offsets_length = 0, sampling_length = 0
    cdef int status
    cdef int64_t m
    cdef size_t base_word
    words.assign(T_FIRST_COLUMN, -1)
    words[T_ROWS] = 0
    words[T_SEQUENCE] = 0
    words[T_CORRELATION_LENGTH] = 0
    words[T_REQUEST_LENGTH] = 0
    words[T_TENSOR_LENGTH] = 0
    r.base = base
    r.at = 0
    r.end = size
    while r.at < r.end:
        if not field(&r, &number, &wire, &value):
            return TORN
        if 1 <= number <= 5:
            if seen & (1u << number):
                return DUPLICATE_FIELD
            seen |= 1u << number
        if wire == 0:
            if number == 1:
                if value >> 63:
                    return TORN
                words[T_SEQUENCE] = <int64_t>value
            elif number == 3:
                if value >> 32:
                    return TORN
                words[T_ROWS] = <int64_t>value
            continue
        if wire != 2:
            continue
        if number == 2:
            if value != 16:
                return BAD_SCHEMA_ID
            words[T_SCHEMA] = r.at
        elif number == 4:
            requests_start = r.at
            requests_end = r.at + <int64_t>value
        elif number == 5:
            words[T_TENSOR] = r.at
            words[T_TENSOR_LENGTH] = <int64_t>value
        elif number == 6:
            if columns == MAX_COLUMNS:
                return COLUMN_COUNT
            base_word = words.size()
            words.resize(base_word + C_WORDS)
            status = find_column(base, r.at, r.at + <int64_t>value, &words[base_word])
            if status != OK:
                return status
            columns += 1
        r.at += <int64_t>value
    words[T_COLUMNS] = columns
    if words[T_SCHEMA] < 0:
        return BAD_SCHEMA_ID
    if words[T_ROWS] == 0:
        return NO_ROWS
    if words[T_ROWS] > MAX_ROWS:
        return TOO_MANY_ROWS
    if requests_start < 0:
        return NO_REQUESTS
    status = find_requests(base, requests_start, requests_end, words.data(), &times_length, &counts_length,
                           &firsts_length, &corr_offsets_length, &req_offsets_length, &sampling_length)
    if status != OK:
        return status
    if times_length == 0 or times_length % 8:
        return TIMES_LENGTH
    m = times_length // 8
    words[T_REQUESTS] = m
    if m > words[T_ROWS]:
        return ROW_COUNTS
    # With every length tied to m here, whoever holds a table may follow its offsets.
    if counts_length != (4 * m if words[T_ROW_COUNTS] >= 0 else 0):
        return ROW_COUNTS
    if words[T_ROW_COUNTS] < 0 and m != words[T_ROWS]:
        return ROW_COUNTS
    if firsts_length != (4 * m if words[T_FIRST_ROWS] >= 0 else 0):
        return FIRST_ROWS
    if corr_offsets_length != (4 * (m + 1) if words[T_CORRELATION_OFFSETS] >= 0 else 0):
        return CORRELATION
    if req_offsets_length != (4 * (m + 1) if words[T_REQUEST_OFFSETS] >= 0 else 0):
        return REQUEST
    if sampling_length != (8 * m if words[T_SAMPLING] >= 0 else 0):
        return SAMPLING
    return OK


def room(Py_ssize_t size):
    """So many bytes, as they happen to be. Raises MemoryError."""
    return PyByteArray_FromStringAndSize(NULL, size)


def find(const uint8_t[::1] payload not None):
    """`(status, table)`: where the fields of a serialized `Batch` lie; the table is `bytes` of native int64 words."""
    cdef vector[int64_t] words
    cdef int status
    cdef const uint8_t* base = &payload[0] if payload.shape[0] else NULL
    cdef int64_t size = payload.shape[0]
    with nogil:
        status = find_all(base, size, words)
    return status, PyBytes_FromStringAndSize(<const char*>words.data(), words.size() * sizeof(int64_t))


cdef inline int64_t i64(const uint8_t* at) noexcept nogil:
    cdef int64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint32_t u32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline int32_t i32(const uint8_t* at) noexcept nogil:
    cdef int32_t value
    memcpy(&value, at, 4)
    return value


cdef inline double f64(const uint8_t* at) noexcept nogil:
    cdef double value
    memcpy(&value, at, 8)
    return value


cdef bint utf8(const uint8_t* s, int64_t n) noexcept nogil:
    """Well-formed UTF-8 as table 3-7 of the Unicode standard defines it."""
    cdef int64_t i = 0
    cdef uint64_t word
    cdef uint8_t c
    while i < n:
        while i + 8 <= n:
            memcpy(&word, s + i, 8)
            if word & <uint64_t>0x8080808080808080ULL:
                break
            i += 8
        if i >= n:
            break
        c = s[i]
        if c < 0x80:
            i += 1
        elif 0xC2 <= c <= 0xDF:
            if i + 1 >= n or (s[i + 1] & 0xC0) != 0x80:
                return False
            i += 2
        elif 0xE0 <= c <= 0xEF:
            if i + 2 >= n or (s[i + 1] & 0xC0) != 0x80 or (s[i + 2] & 0xC0) != 0x80:
                return False
            if (c == 0xE0 and s[i + 1] < 0xA0) or (c == 0xED and s[i + 1] > 0x9F):
                return False
            i += 3
        elif 0xF0 <= c <= 0xF4:
            if i + 3 >= n or (s[i + 1] & 0xC0) != 0x80 or (s[i + 2] & 0xC0) != 0x80 or (s[i + 3] & 0xC0) != 0x80:
                return False
            if (c == 0xF0 and s[i + 1] < 0x90) or (c == 0xF4 and s[i + 1] > 0x8F):
                return False
            i += 4
        else:
            return False
    return True


cdef int check_texts(const uint8_t* base, int64_t offsets, int64_t data, int64_t length, int64_t n,
                     int64_t longest, int wrong, int too_long) noexcept nogil:
    """n texts: offsets rise from 0 to `length`, cut no character in two, and are at most `longest` bytes apart."""
    cdef int64_t i
    cdef int32_t before = 0, here
    if i32(base + offsets) != 0 or i32(base + offsets + 4 * n) != length:
        return wrong
    for i in range(1, n + 1):
        here = i32(base + offsets + 4 * i)
        if here < before or here > length:
            return wrong
        if here - before > longest:
            return too_long
        if here < length and (base[data + here] & 0xC0) == 0x80:
            return UTF8
        before = here
    return OK if utf8(base + data, length) else UTF8


cdef int check_ids(const uint8_t* base, const int64_t* t, int layout, int64_t at, int64_t length, int64_t offsets,
                   int wrong, int64_t longest) noexcept nogil:
    cdef int64_t m = t[T_REQUESTS]
    if layout == 0:
        return OK if length == 0 and offsets < 0 else wrong
    if layout == 1:
        return OK if length == 16 * m and offsets < 0 else wrong
    if offsets < 0 or length > 0x7FFFFFFF:
        return wrong
    if at < 0:
        at = 0
    return check_texts(base, offsets, at, length, m, longest, wrong, ID_TOO_LONG)


cdef int check_all(const uint8_t* base, const int64_t* t, const uint8_t* types, const uint8_t* widths, int64_t columns,
                   bint tensor, int correlation, int request, bint sampled, int64_t earliest, int64_t latest,
                   int64_t longest_id, int64_t longest_value, int64_t fixed_text, int64_t row_text,
                   vector[int64_t]& row_bytes, int64_t* where) noexcept nogil:
    cdef int64_t rows = t[T_ROWS], m = t[T_REQUESTS]
    cdef int64_t i, j, total, hour, time
    cdef int64_t strings = 0
    cdef uint32_t count
    cdef double fraction
    cdef int status
    cdef const int64_t* c
    if t[T_ROW_COUNTS] >= 0:
        total = 0
        for i in range(m):
            count = u32(base + t[T_ROW_COUNTS] + 4 * i)
            if count == 0:
                return ROW_COUNTS
            total += count
        if total != rows:
            return ROW_COUNTS
    if t[T_FIRST_ROWS] >= 0:
        for i in range(m):
            count = u32(base + t[T_ROW_COUNTS] + 4 * i) if t[T_ROW_COUNTS] >= 0 else 1
            if u32(base + t[T_FIRST_ROWS] + 4 * i) > <uint32_t>0xFFFFFFFF - count:
                return FIRST_ROWS
    status = check_ids(base, t, correlation, t[T_CORRELATION], t[T_CORRELATION_LENGTH], t[T_CORRELATION_OFFSETS],
                       CORRELATION, longest_id)
    if status != OK:
        return status
    status = check_ids(base, t, request, t[T_REQUEST], t[T_REQUEST_LENGTH], t[T_REQUEST_OFFSETS], REQUEST, longest_id)
    if status != OK:
        return status
    if sampled != (t[T_SAMPLING] >= 0):
        return SAMPLING
    if sampled:
        for i in range(m):
            fraction = f64(base + t[T_SAMPLING] + 8 * i)
            if not 0 < fraction <= 1:
                return SAMPLING
    time = i64(base + t[T_TIMES])
    hour = time // HOUR_NS
    for i in range(m):
        time = i64(base + t[T_TIMES] + 8 * i)
        if time < earliest or time > latest:
            where[0] = time
            return TIME_WINDOW
        if time // HOUR_NS != hour:
            return MIXED_HOURS
    if tensor:
        if t[T_COLUMNS] != 0 or t[T_TENSOR] < 0 or t[T_TENSOR_LENGTH] != rows * columns * widths[0]:
            return TENSOR
        if types[0] == BOOL:
            for i in range(rows * columns):
                if base[t[T_TENSOR] + i] > 1:
                    return BOOL_VALUE
        return OK
    if t[T_TENSOR_LENGTH] != 0 or t[T_COLUMNS] != columns:
        return COLUMN_COUNT
    total = 0
    for j in range(columns):
        where[0] = j
        c = t + T_FIRST_COLUMN + j * C_WORDS
        if c[C_VALIDITY_LENGTH] != 0 and c[C_VALIDITY_LENGTH] != (rows + 7) // 8:
            return COLUMN_VALIDITY
        if types[j] != STRING:
            if c[C_OFFSETS_LENGTH] != 0 or c[C_DATA_LENGTH] != rows * widths[j]:
                return COLUMN_DATA
            if types[j] == BOOL:
                for i in range(rows):
                    if base[c[C_DATA] + i] > 1:
                        return BOOL_VALUE
            continue
        if c[C_OFFSETS_LENGTH] != 4 * (rows + 1):
            return COLUMN_OFFSETS
        status = check_texts(base, c[C_OFFSETS], c[C_DATA], c[C_DATA_LENGTH], rows, longest_value, COLUMN_OFFSETS,
                             VALUE_TOO_LARGE)
        if status != OK:
            return status
        total += c[C_DATA_LENGTH]
        strings += 1
    # Twice its bytes, two quotes and a separator is the most that a text can become.
    if fixed_text + 2 * total + 3 * strings > row_text:
        row_bytes.assign(rows, fixed_text + 3 * strings)
        for j in range(columns):
            if types[j] != STRING:
                continue
            c = t + T_FIRST_COLUMN + j * C_WORDS
            for i in range(rows):
                row_bytes[i] += 2 * (i32(base + c[C_OFFSETS] + 4 * (i + 1)) - i32(base + c[C_OFFSETS] + 4 * i))
        for i in range(rows):
            if row_bytes[i] > row_text:
                where[0] = i
                return ROW_TOO_LARGE
    return OK


def check(const uint8_t[::1] payload not None, bytes table not None, bytes types not None, bytes widths not None,
          bint tensor, int correlation, int request, bint sampled, int64_t earliest, int64_t latest,
          int64_t longest_id, int64_t longest_value, int64_t fixed_text, int64_t row_text):
    """`(status, detail, time)` of a batch against its schema: `time` is that of its first row, in ns."""
    cdef const uint8_t* base = &payload[0]
    cdef const int64_t* t = <const int64_t*>PyBytes_AS_STRING(table)
    cdef const uint8_t* type_codes = <const uint8_t*>PyBytes_AS_STRING(types)
    cdef const uint8_t* byte_widths = <const uint8_t*>PyBytes_AS_STRING(widths)
    cdef int64_t columns = len(types)
    cdef int64_t where = 0
    cdef vector[int64_t] row_bytes
    cdef int status
    with nogil:
        status = check_all(base, t, type_codes, byte_widths, columns, tensor, correlation, request, sampled, earliest,
                           latest, longest_id, longest_value, fixed_text, row_text, row_bytes, &where)
    return status, where, i64(base + t[T_TIMES])
