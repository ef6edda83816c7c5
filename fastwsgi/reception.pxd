cimport cython

from ._io cimport IO as CIO
from .acceptor cimport Acceptor
from .channel cimport Channel
from .connection cimport Connection

cdef double _PAUSE, _COMPLAINS_EVERY, _FREED_AT_ONCE
cdef int ANY_NUMBER


@cython.final
cdef class Reception:
    cdef readonly list acceptors
    cdef readonly set channels
    cdef readonly bint is_open, yields
    cdef bint _has_siblings, _is_stale
    cdef CIO _io
    cdef object _error_log, _company
    cdef Py_ssize_t _limit
    cdef double _again_at, _complain_at

    cpdef object open(self, double now)
    cpdef object close(self)
    cpdef object reopen(self, double now)
    @cython.locals(count=Py_ssize_t)
    cpdef object share(self, bint is_free, double now)
    cpdef object part(self, Channel channel)
    cpdef object show(self)
    cpdef object stop_sharing(self, double now)
    @cython.locals(io=CIO, fd=int, connection=Connection, channel=Channel)
    cpdef Channel take(self, Acceptor acceptor, double now)
    cdef object _give_up(self, int fd, double now, why)
    cpdef bint is_crowded(self)
    @cython.locals(channel=Channel)
    cpdef list make_room(self, double now)
    cdef Py_ssize_t _room(self) except? -1
    @cython.locals(channel=Channel)
    cdef bint _has_idle(self, double now) except -1
