cimport cython

from ._serializer cimport Serializer as CSerializer
from .endpoint cimport Endpoint
from .request cimport Request

cdef int PULLING, SENDING, EXHAUSTED, DONE
cdef object _next, _END
cdef int _NO_FRAMING, _CHUNKED, _JOINED_UP_TO

cpdef bytes error_page(CSerializer serializer, int status, bint is_head=*)


@cython.final
@cython.freelist(32)
cdef class Response:
    cdef readonly Request request
    cdef readonly object owner
    cdef readonly object status
    cdef readonly object headers
    cdef readonly int code
    cdef readonly long long body_size
    cdef public bint keep_alive
    cdef readonly bint head_sent, is_abandoned, chunked
    cdef readonly int state
    cdef readonly object failure
    cdef readonly str complaint
    cdef public CSerializer serializer
    cdef public object view
    cdef Endpoint _endpoint
    cdef list _out
    cdef bytes _block
    cdef int _stamps
    cdef long long _remaining
    cdef object _iterable, _iterator, _context, _call

    cpdef object begin(self, Endpoint endpoint, Request request, list out, object owner,
                       object context)
    @cython.locals(serializer=CSerializer)
    cpdef object start_response(self, status, headers, exc_info=*)
    cpdef object hint(self, fields)
    cpdef object run(self, app)
    cpdef bint pull(self) except -1
    cpdef bint has_all(self)
    cpdef object finish(self)
    cpdef object fail(self, error)
    cpdef object switch(self)
    cpdef object abandon(self)
    cpdef object lose(self)
    cpdef object show(self, observer)
    cpdef object report(self, log, bint is_client_gone)
    cdef bint _has_no_body(self)
    @cython.locals(length=cython.longlong)
    cdef object _add_whole(self, parts)
    @cython.locals(length=cython.longlong)
    cdef object _add_file(self, region)
    @cython.locals(length=cython.longlong)
    cdef object _add(self, data)
    @cython.locals(no_body=bint, framing=cython.longlong, connection=bytes, joins=bint)
    cdef object _add_head(self, bytes data, long long length)
    @cython.locals(length=cython.longlong)
    cdef object _add_data(self, bytes data)
    cdef object _exhaust(self)
    cdef object _check_length(self)
