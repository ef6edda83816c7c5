cimport cython


@cython.final
cdef class _Fields:
    cdef bytes url
    cdef list found
