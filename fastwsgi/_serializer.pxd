cimport cython
from libc.stdint cimport uint8_t


@cython.final
cdef class Serializer:
    cdef uint8_t *buffer
    cdef Py_ssize_t capacity
    cdef dict status_lines
    cdef dict names  # of header fields that were checked, and what they mean
    cdef tuple stamp_lines
    cdef bytes server
    cdef readonly int code
    cdef readonly long long length
    cdef readonly bint closes
    cdef readonly int stamps

    cpdef object stamp(self, str date)
    cpdef bytes render(self, object status, object headers)
    cpdef bytes assemble(self, bytes block, int stamps, long long framing, bytes connection, bytes body)

    cdef uint8_t *room(self, Py_ssize_t used, Py_ssize_t wanted) except NULL
    cdef tuple status_line(self, status)
    cdef bint drops(self, int meaning, str value) except -1
