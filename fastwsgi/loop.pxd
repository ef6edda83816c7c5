cimport cython

from ._io cimport IO as CIO
from ._places cimport Places as CPlaces
from .acceptor cimport Acceptor
from .channel cimport Channel
from .connection cimport Connection
from .crew cimport Crew
from .deadlines cimport Deadlines, Timed
from .reception cimport Reception
from .response cimport Response
from .runner cimport Runner
from .seats cimport Seats
from ._serializer cimport Serializer as CSerializer

cdef int READ, WRITE, DRAINED, GONE, _HELD, _ACCEPT_BATCH
cdef double NEVER, BEAT, _HELD_FOR, _YIELDS_FOR, _LINGER, _LAST_CALL


cdef class Loop:
    cdef object _error_log, _access_log, _heartbeat, _error, _context, _leave, _let_run, _own
    cdef CIO _io
    cdef Deadlines _deadlines
    cdef CPlaces _places
    cdef CSerializer _serializer
    cdef Crew _crew
    cdef Reception _reception
    cdef Seats _seats
    cdef Runner _runner
    cdef Channel _current
    cdef set _channels
    cdef str _date
    cdef Py_ssize_t _backlog
    cdef readonly list runners
    cdef list _held, _runnable, _due
    cdef double _held_since, _now, _polled, _next_beat, _next_second, _pace, _stop_at
    cdef int _ready, _index, _threads
    cdef bint _stopped, _stopping, _is_fork

    cdef object _on_channel(self, Channel channel, int events)
    cdef object _on_deadline(self, Channel channel)
    cdef object _read(self, Channel channel)
    cdef object _resume(self, Channel channel)
    cdef object _abandon(self, Channel channel)
    cpdef object _early_hints(self, fields)
    cdef bint _contain(self, error, int failures) except -1
    cdef object _serve_waiting(self, Runner me)
    cdef bint _has_work(self) except -1
    cdef double _last_progress(self) except -1

    @cython.locals(channel=Channel)
    cpdef object disown(self)
    @cython.locals(channel=Channel)
    cdef object _close(self)
    cdef Runner _add_runner(self)
    @cython.locals(failures=int)
    cdef object _work(self, Runner me)
    cdef bint _has_ended(self) except -1
    cdef bint _has_lost(self, Runner me)
    @cython.locals(io=CIO, channel=Channel, index=int)
    cdef object _turn(self, Runner me)
    @cython.locals(timeout=double, longest=double, count=int, is_left=bint)
    cdef object _wait(self)
    @cython.locals(now=double, wall=double)
    cdef object _beat(self)
    @cython.locals(channel=Channel)
    cdef object _accept(self, Acceptor acceptor, Runner me)
    @cython.locals(channel=Channel, idle=Channel)
    cdef Channel _take(self, Acceptor acceptor)
    cdef object _share(self)
    cdef bint _may_hold(self)
    @cython.locals(channel=Channel, current=Channel)
    cdef object _send_held(self)
    cdef object _hold(self, Channel channel)
    @cython.locals(connection=Connection, deadline=double)
    cdef object _settle(self, Channel channel)
    @cython.locals(outcome=int, timeout=double)
    cdef bint _flush(self, Channel channel) except -1
    cdef object _drop(self, Channel channel)
