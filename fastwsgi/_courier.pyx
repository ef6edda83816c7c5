# cython: language_level=3, boundscheck=False, wraparound=False
"""Pieces of a response that are sent together, soon: the compiled form of `_courier_py.py`.

What the thread of C does stands in `_courier.h`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EPIPE
from libc.string cimport memcpy

cdef extern from "_courier.h" nogil:
    ctypedef struct fastwsgi_courier:
        char *data
        size_t begun, size
        int sends, is_gone
    fastwsgi_courier *courier_new()
    void courier_free(fastwsgi_courier *it)
    char *courier_begin(fastwsgi_courier *it, int fd, size_t size)
    void courier_end(fastwsgi_courier *it, size_t size)
    void courier_lock(fastwsgi_courier *it)
    void courier_unlock(fastwsgi_courier *it)


@cython.final
cdef class Courier:
    def __cinit__(self):
        self._it = courier_new()
        if self._it == NULL:
            raise MemoryError
        self.sends = 0

    def __dealloc__(self):
        courier_free(<fastwsgi_courier *>self._it)

    cpdef bint carry(self, int fd, list out) except -1:
        cdef fastwsgi_courier *it = <fastwsgi_courier *>self._it
        cdef size_t size = 0, left
        cdef char *room
        for piece in out:
            if type(piece) is not bytes:
                return False
            size += PyBytes_GET_SIZE(<bytes>piece)
        room = courier_begin(it, fd, size)
        if room == NULL:
            return False
        # Invariant: room has size bytes, and the lock is held; nothing here runs Python code.
        left = size
        for piece in out:
            # Without a GIL, write() in a thread of the app's own can have added to it by now.
            if type(piece) is not bytes or <size_t>PyBytes_GET_SIZE(<bytes>piece) > left:
                courier_end(it, 0)
                return False
            memcpy(room, PyBytes_AS_STRING(<bytes>piece), PyBytes_GET_SIZE(<bytes>piece))
            room += PyBytes_GET_SIZE(<bytes>piece)
            left -= PyBytes_GET_SIZE(<bytes>piece)
        courier_end(it, size - left)
        out.clear()
        return True

    cpdef bytes give_back(self):
        cdef fastwsgi_courier *it = <fastwsgi_courier *>self._it
        cdef bytes left = b""
        cdef bint is_gone
        courier_lock(it)
        # Invariant: without the lock the courier may send; it is held until nothing is left to it.
        try:
            if it.size != it.begun:
                left = PyBytes_FromStringAndSize(it.data + it.begun, it.size - it.begun)
        finally:
            self.sends = it.sends
            is_gone = it.is_gone
            it.begun = it.size = 0
            it.sends = it.is_gone = 0
            courier_unlock(it)
        if is_gone:
            raise BrokenPipeError(EPIPE, "the client has gone")
        return left
