cimport cython


@cython.final
cdef class Body:
    cdef readonly long long size
    cdef long long _limit, _spool_at
    cdef list _parts
    cdef object _file, _gathered, _open_spool

    cpdef object expect(self, long long nbytes)
    cpdef object write(self, bytes data)
    cpdef object open(self)
    cpdef bytes take(self)
    cpdef object close(self)
    cdef object _gather(self)
    @cython.locals(parts=list)
    cdef bytes _whole(self)
