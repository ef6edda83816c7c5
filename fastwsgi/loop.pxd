cimport cython

from ._io cimport IO as CIO
from ._serializer cimport Serializer as CSerializer
from .channel cimport Channel
from .connection cimport Connection
from .deadlines cimport Deadlines, Timed
from .request cimport Request
from .response cimport Response

cdef int READ, WRITE, HANGUP, PULLING, EXHAUSTED, DONE, DRAINED, GONE, _HELD, _ACCEPT_BATCH
cdef double NEVER, _BEAT, _HELD_FOR, _SLICE, _LINGER
cdef Py_ssize_t _SENT_TOGETHER, _PIECES_TOGETHER


@cython.final
cdef class Loop:
    cdef readonly long long requests
    cdef object _context, _clean_context, _app, _error_log, _access_log, _heartbeat
    cdef CIO _io
    cdef Deadlines _deadlines
    cdef CSerializer _serializer
    cdef set _channels
    cdef Py_ssize_t _max_channels, _backlog
    cdef list _held, _runnable, _due, _acceptors
    cdef Channel _current
    cdef double _held_since, _now, _next_beat, _next_second, _pace, _stop_at, _accept_again_at
    cdef int _ready
    cdef bint _keeps_alive, _stopped, _stopping, _accepting

    @cython.locals(channel=Channel, response=Response)
    cdef bint _contain(self) except -1
    @cython.locals(io=CIO, timeout=double, count=int, index=int)
    cdef object _turn(self)
    @cython.locals(now=double, wall=double)
    cdef object _beat(self)
    cdef object _start_accepting(self)
    cdef object _stop_accepting(self)
    @cython.locals(io=CIO, listener=int, fd=int, connection=Connection, channel=Channel)
    cdef bint _accept(self, acceptor) except -1
    cdef object _on_channel(self, Channel channel, int events)
    @cython.locals(channel=Channel)
    cdef object _on_deadline(self, Timed item)
    @cython.locals(connection=Connection, request=Request)
    cdef object _read(self, Channel channel)
    @cython.locals(response=Response)
    cdef object _resume(self, Channel channel)
    @cython.locals(response=Response, began=double)
    cdef object _serve(self, Channel channel, Request request)
    @cython.locals(connection=Connection, is_long=bint)
    cdef Request _next(self, Channel channel, Response response, double began)
    cdef bint _may_gather(self, Connection connection) except -1
    cdef object _postpone(self, Channel channel)
    @cython.locals(began=double)
    cdef bint _drive(self, Channel channel, Response response) except -1
    @cython.locals(channel=Channel)
    cdef object _run_again(self)
    @cython.locals(now=double, taken=double)
    cdef object _complete(self, Channel channel, Response response)
    cdef object _report(self, Channel channel, Response response)
    @cython.locals(channel=Channel)
    cpdef object _transmit(self, owner)
    cdef object _finish(self, Channel channel)
    @cython.locals(channel=Channel, current=Channel)
    cdef object _send_held(self)
    @cython.locals(connection=Connection)
    cdef object _settle(self, Channel channel)
    @cython.locals(outcome=int, timeout=double)
    cdef bint _flush(self, Channel channel) except -1
    @cython.locals(response=Response)
    cdef object _drop(self, Channel channel)
