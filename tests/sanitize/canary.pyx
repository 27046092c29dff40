# distutils: language = c++
"""Reads one byte behind a buffer, on purpose: built like the kernels, it shows that they would be caught."""

from libc.stdlib cimport calloc, free


def beyond(int size):
    """The byte behind `size` bytes."""
    cdef unsigned char* block = <unsigned char*>calloc(size, 1)
    cdef unsigned char found
    with nogil:
        found = block[size]
        free(block)
    return found


def overflow(int value):
    """One more than `value`, which must not be the largest int."""
    return value + <int>1
