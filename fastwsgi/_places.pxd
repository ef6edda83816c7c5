cimport cython


cdef struct Place:
    double since
    unsigned long long number, thread, method_length, target_length
    char method[24]
    char target[192]


@cython.final
cdef class Places:
    cdef Py_buffer _memory
    cdef Place *_places
    cdef double *_rest
    cdef Py_ssize_t _loop, _loops

    cpdef Py_ssize_t sit(self, Py_ssize_t thread, unsigned long long identity) except -1
    cpdef void enter(self, Py_ssize_t thread, double now, str method, str target) noexcept
    cpdef void leave(self, Py_ssize_t thread) noexcept
