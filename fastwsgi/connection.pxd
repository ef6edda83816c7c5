cimport cython

from .body cimport Body
from .chunked cimport ChunkedDecoder
from .endpoint cimport Endpoint
from .request cimport Request

cdef int IDLE, HEAD, BODY, BUSY, CLOSING, STREAM, PROXY
cdef long long _NEVER_SPOOLED
cdef Py_ssize_t _READ_AHEAD
cdef double NEVER


@cython.final
cdef class Connection:
    cdef readonly int state
    cdef readonly list out
    cdef public double deadline
    cdef readonly object error
    cdef public bint ended
    cdef readonly bint unread
    cdef readonly long long served
    cdef Endpoint _endpoint
    cdef str _remote_addr, _remote_port
    cdef bint _trusted, _is_last
    cdef dict _base
    cdef object _buffer
    cdef Py_ssize_t _offset, _searched
    cdef Request _request
    cdef Body _body
    cdef ChunkedDecoder _decoder
    cdef long long _to_come
    cdef readonly double began
    cdef double _seen

    cpdef object say(self, dict words)
    cpdef bint is_closing(self)
    cpdef bint is_over(self)
    cpdef bint is_busy(self)
    cpdef bint is_streaming(self)
    cpdef bint is_idle(self, double since)
    cpdef bint is_at_rest(self)
    cpdef bint wants_more(self) except -1
    cpdef bint ahead(self)
    @cython.locals(pending=Py_ssize_t)
    cpdef Py_ssize_t pending(self) except -1
    @cython.locals(behind=bytes)
    cpdef Request receive(self, bytes data, double now)
    @cython.locals(request=Request, start=Py_ssize_t, keepalive=double)
    cpdef Request next_request(self, double now)
    cpdef object end_of_stream(self)
    cpdef object time_out(self)
    cpdef object starve(self)
    cpdef bytes give(self)
    cpdef object reject(self)
    cpdef object close(self)
    cpdef bint awaits_header(self)
    cpdef bytes take_header(self, bytes data)
    @cython.locals(endpoint=Endpoint, request=Request)
    cdef Request _parse(self, bytes data, Py_ssize_t start, double now)
    @cython.locals(endpoint=Endpoint, whole=bytes)
    cdef Request _receive_head(self, bytes data, double now)
    @cython.locals(endpoint=Endpoint, start=Py_ssize_t, length=cython.longlong, available=Py_ssize_t,
                   spool_at=cython.longlong, whole=Request)
    cdef Request _begin(self, Request request, bytes data, double now)
    cpdef object ask(self)
    @cython.locals(body=Body, position=Py_ssize_t)
    cpdef bytes take(self, bytes data)
    @cython.locals(body=Body, position=Py_ssize_t)
    cdef Py_ssize_t _decode(self, bytes data, Py_ssize_t start) except -2
    @cython.locals(body=Body, request=Request, environ=dict, position=Py_ssize_t, timeout=double)
    cdef Request _receive_body(self, bytes data, Py_ssize_t start, double now)
    cdef Request _hand_out(self, Request request, bytes data, Py_ssize_t end)
    cdef object _release_body(self)
    @cython.locals(page=bytes)
    cdef object _refuse(self, error, head)
    cdef object _log(self, str status, head, Py_ssize_t nbytes)
