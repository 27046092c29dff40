# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The telemetry kernel: events of an Arrow record batch become lines of JSON, one to a line, without the GIL.

Arrow is read through the C data interface. Whoever calls has checked that the buffers are as long as the arrays claim
(`pyarrow.RecordBatch.validate`); whatever else could lead out of them, text offsets above all, is checked here.

Beside this file, `_fields.h` opens the fields of a batch, `_json.h` has the texts of their values.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t
from libc.stdlib cimport free

from collectord.encode._fields cimport (
    BOOL, SCORING_TIME, SLACK, STRING, TEXT_BYTES, TIMESTAMP, TIMESTAMP_UTC, UUID,
    ArrowArray, ArrowSchema, Literal, Source, Text, choose_modes, has_room, is_no_number, is_null, is_object, load,
    load_offset, need_of, open_source, place_literal, write_literal, write_object, write_time, write_uuid, write_value,
)


cdef enum Outcome:
    DONE
    NO_MEMORY
    BAD_OFFSETS


cdef inline bint is_absent(const Source* source, int64_t row) noexcept nogil:
    """Whether JSON has nothing to say of a value."""
    if is_null(source, row) or is_no_number(source, row):
        return True
    if source.op == TIMESTAMP or source.op == TIMESTAMP_UTC:
        return load[int64_t](source.values + 8 * row) == INT64_MIN
    return False


cdef inline char* write_embedded(char* p, Source* source, int64_t row) noexcept nogil:
    """A text: as the object that it is, or else as a text."""
    cdef int32_t offset = load_offset(source, row)
    cdef int64_t length = load_offset(source, row + 1) - offset
    if is_object(source.values + offset, length):
        return write_object(p, source.values + offset, length)
    return write_value(p, source, row, 0)


cdef struct Cell:
    Literal name  # before the value
    Py_ssize_t field
    bint embedded  # a text that is an object stands there as one


cdef class LineWriter:
    """Writes each row of record batches of one layout as a line of its own, in which what is null, or no number, is left out.
    Immutable: threads may share it."""

    cdef bytes literal_bytes
    cdef Source* fields  # op; all else is a batch's
    cdef Py_ssize_t count
    cdef Cell* cells
    cdef Py_ssize_t values
    cdef Literal head
    cdef Literal before_time
    cdef Literal after_time
    cdef Py_ssize_t id_field
    cdef Py_ssize_t time_field
    cdef int64_t line_bytes  # the longest line, its texts not counted

    def __cinit__(self, list ops, list pieces, Py_ssize_t id_field, Py_ssize_t time_field, list cells):
        """`ops`: one per field of the batches. `pieces`: what a line begins with, before the id, before the time and behind
        it. `cells`: (what stands before the value, its field, whether a text may be an object)."""
        cdef Py_ssize_t i
        self.count = len(ops)
        self.values = len(cells)
        self.fields = <Source*>PyMem_Calloc(max(self.count, 1), sizeof(Source))
        self.cells = <Cell*>PyMem_Calloc(max(self.values, 1), sizeof(Cell))
        if self.fields == NULL or self.cells == NULL:
            raise MemoryError
        for i, op in enumerate(ops):
            if not BOOL <= op <= SCORING_TIME:
                raise ValueError(f"field {i}: op {op}")
            self.fields[i].op = op
        if not 0 <= id_field < self.count or ops[id_field] != UUID:
            raise ValueError(f"field {id_field} has no ids")
        if not 0 <= time_field < self.count or ops[time_field] != SCORING_TIME:
            raise ValueError(f"field {time_field} has no times")
        self.id_field, self.time_field = id_field, time_field
        first, second, third = pieces
        self.literal_bytes = b"".join([first, second, third, *(name for name, _, _ in cells)])
        cdef const char* at = self.literal_bytes
        at = place_literal(&self.head, at, len(first))
        at = place_literal(&self.before_time, at, len(second))
        at = place_literal(&self.after_time, at, len(third))
        self.line_bytes = len(self.literal_bytes) + 2 * TEXT_BYTES[<int>UUID] + SLACK
        for i, (name, field, embedded) in enumerate(cells):
            if not 0 <= field < self.count or (embedded and ops[field] != STRING):
                raise ValueError(f"cell {i} of field {field}")
            at = place_literal(&self.cells[i].name, at, len(name))
            self.cells[i].field, self.cells[i].embedded = field, embedded
            self.line_bytes += TEXT_BYTES[self.fields[<Py_ssize_t>field].op]

    def __dealloc__(self):
        PyMem_Free(self.fields)
        PyMem_Free(self.cells)

    def encode(self, batch, most):
        """All rows of the batch. If they become more than `most` bytes, only so many of them that they are more than that.
        None: there is no bound."""
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
        cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(array_capsule, "arrow_array")
        cdef Source* sources = NULL
        cdef uint8_t* modes = NULL
        cdef Text out
        cdef Outcome outcome
        cdef int64_t bound = INT64_MAX if most is None else most
        out.start = NULL
        out.used = out.size = 0
        if schema.n_children != self.count or array.n_children != self.count:
            raise ValueError(f"a batch of {array.n_children} fields, the plan has {self.count}")
        try:
            sources = <Source*>PyMem_Calloc(self.count, sizeof(Source))
            modes = <uint8_t*>PyMem_Calloc(self.count, 1)
            if sources == NULL or modes == NULL:
                raise MemoryError
            self.open(schema, array, sources, modes)
            with nogil:
                outcome = self.write_lines(sources, array.length, bound, &out)
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
            sources[i].modes = modes + i
            wrong = open_source(sources + i, schema.children[i], array.children[i], array.offset, array.length)
            if wrong != NULL:
                raise ValueError(f"field {i} of Arrow format {schema.children[i].format!r}: {wrong.decode()}")
            choose_modes(sources + i, 0, array.length)
        for i in (self.id_field, self.time_field):
            for row in range(array.length):
                if is_null(sources + i, row):
                    raise ValueError(f"field {i} has nulls")
        return 0

    cdef Outcome write_lines(self, Source* sources, int64_t rows, int64_t most, Text* out) noexcept nogil:
        cdef int64_t row, need
        for row in range(rows):
            if out.used > most:
                break
            need = need_of(sources, self.count, row)
            if need < 0:
                return BAD_OFFSETS
            if not has_room(out, need + self.line_bytes):
                return NO_MEMORY
            out.used = self.write_line(out.start + out.used, sources, row) - out.start
        return DONE

    cdef char* write_line(self, char* p, Source* sources, int64_t row) noexcept nogil:
        cdef Source* source = sources + self.time_field
        cdef const Cell* cell
        cdef Py_ssize_t i
        p = write_uuid(write_literal(p, &self.head), sources[self.id_field].values + 16 * row)
        p = write_literal(p, &self.before_time)
        p = write_time(p, load[int64_t](source.values + 8 * row), False, &source.clock)
        p = write_literal(p, &self.after_time)
        for i in range(self.values):
            cell = self.cells + i
            source = sources + cell.field
            if not is_absent(source, row):
                p = write_literal(p, &cell.name)
                p = write_embedded(p, source, row) if cell.embedded else write_value(p, source, row, source.modes[0])
        p[0] = b"}"
        p[1] = b"\n"
        return p + 2
