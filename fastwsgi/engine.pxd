cimport cython

from .channel cimport Channel
from .connection cimport Connection
from .overdue cimport Overdue
from .request cimport Request
from .response cimport Response
from .runner cimport Runner

cdef int READ, WRITE, HANGUP, PULLING, EXHAUSTED, DONE
cdef double _SOON
cdef double NEVER, QUICK, _SHAKES_FOR, _FORGETS, SLICE, _GIVES_UP
cdef Py_ssize_t _SENT_TOGETHER, _PIECES_TOGETHER, ANY_NUMBER


# Not final: Cython takes the overriding of a method in such a class for that of a final one.
cdef class Engine(Overdue):
    cdef readonly long long requests
    cdef object _app, _observer
    cdef long long _last_request
    cdef bint _has_warned
    cdef double _shaken, _shaken_in

    cdef object _on_channel(self, Channel channel, int events)
    cdef object _on_deadline(self, Channel channel)
    @cython.locals(connection=Connection, request=Request, is_known=bint)
    cdef object _read(self, Channel channel)
    @cython.locals(began=double)
    cdef object _shake_hands(self, Channel channel)
    @cython.locals(connection=Connection, interest=int)
    cdef object _meanwhile(self, Channel channel, int events)
    @cython.locals(response=Response, request=Request)
    cdef object _resume(self, Channel channel)

    @cython.locals(response=Response)
    cdef Response _begin(self, Channel channel, Request request)
    @cython.locals(response=Response, began=double)
    cdef object _serve(self, Channel channel, Request request)
    cdef object _go_on(self, Channel channel, Response response)
    @cython.locals(connection=Connection, is_long=bint)
    cdef Request _next(self, Channel channel, Response response, double began)
    cdef bint _may_gather(self, Connection connection) except -1
    @cython.locals(began=double, before=double, now=double, is_more=bint, is_long=bint, may_hold=bint,
                    is_first=bint)
    cdef bint _drive(self, Channel channel, Response response) except -1
    @cython.locals(runner=Runner, request=Request)
    cdef object _step_down(self, Channel channel, Response response)
    @cython.locals(runner=Runner, response=Response)
    cdef object _step_up(self, Channel channel)
    cdef bint _leads(self, Channel channel)
    cdef object _postpone(self, Channel channel)
    cdef object _finish(self, Channel channel)
    @cython.locals(response=Response)
    cdef object _abandon(self, Channel channel)
    @cython.locals(now=double)
    cdef object _complete(self, Channel channel, Response response)
    cdef object _show(self, Channel channel, Response response)
    @cython.locals(channel=Channel)
    cpdef object _transmit(self, owner)
    @cython.locals(channel=Channel, response=Response)
    cpdef object _early_hints(self, fields)

    cdef object _offer(self, Channel channel, Request request)
    cpdef tuple _give(self, Channel channel, Request request)
    cdef bint _answers(self, Channel channel, Request request) except -1
    cdef object _part(self, Channel channel, Response response)
    cdef object _see_off(self, Channel channel)
