# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The CSV kernel: rows of an Arrow record batch become text, without the GIL and without a copy.

Arrow is read through the C data interface. Whoever calls has checked that the buffers are as long as the arrays claim
(`pyarrow.RecordBatch.validate`); whatever else could lead out of them, text offsets above all, is checked here.

`_numbers.h` beside this file has the texts of numbers, `_times.h` those of times; the table of powers of ten is computed
here, at import.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport INT64_MIN, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "_numbers.h" namespace "collectord" nogil:
    enum:
        LEAST_POWER
        POWERS
        SHORTEST
    uint64_t* powers
    T load[T](const char* p) noexcept
    char* write_unsigned(char* p, uint64_t x) noexcept
    char* write_signed(char* p, int64_t x) noexcept
    char* write_float64(char* p, uint64_t bits, int mode) noexcept
    char* write_float32(char* p, uint32_t bits, int mode) noexcept
    char* write_float16(char* p, uint16_t bits) noexcept
    int guess_mode[T](const char* values, int64_t step, int64_t count) noexcept
    char* write_uuid(char* p, const char* bytes) noexcept
    bint any_special(const char* p, int64_t n) noexcept
    char* copy_doubling_quotes(char* out, const char* p, int64_t n) noexcept
    char* copy_text(char* out, const char* p, int64_t n) noexcept


cdef extern from "_times.h" namespace "collectord" nogil:
    struct Clock:
        int64_t second
    char* write_time(char* p, int64_t ns, bint nanos, Clock* clock) noexcept


cdef extern from *:
    """
    /* The ABI of https://arrow.apache.org/docs/format/CDataInterface.html, frozen by its own promise. */
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    struct ArrowSchema {
        const char *format, *name, *metadata;
        int64_t flags, n_children;
        struct ArrowSchema **children, *dictionary;
        void (*release)(struct ArrowSchema *);
        void *private_data;
    };
    struct ArrowArray {
        int64_t length, null_count, offset, n_buffers, n_children;
        const void **buffers;
        struct ArrowArray **children, *dictionary;
        void (*release)(struct ArrowArray *);
        void *private_data;
    };
    #endif
    """
    struct ArrowSchema:
        const char* format
        int64_t n_children
        ArrowSchema** children
        ArrowSchema* dictionary

    struct ArrowArray:
        int64_t length
        int64_t null_count
        int64_t offset
        int64_t n_children
        const void** buffers
        ArrowArray** children


# What a cell holds: the numbers of model.ColumnType, then our own columns. BIT is a BOOL that Arrow packed.
cdef enum:
    BOOL = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    UINT8 = 6
    UINT16 = 7
    UINT32 = 8
    UINT64 = 9
    FLOAT16 = 10
    FLOAT32 = 11
    FLOAT64 = 12
    STRING = 13
    TIMESTAMP = 14
    TIMESTAMP_UTC = 15
    UUID = 16
    SCORING_TIME = 17
    BIT = 18

cdef enum:
    BLOCK_ROWS = 256
    BLOCK_BYTES = 1048576  # a block's worst case stays near this, so wide rows make short blocks
    SLACK = 64  # writers may store whole words behind the end of their text
    CLEAN = 1  # mode of a text column without a character that needs quotes

cdef int64_t[19] VALUE_BYTES = [0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 0, 8, 8, 16, 8, 0]
cdef int64_t[19] TEXT_BYTES = [0, 5, 4, 6, 11, 20, 3, 5, 10, 20, 24, 24, 24, 2, 29, 30, 36, 26, 5]


cdef fill_powers():
    """Exact, with Python's integers: 10**p = scaled * 2**e with 2**127 <= scaled < 2**128, rounded up."""
    for i in range(POWERS):
        power = LEAST_POWER + i
        if power >= 0:
            shift = 128 - (10**power).bit_length()
            scaled = 10**power << shift if shift >= 0 else -(-(10**power) >> -shift)
        else:
            scaled = -((-1 << 127 + (10**-power).bit_length()) // 10**-power)
        powers[2 * i] = scaled >> 64
        powers[2 * i + 1] = scaled & 0xFFFFFFFFFFFFFFFF


fill_powers()


# ---------------------------------------------------------------- text


cdef inline char* write_text(char* p, const char* text, int64_t length, int mode) noexcept nogil:
    if length == 0:
        memcpy(p, b'""', 2)
        return p + 2
    if mode == CLEAN or not any_special(text, length):
        return copy_text(p, text, length)
    p[0] = b'"'
    p = copy_doubling_quotes(p + 1, text, length)
    p[0] = b'"'
    return p + 1


# ---------------------------------------------------------------- cells


cdef struct Cell:  # a column as the plan knows it
    int op
    int64_t width  # values per row of a tensor; 0: not a tensor
    int64_t literal  # where in the plan's literals the text before the value begins
    int64_t literal_length


cdef struct Source:  # the same column in one batch
    int op
    const uint8_t* validity  # NULL: no nulls
    int64_t first_bit  # of the batch's first row
    const char* values  # of the batch's first row; the whole data for text
    const char* offsets  # text: int32 of the batch's first row
    int32_t last_offset
    uint8_t* modes  # one per value of a row, chosen for each block
    Clock clock


cdef inline int32_t load_offset(const Source* source, int64_t row) noexcept nogil:
    return load[int32_t](source.offsets + 4 * row)


cdef inline bint is_null(const Source* source, int64_t row) noexcept nogil:
    cdef int64_t bit
    if source.validity == NULL:
        return False
    bit = source.first_bit + row
    return not (source.validity[bit >> 3] >> (bit & 7)) & 1


cdef inline char* write_value(char* p, Source* source, int64_t i, int mode) noexcept nogil:
    """Value i of a column that is not null there."""
    cdef int op = source.op
    cdef const char* values = source.values
    cdef int32_t offset
    cdef int64_t bit
    if op == FLOAT64:
        return write_float64(p, load[uint64_t](values + 8 * i), mode)
    elif op == FLOAT32:
        return write_float32(p, load[uint32_t](values + 4 * i), mode)
    elif op == STRING:
        offset = load_offset(source, i)
        return write_text(p, values + offset, load_offset(source, i + 1) - offset, mode)
    elif op == INT64:
        return write_signed(p, load[int64_t](values + 8 * i))
    elif op == UUID:
        return write_uuid(p, values + 16 * i)
    elif op == SCORING_TIME:
        return write_time(p, load[int64_t](values + 8 * i), False, &source.clock)
    elif op == TIMESTAMP or op == TIMESTAMP_UTC:
        if load[int64_t](values + 8 * i) == INT64_MIN:
            return p
        p = write_time(p, load[int64_t](values + 8 * i), True, &source.clock)
        p[0] = b"Z"
        return p + (op == TIMESTAMP_UTC)
    elif op == UINT32:
        return write_unsigned(p, load[uint32_t](values + 4 * i))
    elif op == INT32:
        return write_signed(p, load[int32_t](values + 4 * i))
    elif op == BOOL or op == BIT:
        bit = source.first_bit + i
        if (op == BOOL and values[i] != 0) or (op == BIT and (values[bit >> 3] >> (bit & 7)) & 1):
            memcpy(p, b"true", 4)
            return p + 4
        memcpy(p, b"false", 5)
        return p + 5
    elif op == UINT64:
        return write_unsigned(p, load[uint64_t](values + 8 * i))
    elif op == UINT8:
        return write_unsigned(p, <uint8_t>values[i])
    elif op == UINT16:
        return write_unsigned(p, load[uint16_t](values + 2 * i))
    elif op == INT8:
        return write_signed(p, <int8_t>values[i])
    elif op == INT16:
        return write_signed(p, load[int16_t](values + 2 * i))
    elif op == FLOAT16:
        return write_float16(p, load[uint16_t](values + 2 * i))
    return p


cdef inline char* write_tensor_row(char* p, Source* source, int64_t row, int64_t width) noexcept nogil:
    cdef int64_t j
    cdef const char* values
    if source.op == FLOAT64:
        values = source.values + 8 * width * row
        for j in range(width):
            p = write_float64(p, load[uint64_t](values + 8 * j), source.modes[j])
            p[0] = b","
            p += 1
    elif source.op == FLOAT32:
        values = source.values + 4 * width * row
        for j in range(width):
            p = write_float32(p, load[uint32_t](values + 4 * j), source.modes[j])
            p[0] = b","
            p += 1
    else:
        for j in range(width):
            p = write_value(p, source, width * row + j, SHORTEST)
            p[0] = b","
            p += 1
    return p - 1


# ---------------------------------------------------------------- batches


cdef class TextBuffer:
    """Memory for text, kept from call to call. It grows to what the largest call needed. For one thread."""

    cdef bytearray memory
    cdef char* start
    cdef Py_ssize_t size
    cdef bint busy

    def __init__(self, Py_ssize_t size=1048576):
        if size < 0:
            raise ValueError(f"size is {size}, it must not be negative")
        self.busy = False
        self.size = size
        self.memory = PyByteArray_FromStringAndSize(NULL, size)
        self.start = PyByteArray_AS_STRING(self.memory)

    @property
    def capacity(self):
        return self.size

    cdef int grow(self, Py_ssize_t used, Py_ssize_t size) except -1:
        # Fresh memory, not a resize: views of the former text keep theirs alive.
        cdef bytearray memory = PyByteArray_FromStringAndSize(NULL, max(size, 2 * self.size))
        memcpy(PyByteArray_AS_STRING(memory), self.start, used)
        self.memory = memory
        self.start = PyByteArray_AS_STRING(memory)
        self.size = len(memory)
        return 0


cdef class RowWriter:
    """Writes the rows of record batches of one layout. Immutable: threads may share it, each with a TextBuffer of its own."""

    cdef tuple formats
    cdef bytes literal_bytes
    cdef const char* literals
    cdef Cell* cells
    cdef Py_ssize_t count
    cdef int64_t last_literal
    cdef int64_t last_literal_length
    cdef int64_t row_bytes  # the longest row, its texts not counted
    cdef int64_t modes

    def __cinit__(self, list cells, bytes last_literal):
        """`cells`, one per field of the batches: (literal before it, op, width or 0, the accepted Arrow formats)."""
        cdef Py_ssize_t i
        self.count = len(cells)
        self.cells = <Cell*>PyMem_Calloc(max(self.count, 1), sizeof(Cell))
        if self.cells == NULL:
            raise MemoryError
        pool = bytearray()
        self.row_bytes = len(last_literal)
        self.modes = 0
        for i, (literal, op, width, _formats) in enumerate(cells):
            if not BOOL <= op < BIT or width < 0 or (width and op >= UUID):
                raise ValueError(f"cell {i}: op {op} with width {width}")
            self.cells[i].op = op
            self.cells[i].width = width
            self.cells[i].literal = len(pool)
            self.cells[i].literal_length = len(literal)
            pool += literal
            self.row_bytes += len(literal) + max(<int64_t>width, 1) * (TEXT_BYTES[<int>op] + 1)
            self.modes += max(<int64_t>width, 1)
        self.last_literal = len(pool)
        self.last_literal_length = len(last_literal)
        self.literal_bytes = bytes(pool + last_literal + bytes(16))  # copied in steps of 16 bytes
        self.literals = self.literal_bytes
        self.formats = tuple(formats for _literal, _op, _width, formats in cells)

    def __dealloc__(self):
        PyMem_Free(self.cells)

    def encode(self, batch, TextBuffer out not None, int64_t start, int64_t stop):
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
        cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(array_capsule, "arrow_array")
        cdef Py_ssize_t i
        cdef Py_ssize_t used = 0
        cdef Source* sources = NULL
        cdef uint8_t* modes = NULL
        if not 0 <= start <= stop <= array.length:
            raise ValueError(f"rows {start} to {stop} of a batch of {array.length}")
        if schema.n_children != self.count or array.n_children != self.count:
            raise ValueError(f"a batch of {array.n_children} fields, the plan has {self.count}")
        if out.busy:
            raise RuntimeError("the buffer is in use by another thread")
        out.busy = True
        try:
            sources = <Source*>PyMem_Calloc(max(self.count, 1), sizeof(Source))
            modes = <uint8_t*>PyMem_Calloc(max(self.modes, 1), 1)
            if sources == NULL or modes == NULL:
                raise MemoryError
            self.open(schema, array, sources, modes)
            with nogil:
                self.write_rows(sources, out, start, stop, &used)
            return memoryview(out.memory)[:used].toreadonly()
        finally:
            out.busy = False
            PyMem_Free(sources)
            PyMem_Free(modes)

    cdef int open(self, ArrowSchema* schema, ArrowArray* array, Source* sources, uint8_t* modes) except -1:
        cdef Py_ssize_t i
        cdef ArrowSchema* field
        cdef ArrowArray* column
        cdef int64_t first, offset_end
        for i in range(self.count):
            field = schema.children[i]
            column = array.children[i]
            if field.format not in self.formats[i] or field.dictionary != NULL:
                raise ValueError(f"field {i} has Arrow format {field.format!r}, the plan expects one of {self.formats[i]}")
            if column.length < array.offset + array.length:
                raise ValueError(f"field {i} has {column.length} rows of {array.offset + array.length}")
            sources[i].op = self.cells[i].op
            sources[i].modes = modes
            sources[i].clock.second = INT64_MIN
            modes += max(self.cells[i].width, 1)
            first = array.offset + column.offset
            if column.null_count != 0 and column.buffers[0] != NULL:
                sources[i].validity = <const uint8_t*>column.buffers[0]
                sources[i].first_bit = first
            if self.cells[i].width:
                self.check_tensor(sources + i, array.length)
                first = first * self.cells[i].width
                field = field.children[0]
                column = column.children[0]
                if field.format not in self.formats[i][1:] or field.dictionary != NULL:
                    raise ValueError(f"the tensor has values of Arrow format {field.format!r}, the plan expects {self.formats[i][1:]}")
                if column.length < first + array.length * self.cells[i].width:
                    raise ValueError(f"the tensor has {column.length} values, its rows need {first + array.length * self.cells[i].width}")
                first += column.offset
                if column.null_count != 0 and column.buffers[0] != NULL:
                    sources[i].validity = <const uint8_t*>column.buffers[0]
                    sources[i].first_bit = first
                    self.check_tensor(sources + i, array.length * self.cells[i].width)
                sources[i].validity = NULL
            if self.cells[i].op == STRING:
                sources[i].offsets = <const char*>column.buffers[1] + 4 * first
                sources[i].values = <const char*>column.buffers[2]
                if array.length:
                    sources[i].last_offset = load_offset(sources + i, array.length)
            elif field.format[0] == b"b":
                sources[i].op = BIT
                sources[i].values = <const char*>column.buffers[1]
                sources[i].first_bit = first
            else:
                sources[i].values = <const char*>column.buffers[1] + first * VALUE_BYTES[sources[i].op]
        return 0

    cdef int check_tensor(self, const Source* source, int64_t count) except -1:
        cdef int64_t i
        for i in range(count if source.validity != NULL else 0):
            if is_null(source, i):
                raise ValueError("a tensor with nulls")
        return 0

    cdef int write_rows(self, Source* sources, TextBuffer out, int64_t start, int64_t stop, Py_ssize_t* used) except -1 nogil:
        cdef int64_t row = start
        cdef int64_t rows, need
        cdef int64_t most = min(BLOCK_ROWS, max(1, BLOCK_BYTES // self.row_bytes))
        cdef char* end
        while row < stop:
            rows = min(most, stop - row)
            need = self.worst_case(sources, row, rows)
            while need > 4 * BLOCK_BYTES and rows > 1:
                rows = (rows + 1) // 2
                need = self.worst_case(sources, row, rows)
            if need < 0:
                with gil:
                    raise ValueError(f"text offsets out of order in rows {start + row} to {start + row + rows}")
            if need > out.size - used[0]:
                with gil:
                    out.grow(used[0], used[0] + need)
            self.choose_modes(sources, row, rows)
            end = self.write_block(out.start + used[0], sources, row, row + rows)
            used[0] = end - out.start
            row += rows
        return 0

    cdef int64_t worst_case(self, const Source* sources, int64_t row, int64_t rows) noexcept nogil:
        """The most bytes that the rows can take; -1 if text offsets would lead out of their buffer."""
        cdef int64_t need = rows * self.row_bytes + SLACK
        cdef int64_t i
        cdef Py_ssize_t c
        cdef int32_t before, offset
        cdef bint bad
        for c in range(self.count):
            if self.cells[c].op != STRING:
                continue
            before = load_offset(sources + c, row)
            bad = before < 0
            need -= 2 * <int64_t>before
            for i in range(row + 1, row + rows + 1):
                offset = load_offset(sources + c, i)
                bad |= offset < before
                before = offset
            if bad or before > sources[c].last_offset:
                return -1
            need += 2 * <int64_t>before
        return need

    cdef void choose_modes(self, Source* sources, int64_t row, int64_t rows) noexcept nogil:
        cdef Py_ssize_t c
        cdef int64_t j, width
        cdef int32_t first
        for c in range(self.count):
            width = max(self.cells[c].width, 1)
            if self.cells[c].op == FLOAT64:
                for j in range(width):
                    sources[c].modes[j] = guess_mode[double](sources[c].values + 8 * (width * row + j), width, rows)
            elif self.cells[c].op == FLOAT32:
                for j in range(width):
                    sources[c].modes[j] = guess_mode[float](sources[c].values + 4 * (width * row + j), width, rows)
            elif self.cells[c].op == STRING:
                first = load_offset(sources + c, row)
                sources[c].modes[0] = CLEAN
                if any_special(sources[c].values + first, load_offset(sources + c, row + rows) - first):
                    sources[c].modes[0] = 0

    cdef char* write_block(self, char* p, Source* sources, int64_t row, int64_t stop) noexcept nogil:
        cdef Cell* cell
        cdef Py_ssize_t c
        while row < stop:
            for c in range(self.count):
                cell = self.cells + c
                if cell.literal_length == 1:
                    p[0] = self.literals[cell.literal]
                    p += 1
                else:
                    p = write_literal(p, self.literals + cell.literal, cell.literal_length)
                if cell.width:
                    p = write_tensor_row(p, sources + c, row, cell.width)
                elif not is_null(sources + c, row):
                    p = write_value(p, sources + c, row, sources[c].modes[0])
            p = write_literal(p, self.literals + self.last_literal, self.last_literal_length)
            row += 1
        return p


cdef inline char* write_literal(char* p, const char* literal, int64_t length) noexcept nogil:
    """Copies whole steps of 16 bytes: both sides have room for that."""
    cdef int64_t i = 0
    while i < length:
        memcpy(p + i, literal + i, 16)
        i += 16
    return p + length
