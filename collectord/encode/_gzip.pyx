# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""DEFLATE of a text whose repetitions are known, without the GIL. How it is done: `_deflate.h`."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport int64_t


cdef extern from "Python.h":
    PyObject* PyBytes_FromStringAndSize(const char* text, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject** bytes, Py_ssize_t size) except -1
    char* PyBytes_AS_STRING(PyObject* bytes) nogil


cdef extern from "_deflate.h" namespace "collectord" nogil:
    struct Sequence:
        pass


cdef extern from "_deflate.h" namespace "collectord::deflate" nogil:
    struct Given:
        const char* text
        int64_t size
        const Sequence* sequences
        int64_t count

    int64_t bound(int64_t size) noexcept
    bint fit(const Given& given) noexcept
    int64_t write(const Given& given, char* out) noexcept


def deflate(const unsigned char[::1] text not None, const unsigned char[::1] matches not None):
    """`matches` are those of `TextBuffer.matches`. Returns a raw stream (RFC 1951). Raises ValueError if the matches lead out of
    the text."""
    cdef Given given
    cdef bint fits
    cdef int64_t size
    if matches.shape[0] % sizeof(Sequence):
        raise ValueError(f"matches of {matches.shape[0]} bytes are cut off")
    given.text = <const char*>&text[0] if text.shape[0] else NULL
    given.size = text.shape[0]
    given.sequences = <const Sequence*>&matches[0] if matches.shape[0] else NULL
    given.count = matches.shape[0] // sizeof(Sequence)
    with nogil:
        fits = fit(given)
    if not fits:
        raise ValueError("a match leads out of the text")
    # As many as could be needed, then cut: pages that nothing is written to take no memory.
    cdef PyObject* made = PyBytes_FromStringAndSize(NULL, bound(given.size))
    try:
        with nogil:
            size = write(given, PyBytes_AS_STRING(made))
        _PyBytes_Resize(&made, size)
        return <object>made
    finally:
        Py_XDECREF(made)
