# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The JSON lines kernel: rows of an Arrow record batch become events, one request to a line, without the GIL.

Arrow is read through the C data interface. Whoever calls has checked that the buffers are as long as the arrays claim
(`pyarrow.RecordBatch.validate`); whatever else could lead out of them, text offsets above all, is checked here.

Beside this file, `_fields.h` opens the fields of a batch, `_json.h` has the texts of their values.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from collectord.encode._fields cimport (
    BOOL, FLOAT64, SCORING_TIME, SLACK, STRING, TEXT_BYTES, UUID, VALUE_BYTES,
    ArrowArray, ArrowSchema, Literal, Source, Text, choose_modes, has_room, is_null, load, load_offset, need_of,
    open_source, place_literal, write_literal, write_null, write_text, write_time, write_unsigned, write_uuid,
    write_value,
)


cdef enum:
    NUMBER = 10  # digits of the largest uint32

# What a line begins and ends with, between what differs from line to line.
cdef enum:
    BEFORE_TIME
    BEFORE_CORRELATION
    BEFORE_REQUEST
    BEFORE_SAMPLING
    BEFORE_DATA
    BEFORE_RANGE
    END
    PIECES

cdef enum Outcome:
    DONE
    NO_MEMORY
    BAD_OFFSETS


# ---------------------------------------------------------------- values


cdef inline char* write_id(char* p, const Source* source, int64_t row) noexcept nogil:
    if source.op == UUID:
        return write_uuid(p, source.values + 16 * row)
    return write_text(p, source, row)


cdef inline bint same_value(const Source* source, int64_t row) noexcept nogil:
    """Whether this row and the one before have the same bytes there."""
    cdef int64_t width = VALUE_BYTES[source.op]
    cdef int32_t before, at
    if source.op != STRING:
        return memcmp(source.values + width * (row - 1), source.values + width * row, width) == 0
    before, at = load_offset(source, row - 1), load_offset(source, row)
    if at - before != load_offset(source, row + 1) - at:
        return False
    return at == before or memcmp(source.values + before, source.values + at, at - before) == 0


cdef inline int64_t digits_of(uint32_t x) noexcept nogil:
    cdef int64_t digits = 1
    while x >= 10:
        x //= 10
        digits += 1
    return digits


# ---------------------------------------------------------------- lines


cdef class EventWriter:
    """Writes the rows of record batches of one layout as events. Immutable: threads may share it."""

    cdef bytes literal_bytes
    cdef Source* fields  # op and width; all else is a batch's
    cdef Py_ssize_t count
    cdef Py_ssize_t user_fields
    cdef Literal* names  # before each value of a row
    cdef int64_t values
    cdef Literal[PIECES] pieces
    cdef int64_t pieces_bytes
    cdef int64_t row_bytes  # the longest row, its texts not counted
    cdef int64_t most_line
    cdef bint has_request
    cdef bint sampled

    def __cinit__(self, list fields, list names, list pieces, bint has_request, bint sampled, int64_t most_line):
        """`fields`, one per field of the batches: (op, width or 0), the user's first. `names`:
        what stands before each value of a row. `pieces`: what stands in a line between all else."""
        cdef Py_ssize_t i
        self.count = len(fields)
        self.user_fields = self.count - 3 - has_request - sampled
        self.values = len(names)
        self.fields = <Source*>PyMem_Calloc(max(self.count, 1), sizeof(Source))
        self.names = <Literal*>PyMem_Calloc(max(self.values, 1), sizeof(Literal))
        if self.fields == NULL or self.names == NULL:
            raise MemoryError
        if self.user_fields < 0 or len(pieces) != PIECES:
            raise ValueError(f"{self.count} fields and {len(pieces)} pieces")
        self.row_bytes = SLACK
        values = 0
        for i, (op, width) in enumerate(fields):
            if not BOOL <= op <= SCORING_TIME or width < 0 or (width and op in (STRING, UUID, SCORING_TIME)):
                raise ValueError(f"field {i}: op {op} with width {width}")
            self.fields[i].op = op
            self.fields[i].width = width
            if i < self.user_fields:
                values += max(width, 1)
                self.row_bytes += max(<int64_t>width, 1) * TEXT_BYTES[<int>op]
        if values != self.values:
            raise ValueError(f"{self.values} names for {values} values")
        self.literal_bytes = b"".join([*names, *pieces])
        cdef const char* at = self.literal_bytes
        for i in range(self.values):
            at = place_literal(self.names + i, at, len(names[i]))
            self.row_bytes += self.names[i].length
        self.pieces_bytes = 0
        for i in range(PIECES):
            at = place_literal(self.pieces + i, at, len(pieces[i]))
            self.pieces_bytes += self.pieces[i].length
        self.has_request = has_request
        self.sampled = sampled
        self.most_line = most_line

    def __dealloc__(self):
        PyMem_Free(self.fields)
        PyMem_Free(self.names)

    def encode(self, batch, bytes head not None, most):
        """All rows of the batch, in lines that begin with `head` and their number from 0. If they become more than `most`
        bytes, only so many of the lines that they are more than that. None: there is no bound."""
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
        cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(array_capsule, "arrow_array")
        cdef Source* sources = NULL
        cdef uint8_t* modes = NULL
        cdef Text out
        cdef Literal beginning
        cdef Outcome outcome
        cdef int64_t bound = INT64_MAX if most is None else most
        out.start = NULL
        out.used = out.size = 0
        place_literal(&beginning, head, len(head))
        if schema.n_children != self.count or array.n_children != self.count:
            raise ValueError(f"a batch of {array.n_children} fields, the plan has {self.count}")
        try:
            sources = <Source*>PyMem_Calloc(max(self.count, 1), sizeof(Source))
            modes = <uint8_t*>PyMem_Calloc(max(self.values, 1), 1)
            if sources == NULL or modes == NULL:
                raise MemoryError
            self.open(schema, array, sources, modes)
            with nogil:
                outcome = self.write_lines(sources, array.length, &beginning, bound, &out)
            if outcome == NO_MEMORY:
                raise MemoryError
            if outcome == BAD_OFFSETS:
                raise ValueError("text offsets out of order")
            return PyBytes_FromStringAndSize(out.start, out.used)
        finally:
            free(out.start)
            PyMem_Free(sources)
            PyMem_Free(modes)

    cdef int open(self, ArrowSchema* schema, ArrowArray* array, Source* sources, uint8_t* modes) except -1:
        cdef Py_ssize_t i
        cdef int64_t row
        cdef const char* wrong
        for i in range(self.count):
            sources[i].op = self.fields[i].op
            sources[i].width = self.fields[i].width
            sources[i].modes = modes
            wrong = open_source(sources + i, schema.children[i], array.children[i], array.offset, array.length)
            if wrong != NULL:
                raise ValueError(f"field {i} of Arrow format {schema.children[i].format!r}: {wrong.decode()}")
            if i < self.user_fields:
                choose_modes(sources + i, 0, array.length)
                modes += max(sources[i].width, 1)
                continue
            for row in range(array.length):
                if is_null(sources + i, row):
                    raise ValueError(f"field {i} has nulls")
        return 0

    cdef Outcome write_lines(
        self, Source* sources, int64_t rows, const Literal* head, int64_t most, Text* out
    ) noexcept nogil:
        cdef Source* ours = sources + self.user_fields
        cdef int64_t row = 0, line_at, need, count
        cdef uint32_t number = 0, first
        cdef char* p
        while row < rows and out.used <= most:
            need = need_of(sources + self.user_fields, self.count - self.user_fields, row)
            if need < 0:
                return BAD_OFFSETS
            # Twice: without a request id the correlation id stands for it.
            if not has_room(out, 2 * need + self.pieces_bytes + head.length + SLACK + NUMBER + 2 * TEXT_BYTES[<int>FLOAT64]):
                return NO_MEMORY
            line_at = out.used
            out.used = self.begin_line(out.start + line_at, ours, row, head, number) - out.start
            number += 1
            first = self.number_of(ours, row)
            count = 0
            while True:
                need = need_of(sources, self.user_fields, row)
                if need < 0:
                    return BAD_OFFSETS
                # Behind a row there is always room for the end of its line.
                if not has_room(out, need + self.row_bytes + self.pieces_bytes + SLACK + 2 * NUMBER):
                    return NO_MEMORY
                p = out.start + out.used
                if count:
                    p[0] = b","
                    p += 1
                p = self.write_row(p, sources, row)
                if count and self.with_end(p - out.start - line_at, first, count) > self.most_line:
                    # It does not fit any more, and begins the next line.
                    break
                out.used = p - out.start
                count += 1
                row += 1
                if row == rows or not self.goes_on(ours, row):
                    break
            out.used = self.end_line(out.start + out.used, first, count) - out.start
        return DONE

    cdef uint32_t number_of(self, const Source* ours, int64_t row) noexcept nogil:
        """The row's index in its request."""
        return load[uint32_t](ours[2 + self.has_request].values + 4 * row)

    cdef bint goes_on(self, const Source* ours, int64_t row) noexcept nogil:
        """Whether a row is the next one of the same request as the row before it."""
        cdef uint32_t before = self.number_of(ours, row - 1)
        return (
            before != <uint32_t>-1
            and self.number_of(ours, row) == before + 1
            and self.same_text(ours, row)
            and same_value(ours + 1, row)
            and (not self.has_request or self.same_text(ours + 2, row))
            and (not self.sampled or same_value(ours + 3 + self.has_request, row))
        )

    cdef bint same_text(self, const Source* source, int64_t row) noexcept nogil:
        cdef int32_t at
        if source.op == STRING:
            # The next row's offsets have not been looked at yet.
            at = load_offset(source, row)
            if load_offset(source, row + 1) < at or load_offset(source, row + 1) > source.last_offset:
                return False
        return same_value(source, row)

    cdef char* begin_line(
        self, char* p, Source* ours, int64_t row, const Literal* head, uint32_t number
    ) noexcept nogil:
        p = write_unsigned(write_literal(p, head), number)
        p = write_literal(p, self.pieces + BEFORE_TIME)
        p = write_time(p, load[int64_t](ours[1].values + 8 * row), False, &ours[1].clock)
        p = write_id(write_literal(p, self.pieces + BEFORE_CORRELATION), ours, row)
        p = write_id(write_literal(p, self.pieces + BEFORE_REQUEST), ours + (2 if self.has_request else 0), row)
        p = write_literal(p, self.pieces + BEFORE_SAMPLING)
        if self.sampled:
            p = write_value(p, ours + 3 + self.has_request, row, 0)
        return write_literal(p, self.pieces + BEFORE_DATA)

    cdef char* write_row(self, char* p, Source* sources, int64_t row) noexcept nogil:
        cdef const Literal* name = self.names
        cdef Source* source
        cdef Py_ssize_t c
        cdef int64_t j
        p[0] = b"{"
        p += 1
        for c in range(self.user_fields):
            source = sources + c
            if source.width:
                for j in range(source.width):
                    p = write_value(write_literal(p, name), source, row * source.width + j, source.modes[j])
                    name += 1
                continue
            p = write_literal(p, name)
            p = write_null(p) if is_null(source, row) else write_value(p, source, row, source.modes[0])
            name += 1
        p[0] = b"}"
        return p + 1

    cdef int64_t with_end(self, int64_t length, uint32_t first, int64_t count) noexcept nogil:
        """Bytes of a line of `length` so far, if it ended behind `count` rows and the next."""
        return (
            length + self.pieces[<int>BEFORE_RANGE].length + self.pieces[<int>END].length + 1
            + digits_of(first) + digits_of(<uint32_t>(first + count))
        )

    cdef char* end_line(self, char* p, uint32_t first, int64_t count) noexcept nogil:
        p = write_unsigned(write_literal(p, self.pieces + BEFORE_RANGE), first)
        p[0] = b"-"
        p = write_unsigned(p + 1, <uint32_t>(first + count - 1))
        return write_literal(p, self.pieces + END)
