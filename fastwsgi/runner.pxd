cimport cython

from ._courier cimport Courier as CCourier
from ._places cimport Places as CPlaces
from ._serializer cimport Serializer as CSerializer


@cython.final
cdef class Runner:
    cdef readonly int number
    cdef readonly Py_ssize_t place
    cdef readonly object gate, identity, find
    cdef readonly CSerializer serializer
    cdef readonly CCourier courier
    cdef readonly object context
    cdef object _clean
    cdef str _date
    cdef public object job
    cdef public double since
    cdef public bint relieves

    cpdef object sit(self, CPlaces places)
    cpdef bint is_parted(self) except -1
    cpdef object stamp(self, str date)
    cpdef object renew_context(self)
