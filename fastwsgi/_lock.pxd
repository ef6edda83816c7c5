cimport cython
from cpython.pythread cimport PyThread_type_lock


@cython.final
cdef class Lock:
    cdef PyThread_type_lock _lock
    cdef object _other

    cpdef object acquire(self)
    cpdef object release(self)
