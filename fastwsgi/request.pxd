cimport cython


@cython.final
@cython.freelist(64)
cdef class Request:
    cdef public dict environ
    cdef public str method, target
    cdef public int version
    cdef public Py_ssize_t head_end
    cdef public long long content_length
    cdef public bint is_head, keep_alive, expect_continue, upgrade
    cdef public object stream
