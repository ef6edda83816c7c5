cimport cython

from ._lock cimport Lock as CLock

cdef int NO_THREAD
cdef double NEVER, _YIELD, _PAUSE, _MOMENT, _FORCED, _PATIENCE


@cython.final
cdef class Crew:
    cdef public int leader
    cdef readonly bint ended
    cdef CLock _lock
    cdef object _start, _clock, _sleep, _make_lock
    cdef list _beds, _resting
    cdef Py_ssize_t _size
    cdef bint _stands_by, _yields
    cdef int _led_last
    cdef long long _calls
    cdef double _unforced, _called_at

    cpdef object take(self)
    cpdef object leave(self)
    cpdef object step_down(self, int me)
    cpdef object step_up(self, int me)
    cpdef bint join(self, int me) except -1
    cpdef bint rest(self, int me) except -1
    cpdef object dismiss(self)
    cdef object _call(self)
    cdef object _nap(self, double pause)
    cdef object _add_bed(self)
    @cython.locals(is_needed=bint)
    cdef bint _stand_by(self, int me) except -1
    @cython.locals(began=double, waited=double, give_up=double, pause=double, call=cython.longlong, is_same=bint)
    cdef bint _is_needed(self) except -1
