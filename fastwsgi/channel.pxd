cimport cython

from ._courier cimport Courier as CCourier
from ._io cimport IO as CIO
from .connection cimport Connection
from .deadlines cimport Timed
from .endpoint cimport Endpoint
from .request cimport Request
from .response cimport Response
from .runner cimport Runner

cdef int DRAINED, FULL, GONE, READ
cdef Py_ssize_t _SENT_AHEAD, _SEALED_TOGETHER
cdef double BEAT, NEVER, _LONG


@cython.final
cdef class Channel(Timed):
    cdef readonly int fd
    cdef readonly Endpoint endpoint
    cdef readonly Connection connection
    cdef readonly int interest
    cdef public Request request
    cdef public Response response
    cdef public double arrived, started, resumed
    cdef public long long sends, sends_before
    cdef readonly bint lingers
    cdef public bint broken, running, waits
    cdef readonly bytes expired
    cdef public Runner runner
    cdef public object handover
    cdef readonly object tunnel
    cdef CIO _io
    cdef Py_ssize_t _offset, _discards
    cdef bint _registered, _is_hurried, _held

    cpdef object wait_for(self, int events)
    cpdef bint is_idle(self, double since)
    cpdef bint is_registered(self)
    cpdef bint owes(self) except -1
    cpdef object receive(self)
    cpdef int send(self, bint is_last=*) except -1
    @cython.locals(out=list, parts=list, sent=Py_ssize_t)
    cdef int _send_plain(self, bint is_last) except -1
    cpdef bint hold(self) except -1
    @cython.locals(courier=CCourier, left=bytes)
    cpdef object take_back(self)
    @cython.locals(outcome=int)
    cpdef bint send_through(self, Py_ssize_t left=*) except -1
    @cython.locals(connection=Connection, piece=bytes)
    cpdef bytes fetch(self, Request request)
    cpdef object skip_body(self, Request request)
    cdef bytes _receive_through(self)
    cpdef object interrupt(self, int how=*)
    cpdef object expire(self, bytes page)
    cpdef tuple give(self)
    cpdef bint is_given(self) except -1
    @cython.locals(seconds=double, is_unsent=bint)
    cpdef object log(self, Response response, double now)
    cpdef object log_expired(self, Response response, double now)
    cpdef object linger(self)
    cpdef bint discard(self) except -1
    cpdef object forget(self)
    cpdef object close(self)
    cdef object _hurry(self)
    cdef bint _is_reset(self) except -1
    @cython.locals(now=double, give_up=double)
    cdef bint _wait(self, event, double timeout) except -1
    @cython.locals(offset=Py_ssize_t, done=Py_ssize_t)
    cdef object _forget(self, list out, Py_ssize_t sent)
    @cython.locals(sent=Py_ssize_t)
    cdef Py_ssize_t _send_region(self, list out, region) except -2
    cdef object _advance_region(self, list out, region, Py_ssize_t sent)

    cdef object _open(self, bytes data)
    @cython.locals(out=list, sent=Py_ssize_t, is_over=bint)
    cdef int _send_sealed(self) except -1
    @cython.locals(parts=list, size=Py_ssize_t, offset=Py_ssize_t)
    cdef bytes _next_piece(self, list out)
    cdef Py_ssize_t _pending(self) except -1
    cdef object _say_farewell(self)
