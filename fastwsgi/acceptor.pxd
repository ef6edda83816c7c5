cimport cython

from .endpoint cimport Endpoint


@cython.final
cdef class Acceptor:
    cdef readonly int fd
    cdef readonly Endpoint endpoint
