cimport cython


@cython.final
cdef class Courier:
    cdef void *_it  # a fastwsgi_courier
    cdef readonly int sends

    cpdef bint carry(self, int fd, list out) except -1
    cpdef bytes give_back(self)
