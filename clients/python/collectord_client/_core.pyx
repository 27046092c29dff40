"""The hot end of `collect()`, compiled: the twin of what is in `pure/`, name for name, which says what everything means.

Promises: the same calls give the same pages as in Python, byte for byte but for ids and times, and the same books.

Why there is no lock on the short way: `Tray._note` runs no Python code and lets go of the GIL nowhere between looking at
the page and the last byte, so it is one step for all other threads. Whoever changes pages or books in several steps holds the
outbox's lock, and `Lock.held` tells that without a system call: then the short way waits for it as everybody does. Without a
GIL none of that holds: core.py does not load this module there.

numpy is asked through the buffer protocol, so that this is built without numpy and for all of its versions. It is asked once
per kind of array: see `_Shape.known_layout`.
"""

cimport cython
from cpython.array cimport array
from cpython.buffer cimport PyBUF_READ, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_DelItem, PyDict_SetItem, PyDict_Size, PyDict_Update
from cpython.exc cimport PyErr_Clear
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_REFCNT, Py_XDECREF
from libc.string cimport memcmp, memcpy

import datetime
import gc
import os
import uuid
from _thread import allocate_lock
from contextvars import Context as EmptyContext, ContextVar, copy_context

cdef extern from "_clock.h":
    const long long HOUR
    const int CLOCK_MONOTONIC
    long long ask_clock(int which) noexcept
    long long clock_ns() noexcept
    void trust_ticks(int whether) noexcept

cdef extern from "_copies.h":
    void copy_values(char *to, const char *values, Py_ssize_t size, bint fresh) noexcept nogil
    void fetch_ends(const char *buffer, Py_ssize_t size) noexcept nogil
    void fetch_next(const char *values, const char *note) noexcept nogil
    void write_big(unsigned char *to, unsigned long long value) noexcept nogil
    ctypedef struct Array:
        char *data
        int dimensions
        Py_ssize_t *shape
        Py_ssize_t *strides
        PyObject *dtype

cdef extern from "Python.h":
    int PyContextVar_Get(object variable, PyObject *otherwise, PyObject **value) except -1
    object PyContextVar_Set(object variable, object value)
    PyObject *PyImport_GetModuleDict()
    PyObject *PyDict_GetItemWithError(PyObject *mapping, object key) except? NULL
    # Without `except`: what fails is undone first.
    int grow_bytes "PyByteArray_Resize"(PyObject *data, Py_ssize_t size)
    int grow_array "resize_smart"(array data, Py_ssize_t size)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_1BYTE_DATA(object text)
    PyTypeObject *Py_TYPE(PyObject *of)
    Py_ssize_t PyDict_GET_SIZE(PyObject *mapping)

cdef enum:
    REQUEST_BYTES = 28
    LARGE = 8192
    MOST_BUFFERS = 32

NO_SHAPE = (None, None, (), 0, 0, None, type(None), None)

cdef object _entered = ContextVar("collectord_request", default=None)
cdef object _of_flask = None


def find_requests_by(entered, of_flask):
    """Takes what tells the request that a thread or task works on, as request.current does: imports lead out of here."""
    global _entered, _of_flask
    _entered, _of_flask = entered, of_flask


def keep_time_by_ticks(bint whether):
    """Says whether the processor's counter may be trusted, as far as this module knows how to read it."""
    trust_ticks(whether)


cdef extern from "_contexts.h":
    void trust_tree(object mapping, object node)
    void learn_offsets(PyObject *variable, PyObject *value) noexcept
    PyObject *own_value(PyObject *variable) noexcept
    PyObject *glance(PyObject *variable, PyObject *unset) noexcept
    bint is_alone(PyObject *value) noexcept


# So many modules were loaded when Flask was looked for and not found. Mostly the next call finds as many.
cdef Py_ssize_t _without_flask = -1


cdef object _request():
    global _without_flask
    cdef PyObject *found = NULL
    cdef PyObject *flask
    cdef PyObject *modules
    found = glance(<PyObject *>_entered, <PyObject *>None)
    if found is not NULL:
        entered = <object>found
    else:
        PyContextVar_Get(_entered, NULL, &found)
        entered = <object>found
        Py_XDECREF(found)
    if entered is not None:
        return (<tuple>entered)[0]
    modules = PyImport_GetModuleDict()
    if PyDict_GET_SIZE(modules) == _without_flask:
        return None
    flask = PyDict_GetItemWithError(modules, "flask")
    if flask is not NULL:
        return _of_flask(<object>flask)
    _without_flask = PyDict_GET_SIZE(modules)
    return None


cdef class Lock:
    """A lock that tells without a system call whether it is held."""

    cdef object _inner, _acquire, _release
    cdef bint held

    def __cinit__(self):
        self._inner = allocate_lock()
        # Bound once: when a page is full, whatever has to be looked for is in no cache.
        self._acquire, self._release = self._inner.acquire, self._inner.release

    def acquire(self, blocking=True, timeout=-1):
        if self._inner.acquire(blocking, timeout):
            self.held = True
            return True
        return False

    def release(self):
        self.held = False
        self._inner.release()

    def locked(self):
        return self.held

    def __enter__(self):
        self._enter()

    def __exit__(self, kind, error, trace):
        self._leave()

    cdef int _enter(self) except -1:
        self._acquire()
        self.held = True
        return 0

    cdef int _leave(self) except -1:
        self.held = False
        self._release()
        return 0


@cython.final
cdef class Uuid7:
    """Makes ids. Thread-safe; a forked child calls `reseed` before its first one."""

    cdef unsigned long long head, step

    def __init__(self):
        self.reseed()

    def reseed(self):
        """Begins at another random place, as a forked child must."""
        seed = int.from_bytes(os.urandom(10), "big")
        self.head = 7 << 12 | (seed & 0xFFF)
        self.step = <unsigned long long>2 << 62 | <unsigned long long>((seed >> 12) & ((1 << 61) - 1))

    def make(self, unsigned long long time_ns):
        """16 bytes, big-endian as in the text form, for the scoring time `time_ns` (1970 to 2262)."""
        cdef unsigned char made[16]
        self._write(time_ns, made)
        return PyBytes_FromStringAndSize(<char *>made, 16)

    cdef inline void _write(self, unsigned long long time_ns, unsigned char *to) noexcept:
        write_big(to, time_ns // 1_000_000 << 16 | self.head)
        write_big(to + 8, self.step)
        self.step += 1


cdef object _shown(object id):
    return uuid.UUID(bytes=id) if isinstance(id, bytes) else id


# Ids hold nothing that could lead back here: the garbage collector need not know of contexts.
@cython.no_gc
@cython.freelist(64)
cdef class Context:
    """The correlation of one request's rows: hand what `collect(inputs)` returned to `collect(predictions)`.

    Both then carry the same correlation id, the same scoring time, hence the same day, and the same row indices.
    Immutable for its users; may be passed between threads.
    """

    cdef public long long time_ns
    cdef public Py_ssize_t rows
    cdef unsigned char _raw[16]
    cdef object _text
    """Of an id that is no uuid; else None."""
    cdef public object _request
    cdef public object _keys
    cdef public bint _taken

    def __init__(self, id, time_ns, rows, request=None, keys=None):
        if isinstance(id, bytes):
            if len(id) != 16:
                raise ValueError("an id has 16 bytes")
            memcpy(self._raw, PyBytes_AS_STRING(id), 16)
            self._text = None
        else:
            self._text = id
        self.time_ns = time_ns
        self.rows = rows
        self._request = request
        self._keys = keys
        self._taken = False

    @property
    def _id(self):
        return PyBytes_FromStringAndSize(<char *>self._raw, 16) if self._text is None else self._text

    @property
    def _request_rows(self):
        return self.rows

    @property
    def correlation(self):
        """The correlation id; with a key per row, the first row's."""
        return _shown(self._id)

    @property
    def correlations(self):
        """The correlation id of each row."""
        if self._keys is not None:
            return tuple([_shown(key) for key in self._keys])
        return (_shown(self._id),) * self.rows

    @property
    def request_id(self):
        """The request id given to `collect`, if any."""
        return None if self._request is None else _shown(self._request)

    def __repr__(self):
        return f"Context(correlation={str(self.correlation)!r}, time_ns={self.time_ns}, rows={self.rows})"


cdef inline Context _context(unsigned char *id, long long time_ns, Py_ssize_t rows, object request):
    cdef Context made = Context.__new__(Context)
    memcpy(made._raw, id, 16)
    made.time_ns = time_ns
    made.rows = rows
    made._request = request
    return made


@cython.final
@cython.no_gc
cdef class _Place:
    """What the variable of a context holds: setting a variable takes longer than all else, so it is written to instead as long
    as nobody can see it who must not see that."""

    cdef Context context


def _learn_tree():
    """Lets places be written to where contexts behave as `is_alone` expects of them. Returns whether they do."""
    probe, other = ContextVar("collectord_probe"), ContextVar("collectord_probe_2")

    def behaves():
        cdef _Place place = _Place.__new__(_Place)
        probe.set(place)
        mapping = next(seen for seen in gc.get_referents(copy_context()) if type(seen) is not EmptyContext)
        trust_tree(type(mapping), type(gc.get_referents(mapping)[0]))
        del mapping
        learn_offsets(<PyObject *>probe, <PyObject *>place)
        found = [is_alone(<PyObject *>place)]
        copied = copy_context()
        found.append(is_alone(<PyObject *>place))
        other.set(1)
        found.append(is_alone(<PyObject *>place))
        del copied
        found.append(is_alone(<PyObject *>place))
        copied = copy_context()
        copied.run(other.set, 2)
        found.append(is_alone(<PyObject *>place))
        del copied
        found.append(is_alone(<PyObject *>place))
        return found == [True, False, False, True, False, True]

    try:
        behaving = EmptyContext().run(behaves)
    except Exception:
        behaving = False
    if not behaving:
        trust_tree(None, None)
    return behaving


writes_places = _learn_tree()


@cython.final
cdef class Pending:
    """Where the last inputs of one model wait for the prediction that takes them, once.

    That is in their request; where nobody knows of one, on the thread or task.
    """

    cdef readonly object _variable

    def __init__(self):
        self._variable = ContextVar("collectord_inputs", default=None)

    cpdef Context get(self, request):
        cdef PyObject *found = NULL
        if request is not None:
            return request.inputs.get(self)
        PyContextVar_Get(self._variable, NULL, &found)
        place = <object>found
        Py_XDECREF(found)
        return (<_Place>place).context if type(place) is _Place else None

    cdef inline bint _write(self, Context context) noexcept:
        """Writes to the place, if that is clear at a glance."""
        cdef PyObject *found = own_value(<PyObject *>self._variable)
        if found is NULL or Py_TYPE(found) != <PyTypeObject *>_Place:
            return False
        (<_Place>found).context = context
        return True

    cpdef set(self, request, Context context):
        cdef PyObject *found = NULL
        cdef _Place place
        if request is not None:
            request.inputs[self] = context
            return
        if self._write(context):
            return
        PyContextVar_Get(self._variable, NULL, &found)
        if type(<object>found) is _Place and is_alone(found):
            (<_Place>found).context = context
        else:
            place = _Place.__new__(_Place)
            place.context = context
            PyContextVar_Set(self._variable, place)
        Py_XDECREF(found)


cdef bytearray _no_data = bytearray()


cdef class Sheet:
    """What the short way writes of a page. Protected by its outbox's lock until the page is sealed."""

    cdef public long long hour, rows, size
    cdef public bytearray data
    cdef public bytearray buffer
    cdef bint fresh
    """The buffer was never written to."""
    cdef public Py_ssize_t used
    cdef readonly Py_ssize_t kept
    """Bytes of notes at the buffer's end, the last first: time, id, row count and maybe the request's id of each request that
    the arrays do not have yet. Its values and notes take no more than a page may hold, so they never meet."""
    cdef readonly Py_ssize_t note_bytes
    cdef public array times
    """None, as are counts, ids, requests and columns, where the page follows a full one, until `fold`."""
    cdef public array counts
    cdef public array first_rows
    cdef public bytearray ids
    cdef public bytearray requests
    cdef public array id_lengths
    cdef public array request_lengths
    cdef public array shares
    cdef public list columns
    cdef public object schema
    cdef public double opened
    cdef public long long overhead

    cdef inline bint _is_plain(self) noexcept:
        """Whether all that it has may come by the short way."""
        return (
            self.first_rows is None
            and not len(self.id_lengths)
            and not len(self.request_lengths)
            and not len(self.shares)
            and self.buffer is not None
        )

    cdef Sheet _follower(self, bytearray buffer):
        """An empty page of the same plain schema and hour, as `Page` makes it."""
        cdef type kind = type(self)
        cdef Sheet page = kind.__new__(kind)
        page.schema = self.schema
        page.hour = self.hour
        page.opened = ask_clock(CLOCK_MONOTONIC) / 1e9
        page.overhead = self.overhead
        page.buffer = buffer
        # What else a page has, `fold` lays out. Nothing is ever appended to these four.
        page.data = _no_data
        page.id_lengths = self.id_lengths
        page.request_lengths = self.request_lengths
        page.shares = self.shares
        return page

    def fold(self):
        """Moves what is noted in the buffer into the arrays."""
        cdef Py_ssize_t each = self.note_bytes
        cdef Py_ssize_t count, requests, ids, asked, at
        cdef char *note
        if self.times is None:
            self.columns, self.ids, self.requests, self.counts = [], bytearray(), bytearray(), array("I")
            # Last: whatever failed for want of memory, the next call lays it out.
            self.times = array("q")
        if not self.kept:
            return
        count = self.kept // each
        requests, ids, asked = len(self.times), PyByteArray_GET_SIZE(self.ids), PyByteArray_GET_SIZE(self.requests)
        _grow(self, count, each > REQUEST_BYTES, 0)
        note = PyByteArray_AS_STRING(self.buffer) + PyByteArray_GET_SIZE(self.buffer)
        for at in range(requests, requests + count):
            note -= each
            memcpy(&self.times.data.as_longlongs[at], note, 8)
            memcpy(PyByteArray_AS_STRING(self.ids) + ids, note + 8, 16)
            memcpy(&self.counts.data.as_uints[at], note + 24, 4)
            if self.first_rows is not None:
                self.first_rows.data.as_uints[at] = 0
            ids += 16
            if each > REQUEST_BYTES:
                memcpy(PyByteArray_AS_STRING(self.requests) + asked, note + REQUEST_BYTES, 16)
                asked += 16
        self.kept = 0


cdef int _grow(Sheet page, Py_ssize_t count, bint with_requests, Py_ssize_t length) except -1:
    """Makes room for `count` requests in the arrays, and for values outside of the buffer; or the page stays as it was."""
    cdef Py_ssize_t requests = len(page.times)
    cdef Py_ssize_t ids = PyByteArray_GET_SIZE(page.ids)
    cdef Py_ssize_t asked = PyByteArray_GET_SIZE(page.requests)
    if (
        grow_array(page.times, requests + count) < 0
        or grow_array(page.counts, requests + count) < 0
        or (page.first_rows is not None and grow_array(page.first_rows, requests + count) < 0)
        or grow_bytes(<PyObject *>page.ids, ids + 16 * count) < 0
        or (with_requests and grow_bytes(<PyObject *>page.requests, asked + 16 * count) < 0)
        or (length and grow_bytes(<PyObject *>page.data, PyByteArray_GET_SIZE(page.data) + length) < 0)
    ):
        # All of it is made shorter again, which cannot fail.
        PyErr_Clear()
        grow_array(page.times, requests)
        grow_array(page.counts, requests)
        if page.first_rows is not None:
            grow_array(page.first_rows, requests)
        grow_bytes(<PyObject *>page.ids, ids)
        grow_bytes(<PyObject *>page.requests, asked)
        raise MemoryError
    return 0


@cython.final
cdef class Slot:
    """A schema and its open pages, at most one per hour. Protected by the outbox's lock."""

    cdef public object schema
    cdef public Sheet page
    cdef public dict pages

    def __init__(self, schema):
        self.schema = schema
        self.pages = {}


cdef inline Py_ssize_t _size(Py_ssize_t length, bytes request) noexcept:
    return length + (REQUEST_BYTES if request is None else REQUEST_BYTES + 16)


cdef class Tray:
    """What the short way touches of an outbox."""

    cdef public long long limit, page_bytes, bytes, collected
    cdef public bint closed, collecting, _nudge, _watched, _forgetful
    cdef public Lock lock
    cdef public dict _open
    cdef public list pool
    cdef public long long sealed, _full, _enough
    cdef public object carrier

    def put(self, Slot slot, tensor, long long time_ns, bytes id, Py_ssize_t rows, request):
        """Copies one request of a tensor schema into its page. Returns the reason if it was dropped.

        `request` is 16 bytes where the schema has request ids.
        """
        if len(id) != 16 or (request is not None and len(request) != 16):
            raise ValueError("an id has 16 bytes")
        return self._put(slot, tensor, len(tensor), time_ns, <unsigned char *>PyBytes_AS_STRING(id), rows, request)

    cdef object _put(
        self, Slot slot, object tensor, Py_ssize_t length, long long time_ns, unsigned char *id, Py_ssize_t rows,
        bytes request,
    ):
        """Copies the `length` bytes of `tensor` in the order in which they lie in memory."""
        cdef Py_buffer view
        PyObject_GetBuffer(tensor, &view, PyBUF_STRIDES)
        try:
            if view.len != length:
                raise RuntimeError("the array was changed meanwhile")
            return self._put_bytes(slot, <char *>view.buf, view.len, time_ns, id, rows, request)
        finally:
            PyBuffer_Release(&view)

    cdef object _put_bytes(
        self, Slot slot, char *values, Py_ssize_t length, long long time_ns, unsigned char *id, Py_ssize_t rows,
        bytes request,
    ):
        cdef Py_ssize_t size = _size(length, request)
        cdef Sheet page
        # A `with` would look for its two methods and call them as Python does.
        self.lock._enter()
        try:
            if not self._fits(slot, time_ns, size) and not self._turn(slot, time_ns, size):
                before = slot.page
                reason = self._make_room(slot, time_ns // HOUR, size)
                if reason is not None:
                    return reason
                if before is not None and slot.page is not before:
                    # The last one was full, or its hour over: this one will not stay empty either.
                    self._furnish(slot.page, 0)
            page = slot.page
            if PyByteArray_GET_SIZE(page.data) + length >= LARGE:
                self._furnish(page, length)
            self._append(page, values, length, time_ns, id, rows, request, size)
        finally:
            self.lock._leave()
        if self._nudge:
            self._wake()
        return None

    cdef bint _turn(self, Slot slot, long long time_ns, Py_ssize_t size) except -1:
        """Begins the page after a full one where nothing has to be asked, as `Outbox._begin` does, whose Python finds its caches
        cold each time. False where something has. The lock is held."""
        cdef Sheet full = slot.page
        cdef Sheet page
        cdef bytearray buffer
        cdef bint fresh = False
        if (
            full is None
            or not full._is_plain()
            or <unsigned long long>(time_ns - full.hour * HOUR) >= <unsigned long long>HOUR
            or full.size + size <= self.page_bytes
            or size > self.page_bytes
            or full.size < PyByteArray_GET_SIZE(full.buffer) * 7 // 8
            or self.bytes + full.overhead + size > self.limit
            or len(self._open) > MOST_BUFFERS
            or self.carrier is None
            or self._forgetful
            or self.closed
        ):
            return False
        buffer = self.pool.pop() if self.pool else None
        if buffer is None or PyByteArray_GET_SIZE(buffer) < self.page_bytes:
            buffer = PyByteArray_FromStringAndSize(NULL, self.page_bytes)
            fresh = True
        else:
            fetch_ends(PyByteArray_AS_STRING(buffer), PyByteArray_GET_SIZE(buffer))
        page = full._follower(buffer)
        page.fresh = fresh
        self._open[page] = slot
        del self._open[full]
        slot.pages[full.hour] = page
        slot.page = page
        self.bytes += page.overhead
        self.sealed += 1
        self._full += 1
        if self._full % self._enough == 0 or not self._watched:
            self._nudge = True
        self.carrier.enqueue(self, full)
        return True

    cdef int _furnish(self, Sheet page, Py_ssize_t length) except -1:
        """Gives a page its buffer; where there are too many, only to one that fills it with `length` bytes."""
        if page.buffer is None and (
            len(self._open) <= MOST_BUFFERS or PyByteArray_GET_SIZE(page.data) + length >= self.page_bytes // 2
        ):
            page.furnish(self.page_bytes)
        return 0

    cdef inline bint _ready(self, Slot slot, long long time_ns, Py_ssize_t size) noexcept:
        """Whether `_note` may follow at once, without the lock."""
        return (
            not self.lock.held and not self._nudge and self._fits(slot, time_ns, size) and slot.page.buffer is not None
        )

    cdef inline bint _fits(self, Slot slot, long long time_ns, Py_ssize_t size) noexcept:
        cdef Sheet page = slot.page
        return (
            page is not None
            and <unsigned long long>(time_ns - page.hour * HOUR) < <unsigned long long>HOUR
            and page.size + size <= self.page_bytes
            and self.bytes + size <= self.limit
            and not self.closed
        )

    cdef int _append(
        self, Sheet page, char *values, Py_ssize_t length, long long time_ns, unsigned char *id, Py_ssize_t rows,
        bytes request, Py_ssize_t size,
    ) except -1:
        """Appends what fits. No Python code runs in here, and what fails for want of memory leaves the page as it was."""
        cdef Py_ssize_t requests, ids, asked, data
        if page.buffer is not None:
            self._note(page, values, length, time_ns, id, rows, request, size)
            return 0
        requests, ids, asked = len(page.times), PyByteArray_GET_SIZE(page.ids), PyByteArray_GET_SIZE(page.requests)
        data = PyByteArray_GET_SIZE(page.data)
        _grow(page, 1, request is not None, length)
        page.times.data.as_longlongs[requests] = time_ns
        page.counts.data.as_uints[requests] = <unsigned int>rows
        if page.first_rows is not None:
            page.first_rows.data.as_uints[requests] = 0
        memcpy(PyByteArray_AS_STRING(page.ids) + ids, id, 16)
        if request is not None:
            memcpy(PyByteArray_AS_STRING(page.requests) + asked, PyBytes_AS_STRING(request), 16)
        memcpy(PyByteArray_AS_STRING(page.data) + data, values, length)
        self._count(page, rows, size)
        return 0

    cdef inline void _note(
        self, Sheet page, char *values, Py_ssize_t length, long long time_ns, unsigned char *id, Py_ssize_t rows,
        bytes request, Py_ssize_t size,
    ) noexcept:
        """Appends to a page that has a buffer: the values behind those that are there, the note before its notes."""
        cdef char *buffer = PyByteArray_AS_STRING(page.buffer)
        cdef char *note
        cdef unsigned int count = <unsigned int>rows
        page.note_bytes = size - length
        page.kept += size - length
        note = buffer + PyByteArray_GET_SIZE(page.buffer) - page.kept
        memcpy(note, &time_ns, 8)
        memcpy(note + 8, id, 16)
        memcpy(note + 24, &count, 4)
        if request is not None:
            memcpy(note + REQUEST_BYTES, PyBytes_AS_STRING(request), 16)
        copy_values(buffer + page.used, values, length, page.fresh)
        page.used += length
        fetch_next(buffer + page.used, note)
        self._count(page, rows, size)

    cdef inline void _count(self, Sheet page, Py_ssize_t rows, Py_ssize_t size) noexcept:
        page.rows += rows
        page.size += size
        self.bytes += size
        self.collected += rows


cdef object _block(object frame, object labels):
    """As only_block, but with a row of the array per column of the frame."""
    try:
        # Not public: what cannot be found there goes the long way.
        manager = frame._mgr
        blocks = manager.blocks
        if manager.axes[0] is not labels or len(blocks) != 1:
            return None
        return blocks[0].values
    except AttributeError:
        return None


def only_block(frame, labels):
    """The values of a pandas frame whose columns are `labels`, the very same, and lie in one array. Else None."""
    values = _block(frame, labels)
    return None if values is None else values.T


@cython.final
cdef class _Shape:
    """A shape of pure/short.py, taken apart."""

    cdef object told
    cdef object kind, dtype, marked, labels
    cdef Slot slot
    cdef int dimensions
    cdef Py_ssize_t columns, most_rows, itemsize
    cdef object known_layout
    """The type of array that is laid out as `Array` says: seen by comparing one with what the buffer protocol tells of it.
    It saves half of what numpy takes to tell it each time, and more for an array that was never asked."""

    def __init__(self, told):
        self.told = told
        self.kind, self.dtype, tail, self.most_rows, _, self.slot, self.marked, self.labels = told
        self.dimensions = 1 + len(tail)
        self.columns = tail[0] if tail else 1
        self.itemsize = 0 if self.dtype is None else self.dtype.itemsize

    cdef bint compare(self, object data, Py_buffer *view) except -1:
        cdef Array *array = <Array *><PyObject *>data
        if type(data).__basicsize__ < <Py_ssize_t>sizeof(Array):
            return False
        return (
            array.data == view.buf
            and array.dimensions == view.ndim
            and <void *>array.dtype == <void *>self.dtype
            and memcmp(array.shape, view.shape, view.ndim * sizeof(Py_ssize_t)) == 0
            and memcmp(array.strides, view.strides, view.ndim * sizeof(Py_ssize_t)) == 0
        )


cdef class ShortWay:
    """`collect()` of a collector: what it has seen the like of goes into the page at once, all else the long way."""

    cdef public Tray _outbox
    cdef public Pending _pending
    cdef public Uuid7 _ids
    cdef public bint _offers, _takes
    cdef _Shape _known

    def __init__(self, outbox, pending, ids, designation):
        self._outbox = outbox
        self._pending = pending
        self._ids = ids
        self._offers = designation == "inputs"
        self._takes = designation == "predictions"
        self._known = _Shape(NO_SHAPE)

    @property
    def _shape(self):
        return self._known.told

    @_shape.setter
    def _shape(self, told):
        # One object, read once per call and replaced as a whole: threads share it.
        self._known = _Shape(told)

    @cython.binding(False)
    def collect(self, data, correlation_id=None, request_id=None, context=None, timestamp=None, row=None):
        """Copies `data` into memory, to be sent in the background; later changes to `data` do not matter.

        `correlation_id` is one for all rows, or a sequence with one per row; by default a new UUIDv7. `context` is what
        collecting the inputs returned: then id, time and row indices are theirs. Without one, a prediction takes the last
        inputs of the model in this request, or on this thread or task, once. `timestamp` is the scoring time, in
        nanoseconds since 1970 or as a datetime (UTC if it has no zone). What is not inputs and names an id that this
        package generated, has that id's time. `request_id` and `timestamp` may be sequences with one per row too, and
        `row` the index of each row in its request, for labels that come later. Returns the context, also where the rows
        were refused.

        Never raises unless the client is strict, then CollectError; what is refused or dropped is counted.
        """
        return self._collect_this(data, correlation_id, request_id, context, timestamp, row)

    @cython.final
    cdef object _collect_this(
        self, object data, object correlation_id, object request_id, object context, object timestamp, object row
    ):
        cdef _Shape known = self._known
        cdef PyObject *found
        request = _request()
        if (
            <object>type(data) is known.kind
            and correlation_id is None
            and request_id is None
            and timestamp is None
            and row is None
            and (context is None or isinstance(context, Context))
            and self._outbox.collecting
        ):
            # `try` would put aside what the caller handles, each time.
            found = (<Short>_short)(self, known, data, context, request)
            if found is NULL:
                return self._failed(context, request)
            made = <object>found
            Py_XDECREF(found)
            if type(made) is Context:
                return made
            if made is not None:
                made, reason = made
                return self._dropped(reason, made, request)
        return self._long_way(data, (correlation_id, request_id, context, timestamp, row, request))

    @cython.final
    cdef object _failed(self, object context, object request):
        """An error was set where none should be."""
        try:
            raise_what_is_set()
        except Exception as error:
            return self._accident(error, context, request)

    @cython.final
    cdef object _take(
        self, _Shape known, object data, Array *array, char *values, Py_ssize_t *shape, Py_ssize_t *strides,
        Context context, object request,
    ):
        cdef Context source = context
        cdef Context made
        cdef bint turned = known.labels is not None
        cdef Py_ssize_t rows = shape[turned]
        cdef Py_ssize_t columns = 1
        cdef Py_ssize_t row = known.itemsize * known.columns
        cdef bint whole = rows == 1 or strides[turned] == row
        cdef long long now
        cdef unsigned char id[16]
        if known.dimensions == 2:
            columns = shape[not turned]
            whole = whole and (columns == 1 or strides[not turned] == known.itemsize)
        if columns != known.columns or not 0 < rows <= known.most_rows:
            return None
        if source is None and self._takes:
            source = self._pending.get(request)
            if source is not None and source._taken:
                source = None
        asked = source._request if source is not None else None if request is None else request.id
        if <object>type(asked) is not known.marked or (asked is not None and PyBytes_GET_SIZE(asked) != 16):
            return None
        if source is None:
            now = clock_ns()
            self._ids._write(now, id)
            made = _context(id, now, rows, asked)
        elif source._text is not None or source._keys is not None:
            return None
        elif self._offers or source.rows != rows:
            made = _context(source._raw, source.time_ns, rows, asked)
        else:
            made = source
        if self._offers:
            if request is not None or not self._pending._write(made):
                self._pending.set(request, made)
        elif self._takes:
            if source is None:
                self._outbox.note(("uncorrelated",))
            else:
                source._taken = True
        # Up to here, memory that was taken may have let other threads run.
        if array is not NULL and (
            array.data != values or array.dimensions != known.dimensions or array.shape[turned] != rows
        ):
            raise RuntimeError("the array was changed meanwhile")
        # From here to the end of `_note` no Python code runs, unless it goes by `_put`, which looks anew.
        if whole and self._outbox._ready(known.slot, made.time_ns, _size(rows * row, asked)):
            self._outbox._note(
                known.slot.page, values, rows * row, made.time_ns, made._raw, rows, asked, _size(rows * row, asked)
            )
            return made
        held = data if whole else (data.T if turned else data).tobytes()
        reason = self._outbox._put(known.slot, held, rows * row, made.time_ns, made._raw, rows, asked)
        return made if reason is None else (made, reason)


cdef extern from *:
    """
    static int raise_what_is_set(void) { return -1; }
    """
    int raise_what_is_set() except -1


# As it is compiled: a new reference, or NULL with an error set.
ctypedef PyObject *(*Short)(ShortWay, _Shape, object, Context, object) noexcept


cdef object _short(ShortWay way, _Shape known, object data, Context context, object request):
    """The context, beside the reason if the rows were dropped; None where `data` must go the long way."""
    cdef Array *array
    cdef Py_buffer view
    if known.labels is not None:
        data = _block(data, known.labels)
        if data is None:
            return None
    if <object>type(data) is known.known_layout:
        array = <Array *><PyObject *>data
        if <void *>array.dtype != <void *>known.dtype or array.dimensions != known.dimensions:
            return None
        return way._take(known, data, array, array.data, array.shape, array.strides, context, request)
    if data.dtype is not known.dtype:
        return None
    PyObject_GetBuffer(data, &view, PyBUF_STRIDES)
    try:
        if view.ndim != known.dimensions:
            return None
        if known.compare(data, &view):
            known.known_layout = type(data)
        return way._take(known, data, NULL, <char *>view.buf, view.shape, view.strides, context, request)
    finally:
        PyBuffer_Release(&view)


cdef object _collect_one(PyObject *way, PyObject *data):
    return (<ShortWay>way)._collect_this(<object>data, None, None, None, None, None)


cdef extern from *:
    """
    /* Cython counts references to the default of each argument, which is a sixth of what a call with data alone takes: such a
       call goes to `one` right away, any other to the method as it is compiled. */
    typedef PyObject *(*Collect)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
    typedef PyObject *(*CollectOne)(PyObject *, PyObject *);
    static CollectOne collect_one = NULL;
    static Collect collect_all = NULL;

    static PyObject *collect_at_once(PyObject *self, PyObject *const *given, Py_ssize_t count, PyObject *names) {
        return count == 1 && !names ? collect_one(self, *given) : collect_all(self, given, count, names);
    }

    /* Where the method is called in another way than this, it stays as it is. */
    static void put_before(PyObject *method, CollectOne one) {
        PyMethodDef *known;
        if (Py_TYPE(method) != &PyMethodDescr_Type) return;
        known = ((PyMethodDescrObject *)method)->d_method;
        if (known->ml_flags != (METH_FASTCALL | METH_KEYWORDS) || collect_all) return;
        collect_one = one;
        collect_all = (Collect)(void (*)(void))known->ml_meth;
        known->ml_meth = (PyCFunction)(void (*)(void))collect_at_once;
    }
    """
    ctypedef PyObject *(*CollectOne)(PyObject *, PyObject *) noexcept
    void put_before(object method, CollectOne one) noexcept

put_before(ShortWay.__dict__["collect"], <CollectOne>_collect_one)


CORRELATION = "$aml_dc_correlation_id"
TIMESTAMP = "$aml_dc_scoring_timestamp"
REQUEST = "$aml_request_id"

cdef str _correlation = CORRELATION
cdef str _timestamp = TIMESTAMP
cdef str _request_key = REQUEST
cdef object _epoch = datetime.datetime(1970, 1, 1)

cdef extern from *:
    """
    /* Two digits each, for a table of all bytes and one of all numbers below 100. */
    static char hexadecimal[256][2], decimal[100][2];

    static void prepare_digits(void) {
        static const char digits[] = "0123456789abcdef";
        int value;
        for (value = 0; value < 256; value++) {
            hexadecimal[value][0] = digits[value >> 4];
            hexadecimal[value][1] = digits[value & 15];
        }
        for (value = 0; value < 100; value++) {
            decimal[value][0] = digits[value / 10];
            decimal[value][1] = digits[value % 10];
        }
    }

    static CYTHON_INLINE void write_uuid(char *to, const unsigned char *id) {
        static const signed char places[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
        int at;
        for (at = 0; at < 16; at++) memcpy(to + places[at], hexadecimal[id[at]], 2);
        to[8] = to[13] = to[18] = to[23] = '-';
    }

    static CYTHON_INLINE void write_micros(char *to, int micros) {
        memcpy(to, decimal[micros / 10000], 2);
        memcpy(to + 2, decimal[micros / 100 % 100], 2);
        memcpy(to + 4, decimal[micros % 100], 2);
    }
    """
    void prepare_digits() noexcept nogil
    void write_uuid(char *to, const unsigned char *id) noexcept nogil
    void write_micros(char *to, int micros) noexcept nogil

prepare_digits()


@cython.no_gc_clear
cdef class Correlations(dict):
    """What `ModelDataCollector.collect` returns: the columns that its rows carry beside their own. May be kept as JSON and
    given back later."""

    cdef public Context context
    cdef bint _changed
    """Somebody has written to it, perhaps."""

    def __setitem__(self, key, value):
        self._changed = True
        PyDict_SetItem(self, key, value)

    def __delitem__(self, key):
        self._changed = True
        PyDict_DelItem(self, key)

    def __ior__(self, other):
        self._changed = True
        return dict.__ior__(self, other)

    def __init__(self, *given, **named):
        self._changed = True
        dict.__init__(self, *given, **named)

    def clear(self):
        self._changed = True
        dict.clear(self)

    def pop(self, *given):
        self._changed = True
        return dict.pop(self, *given)

    def popitem(self):
        self._changed = True
        return dict.popitem(self)

    def setdefault(self, *given):
        self._changed = True
        return dict.setdefault(self, *given)

    def update(self, *given, **named):
        self._changed = True
        dict.update(self, *given, **named)


cdef str _uuid_text(const unsigned char *id):
    text = PyUnicode_New(36, 127)
    write_uuid(<char *>PyUnicode_1BYTE_DATA(text), id)
    return text


cpdef str text_of(object id):
    """An id as the CSV has it."""
    if isinstance(id, str):
        return id
    if len(<bytes?>id) != 16:
        raise ValueError("an id has 16 bytes")
    return _uuid_text(<unsigned char *>PyBytes_AS_STRING(id))


# The last second that was written, to the second: mostly the next call is in it too.
cdef long long _second = -1
cdef char _second_text[20]


cdef str _moment(long long time_ns):
    global _second
    cdef long long second = time_ns // 1_000_000_000
    cdef int fraction = <int>(time_ns % 1_000_000_000 // 1000)
    cdef char *to
    if second != _second:
        shown = (_epoch + datetime.timedelta(seconds=second)).isoformat().encode()
        # No Python code between the two.
        memcpy(_second_text, PyBytes_AS_STRING(shown), 19)
        _second = second
    text = PyUnicode_New(26, 127)
    to = <char *>PyUnicode_1BYTE_DATA(text)
    memcpy(to, _second_text, 19)
    to[19] = b"."
    write_micros(to + 20, fraction)
    return text


cpdef Correlations describe(Context context, dict constants):
    """The correlations of one call; `constants` has those of every call, and the order of all."""
    cdef Correlations made = Correlations.__new__(Correlations)
    PyDict_Update(made, constants)
    _fill(made, context)
    return made


cdef int _fill(Correlations made, Context context) except -1:
    """Writes what differs from call to call."""
    # An error on the way must leave nothing that could be taken for whole.
    made._changed = True
    PyDict_SetItem(made, _correlation, _uuid_text(context._raw) if context._text is None else context._text)
    PyDict_SetItem(made, _timestamp, _moment(context.time_ns))
    if context._request is not None:
        PyDict_SetItem(made, _request_key, text_of(context._request))
    made.context = context
    made._changed = False
    return 0


cdef class ValueWay:
    """`collect()` of a collector that returns its correlations by value."""

    cdef public ShortWay _own
    cdef public dict _constants
    cdef public bint _plain
    cdef Correlations _last, _last_but_one
    """What was returned lately: to make and to free them takes longer than all else."""

    @cython.final
    cdef Correlations _describe(self, Context context):
        """As `describe`, into what was returned the time before last if its receiver has dropped it as it was."""
        cdef Correlations made = self._last_but_one
        self._last_but_one = self._last
        if (
            made is None
            or Py_REFCNT(made) != 1
            or made._changed
            or made.context is None
            or made.context._request is not None
            or PyDict_Size(made) != PyDict_Size(self._constants)
        ):
            made = describe(context, self._constants)
        else:
            _fill(made, context)
        self._last = made
        return made

    @cython.binding(False)
    def collect(self, input_data, user_correlation_id="", *, correlations=None, request_id=None):
        """Copies `input_data` into memory, to be sent in the background, and returns the columns its rows carry.

        Inputs get a correlation id of their own, behind `user_correlation_id` and a hyphen where one is given. Predictions
        in the same request get that of their inputs. What comes later, or from elsewhere, names it: by `correlations` (what
        collecting the inputs returned, also when it was JSON in between; or the id alone), by `user_correlation_id`, by
        the columns of a frame, by `add_correlations`, or by the `request_id`.
        """
        cdef _Shape known
        try:
            known = self._own._known
            if (
                self._plain
                and correlations is None
                and request_id is None
                and (user_correlation_id is None or (type(user_correlation_id) is str and not user_correlation_id))
                and <object>type(input_data) is known.kind
                # A frame may carry the columns of its inputs.
                and known.labels is None
            ):
                return self._describe(self._own._collect_this(input_data, None, None, None, None, None))
        except Exception as error:
            return self._accident(error)
        return self._long_way(input_data, user_correlation_id, correlations, request_id)
