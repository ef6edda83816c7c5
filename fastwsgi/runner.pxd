cimport cython

from ._serializer cimport Serializer as CSerializer


@cython.final
cdef class Runner:
    cdef readonly int number
    cdef readonly CSerializer serializer
    cdef readonly object context
    cdef object _clean
    cdef str _date
    cdef public object job
    cdef public double since
    cdef public bint relieves

    cpdef bint is_parted(self) except -1
    cpdef object stamp(self, str date)
    cpdef object renew_context(self)
