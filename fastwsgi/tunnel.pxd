cimport cython

cdef Py_ssize_t _RECORD, _MOST_UNSAID, _OVERHEAD, _MOST_OVERHEAD


@cython.final
cdef class Tunnel:
    cdef readonly bint established, ended
    cdef readonly dict client
    cdef bint _parted
    cdef object _incoming, _outgoing, _tls, _lock, _peer
    cdef bytes _records
    cdef Py_ssize_t _sent, _unsaid, _overhead

    @cython.locals(opened=bytes)
    cpdef bytes open(self, bytes data)
    @cython.locals(start=Py_ssize_t)
    cpdef object seal(self, bytes data)
    cpdef bytes records(self)
    cpdef Py_ssize_t sent(self)
    cpdef object advance(self, Py_ssize_t nbytes)
    cpdef Py_ssize_t owes(self) except -1
    cpdef bytes end(self)
    @cython.locals(farewell=bytes)
    cpdef bint part(self) except -1
    cdef bint _shake_hands(self) except -1
    cdef object _see_certificate(self)
    @cython.locals(overhead=Py_ssize_t)
    cdef object _weigh(self, Py_ssize_t came, Py_ssize_t opened)
    @cython.locals(pieces=list, piece=bytes)
    cdef bytes _read(self)
