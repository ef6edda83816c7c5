cimport cython


cdef class Seats:
    cdef readonly object heartbeat
    cdef Py_ssize_t _size, _taken, _queued

    cpdef bint has_room(self)
    cpdef bint are_scarce(self)
    cpdef bint line_up(self, wake, Py_ssize_t limit) except -1
    cpdef bint is_next(self, wake) except -1
    cpdef object leave_queue(self, wake)
    cpdef object pass_on(self, wake)
    cpdef object take(self, double now, bint can_wait)
    cpdef object give_back(self, wake)
    cpdef object keep(self, int change)
    cpdef bint are_lost(self, wake, Py_ssize_t count) except -1
    cpdef double last_return(self, list runners, double now) except -1


cdef class SharedSeats(Seats):
    cdef double _since
    cdef Py_ssize_t _kept
    cdef object _make_lock, _lock, _late, _lost, _queue

    @cython.locals(place=Py_ssize_t)
    cpdef bint is_next(self, wake) except -1
    cpdef object _note(self, double now)
    @cython.locals(place=Py_ssize_t)
    cdef object _offer(self, wake)
