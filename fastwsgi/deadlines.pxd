cimport cython

cdef double NEVER
cdef int _TICKS_PER_SECOND


cdef class Timed:
    cdef public double deadline
    cdef public long long tick


@cython.final
cdef class Deadlines:
    cdef dict _buckets
    cdef readonly long long next_tick

    cpdef object schedule(self, Timed item, double deadline)
    cpdef object cancel(self, Timed item)
    cpdef bint is_due(self, double now)
    @cython.locals(current=cython.longlong, tick=cython.longlong, item=Timed, due=list)
    cpdef list expire(self, double now)
    cpdef double wait(self, double now, double longest)
    @cython.locals(bucket=set)
    cdef object _file(self, Timed item, long long tick)
    @cython.locals(bucket=set, tick=cython.longlong)
    cdef object _take_out(self, Timed item)
