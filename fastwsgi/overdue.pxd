cimport cython

from .channel cimport Channel
from .response cimport Response
from .runner cimport Runner
from .waiting cimport Waiting

cdef int DONE
cdef double BEAT, NEVER, _GRACE, _AGAIN


cdef class Overdue(Waiting):
    cdef double _request_timeout
    cdef object _worn

    cdef object _beat(self)
    @cython.locals(runner=Runner, channel=Channel, age=double, lost=Py_ssize_t)
    cdef object _look_after_app(self)
    cdef object _wear(self, why)
    @cython.locals(response=Response, page=bytes)
    cdef object _expire(self, Channel channel, Runner runner, double age)
    cdef object _come_late(self, Channel channel, Response response)
