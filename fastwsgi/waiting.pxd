cimport cython

from .channel cimport Channel
from .connection cimport Connection
from .loop cimport Loop
from .request cimport Request
from .response cimport Response
from .runner cimport Runner

cdef int READ
cdef double NEVER, QUICK, SLICE, _SLEEP
cdef Py_ssize_t ANY_NUMBER


cdef class Waiting(Loop):
    cdef object _waiting, _wake
    cdef Py_ssize_t _max_queue
    cdef double _queue_timeout, _looked

    cdef Response _begin(self, Channel channel, Request request)
    cdef object _serve(self, Channel channel, Request request)
    cdef object _go_on(self, Channel channel, Response response)
    cdef object _complete(self, Channel channel, Response response)
    cdef object _finish(self, Channel channel)

    @cython.locals(before=double, began=double, may_sleep=bint)
    cdef object _wait(self)
    cdef bint _has_work(self) except -1
    cdef bint _is_overdue(self, Channel channel)
    cdef object _enqueue(self, Channel channel, Request request, Py_ssize_t limit)
    cdef bint _wait_for_app(self, Channel channel, Py_ssize_t limit) except -1
    @cython.locals(channel=Channel, request=Request, response=Response, longest=double)
    cdef object _serve_waiting(self, Runner me)
    @cython.locals(response=Response, request=Request, connection=Connection)
    cdef object _refuse(self, Channel channel)
    cdef double _last_progress(self) except -1
    @cython.locals(channel=Channel, response=Response)
    cdef bint _contain(self, error, int failures) except -1
    cdef object _apologise(self, Channel channel, Response response)
