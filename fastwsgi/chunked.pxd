cimport cython

from .body cimport Body

cdef int SIZE, DATA, DATA_END, TRAILER, DONE


@cython.final
cdef class ChunkedDecoder:
    cdef Py_ssize_t _max_fields, _max_field_size, _fields, _extensions
    cdef long long _remaining
    cdef int _state
    cdef bytes _line

    @cython.locals(position=Py_ssize_t, end=Py_ssize_t, taken=Py_ssize_t, newline=Py_ssize_t, line=bytes)
    cpdef Py_ssize_t decode(self, bytes data, Py_ssize_t start, Body body) except -1
    cdef object _measure(self, bytes line)
    cdef object _on_line(self, bytes line, Body body)
    cdef object _on_size(self, bytes line, Body body)
    cdef object _on_trailer(self, bytes line)
