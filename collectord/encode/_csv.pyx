# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The CSV kernel: rows of an Arrow record batch become text, without the GIL and without a copy.

Arrow is read through the C data interface. Whoever calls has checked that the buffers are as long as the arrays claim
(`pyarrow.RecordBatch.validate`); whatever else could lead out of them, text offsets above all, is checked here.

Beside this file, `_fields.h` opens the fields of a batch, `_numbers.h` has the texts of numbers, `_times.h` those of times,
`_matches.h` finds what a row has in common with the one before.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from collectord.encode._fields cimport (
    BOOL, FLOAT32, FLOAT64, SCORING_TIME, SHORTEST, STRING, TEXT_BYTES, TIMESTAMP, TIMESTAMP_UTC, UUID, ArrowArray,
    ArrowSchema, Source, any_special, choose_modes, copy_doubling_quotes, copy_text, is_null, load,
    load_offset, open_source, write_float32, write_float64, write_number, write_time,
)


cdef extern from "_matches.h" namespace "collectord" nogil:
    enum:
        SHORTEST_MATCH

    struct Sequence:
        pass

    struct Mark:
        pass

    struct Matcher:
        Sequence* sequences
        int64_t room
        int64_t count
        int64_t* last
        const int64_t* twins
        uint8_t* follows
        Mark* marks

    void mark(Matcher* matcher, int64_t anchor, int64_t at) noexcept
    void match_row(Matcher* matcher, const char* text, int64_t end) noexcept
    int64_t choose_follows(const Source* source, uint8_t* follows, int64_t row, int64_t rows) noexcept


cdef enum:
    BLOCK_ROWS = 256
    BLOCK_BYTES = 1048576  # a block's worst case stays near this, so wide rows make short blocks
    SLACK = 64  # writers may store whole words behind the end of their text
    CLEAN = 1  # mode of a text column without a character that needs quotes


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
    int64_t first  # which of all values of a row is its first: the place of its mode and its anchor


cdef inline char* write_value(char* p, Source* source, int64_t i, int mode) noexcept nogil:
    """Value i of a column that is not null there."""
    cdef int op = source.op
    cdef int32_t offset
    cdef int64_t ns
    if op == STRING:
        offset = load_offset(source, i)
        return write_text(p, source.values + offset, load_offset(source, i + 1) - offset, mode)
    elif op == SCORING_TIME:
        return write_time(p, load[int64_t](source.values + 8 * i), False, &source.clock)
    elif op == TIMESTAMP or op == TIMESTAMP_UTC:
        ns = load[int64_t](source.values + 8 * i)
        if ns == INT64_MIN:
            return p
        p = write_time(p, ns, True, &source.clock)
        p[0] = b"Z"
        return p + (op == TIMESTAMP_UTC)
    return write_number(p, source, i, mode)


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


cdef inline char* write_marked_row(char* p, Source* source, int64_t row, const Cell* cell, Matcher* matcher, const char* text) noexcept nogil:
    """The same with marks. A mark stands one character before its value: what separates it is equal as well."""
    cdef int64_t j
    for j in range(cell.width):
        if matcher.follows[cell.first + j]:
            mark(matcher, cell.first + j, p - text - (p > text))
        p = write_value(p, source, cell.width * row + j, source.modes[j])
        p[0] = b","
        p += 1
    return p - 1


# ---------------------------------------------------------------- batches


cdef class TextBuffer:
    """Memory for text and its matches, kept from call to call. It grows to what the largest call needed. For one thread."""

    cdef bytearray memory
    cdef char* start
    cdef Py_ssize_t size
    cdef bytearray sequences  # of zstd, see _matches.h
    cdef Py_ssize_t matched  # bytes of them; -1: the text was written without
    cdef bint busy

    def __init__(self, Py_ssize_t size=1048576):
        if size < 0:
            raise ValueError(f"size is {size}, it must not be negative")
        self.busy = False
        self.size = size
        self.memory = PyByteArray_FromStringAndSize(NULL, size)
        self.start = PyByteArray_AS_STRING(self.memory)
        self.sequences = bytearray()
        self.matched = -1

    @property
    def capacity(self):
        return self.size

    @property
    def matches(self):
        return None if self.matched < 0 else memoryview(self.sequences)[: self.matched].toreadonly()

    cdef int grow(self, Py_ssize_t used, Py_ssize_t size) except -1:
        # Fresh memory, not a resize: views of the former text keep theirs alive.
        cdef bytearray memory = PyByteArray_FromStringAndSize(NULL, max(size, 2 * self.size))
        memcpy(PyByteArray_AS_STRING(memory), self.start, used)
        self.memory = memory
        self.start = PyByteArray_AS_STRING(memory)
        self.size = len(memory)
        return 0

    cdef int reserve(self, Matcher* matcher, int64_t more) except -1:
        """Room for more sequences, all that there is."""
        cdef Py_ssize_t used = matcher.count * sizeof(Sequence)
        cdef Py_ssize_t need = used + more * sizeof(Sequence)
        cdef bytearray memory
        if need > len(self.sequences):
            memory = PyByteArray_FromStringAndSize(NULL, max(need, 2 * len(self.sequences)))
            memcpy(PyByteArray_AS_STRING(memory), PyByteArray_AS_STRING(self.sequences), used)
            self.sequences = memory
        matcher.sequences = <Sequence*>PyByteArray_AS_STRING(self.sequences)
        matcher.room = len(self.sequences) // sizeof(Sequence)
        return 0


cdef class RowWriter:
    """Writes the rows of record batches of one layout. Immutable: threads may share it, each with a TextBuffer of its own."""

    cdef bytes literal_bytes
    cdef const char* literals
    cdef Cell* cells
    cdef Py_ssize_t count
    cdef int64_t last_literal
    cdef int64_t last_literal_length
    cdef int64_t row_bytes  # the longest row, its texts not counted
    cdef int64_t values  # of a row
    cdef int64_t* twins  # per anchor: those of the values, then those of the literals

    def __cinit__(self, list cells, bytes last_literal):
        """`cells`, one per field of the batches: (literal before it, op, width or 0)."""
        cdef Py_ssize_t i
        self.count = len(cells)
        self.cells = <Cell*>PyMem_Calloc(max(self.count, 1), sizeof(Cell))
        if self.cells == NULL:
            raise MemoryError
        pool = bytearray()
        self.row_bytes = len(last_literal)
        self.values = 0
        for i, (literal, op, width) in enumerate(cells):
            if not BOOL <= op <= SCORING_TIME or width < 0 or (width and op in (STRING, UUID, SCORING_TIME)):
                raise ValueError(f"cell {i}: op {op} with width {width}")
            self.cells[i].op = op
            self.cells[i].width = width
            self.cells[i].literal = len(pool)
            self.cells[i].literal_length = len(literal)
            self.cells[i].first = self.values
            pool += literal
            self.row_bytes += len(literal) + max(<int64_t>width, 1) * (TEXT_BYTES[<int>op] + 1)
            self.values += max(<int64_t>width, 1)
        self.last_literal = len(pool)
        self.last_literal_length = len(last_literal)
        self.literal_bytes = bytes(pool + last_literal + bytes(16))  # copied in steps of 16 bytes
        self.literals = self.literal_bytes
        self.twins = <int64_t*>PyMem_Calloc(max(self.anchors(), 1), sizeof(int64_t))
        if self.twins == NULL:
            raise MemoryError
        memset(self.twins, 0xFF, self.anchors() * sizeof(int64_t))
        cdef int64_t uuid = -1
        for i in range(self.count):
            if self.cells[i].op == UUID:  # the two ids of a request are often one
                self.twins[self.cells[i].first] = uuid
                uuid = self.cells[i].first

    def __dealloc__(self):
        PyMem_Free(self.cells)
        PyMem_Free(self.twins)

    cdef inline int64_t anchors(self) noexcept nogil:
        return self.values + self.count

    def encode(self, batch, TextBuffer out not None, int64_t start, int64_t stop, bint matches=False):
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
        cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(array_capsule, "arrow_array")
        cdef Py_ssize_t i
        cdef Py_ssize_t used = 0
        cdef Source* sources = NULL
        cdef uint8_t* modes = NULL
        cdef Matcher matcher
        cdef Matcher* to_match = &matcher if matches else NULL
        memset(&matcher, 0, sizeof(Matcher))
        if not 0 <= start <= stop <= array.length:
            raise ValueError(f"rows {start} to {stop} of a batch of {array.length}")
        if schema.n_children != self.count or array.n_children != self.count:
            raise ValueError(f"a batch of {array.n_children} fields, the plan has {self.count}")
        if out.busy:
            raise RuntimeError("the buffer is in use by another thread")
        out.busy = True
        try:
            sources = <Source*>PyMem_Calloc(max(self.count, 1), sizeof(Source))
            modes = <uint8_t*>PyMem_Calloc(max(self.values, 1), 1)
            if sources == NULL or modes == NULL:
                raise MemoryError
            self.open(schema, array, sources, modes)
            out.matched = -1
            if matches:
                self.open_matcher(&matcher)
                out.reserve(&matcher, 0)
            with nogil:
                self.write_rows(sources, out, to_match, start, stop, &used)
            if matches:
                out.matched = matcher.count * sizeof(Sequence)
            return memoryview(out.memory)[:used].toreadonly()
        finally:
            out.busy = False
            PyMem_Free(sources)
            PyMem_Free(modes)
            PyMem_Free(matcher.last)
            PyMem_Free(matcher.follows)
            PyMem_Free(matcher.marks)

    cdef int open_matcher(self, Matcher* matcher) except -1:
        cdef int64_t anchors = max(self.anchors(), 1)
        cdef Py_ssize_t c
        matcher.last = <int64_t*>PyMem_Calloc(anchors, sizeof(int64_t))
        matcher.follows = <uint8_t*>PyMem_Calloc(anchors + self.count, 1)
        matcher.marks = <Mark*>PyMem_Calloc(anchors, sizeof(Mark))
        if matcher.last == NULL or matcher.follows == NULL or matcher.marks == NULL:
            raise MemoryError
        memset(matcher.last, 0xFF, anchors * sizeof(int64_t))
        matcher.twins = self.twins
        for c in range(self.count):
            matcher.follows[self.values + c] = self.cells[c].literal_length >= SHORTEST_MATCH
        return 0

    cdef int open(self, ArrowSchema* schema, ArrowArray* array, Source* sources, uint8_t* modes) except -1:
        cdef Py_ssize_t i
        cdef const char* wrong
        for i in range(self.count):
            sources[i].op = self.cells[i].op
            sources[i].width = self.cells[i].width
            sources[i].modes = modes
            modes += max(self.cells[i].width, 1)
            wrong = open_source(sources + i, schema.children[i], array.children[i], array.offset, array.length)
            if wrong != NULL:
                raise ValueError(f"field {i} of Arrow format {schema.children[i].format!r}: {wrong.decode()}")
        return 0

    cdef int write_rows(
        self, Source* sources, TextBuffer out, Matcher* matcher, int64_t start, int64_t stop, Py_ssize_t* used
    ) except -1 nogil:
        cdef int64_t row = start
        cdef int64_t rows, need, marks
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
            if matcher != NULL:
                marks = self.choose_follows(sources, matcher, row, rows)
                if matcher.count + rows * marks > matcher.room:
                    with gil:
                        out.reserve(matcher, rows * marks)
            end = self.write_block(out.start + used[0], sources, row, row + rows, matcher, out.start)
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
        cdef int32_t first
        for c in range(self.count):
            if sources[c].op == STRING:
                first = load_offset(sources + c, row)
                sources[c].modes[0] = CLEAN
                if any_special(sources[c].values + first, load_offset(sources + c, row + rows) - first):
                    sources[c].modes[0] = 0
            else:
                choose_modes(sources + c, row, rows)

    cdef int64_t choose_follows(self, const Source* sources, Matcher* matcher, int64_t row, int64_t rows) noexcept nogil:
        """Which anchors are marked in these rows. Returns how many."""
        cdef int64_t marks = 0
        cdef Py_ssize_t c
        cdef int64_t found
        for c in range(self.count):
            found = choose_follows(sources + c, matcher.follows + self.cells[c].first, row, rows)
            matcher.follows[self.anchors() + c] = found > 0
            marks += found + matcher.follows[self.values + c]
        return marks

    cdef char* write_block(
        self, char* p, Source* sources, int64_t row, int64_t stop, Matcher* matcher, const char* text
    ) noexcept nogil:
        cdef Cell* cell
        cdef Py_ssize_t c
        while row < stop:
            for c in range(self.count):
                cell = self.cells + c
                if matcher != NULL and matcher.follows[self.values + c]:
                    mark(matcher, self.values + c, p - text)
                if cell.literal_length == 1:
                    p[0] = self.literals[cell.literal]
                    p += 1
                else:
                    p = write_literal(p, self.literals + cell.literal, cell.literal_length)
                if cell.width:
                    if matcher == NULL or not matcher.follows[self.anchors() + c]:
                        p = write_tensor_row(p, sources + c, row, cell.width)
                    else:
                        p = write_marked_row(p, sources + c, row, cell, matcher, text)
                    continue
                if matcher != NULL and matcher.follows[cell.first]:
                    mark(matcher, cell.first, p - text - (p > text))
                if not is_null(sources + c, row):
                    p = write_value(p, sources + c, row, sources[c].modes[0])
            p = write_literal(p, self.literals + self.last_literal, self.last_literal_length)
            if matcher != NULL:
                match_row(matcher, text, p - text)
            row += 1
        return p


cdef inline char* write_literal(char* p, const char* literal, int64_t length) noexcept nogil:
    """Copies whole steps of 16 bytes: both sides have room for that."""
    cdef int64_t i = 0
    while i < length:
        memcpy(p + i, literal + i, 16)
        i += 16
    return p + length
