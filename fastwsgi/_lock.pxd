cimport cython

cdef extern from "<pthread.h>":
    ctypedef struct pthread_mutex_t:
        pass


@cython.final
cdef class Lock:
    cdef pthread_mutex_t _mutex
    cdef object _other

    cpdef object acquire(self)
    cpdef object release(self)
