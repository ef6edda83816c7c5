# cython: language_level=3, boundscheck=False, wraparound=False
"""A lock that is nearly always free, without a call of Python: the compiled form of `_lock_py.py`.

Two pairs of acquire() and release() are on the way of a request with threads. As methods of `threading.Lock`
they took longer than all else that threads cost there.
"""

cimport cython
from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
)


@cython.final
cdef class Lock:

    def __cinit__(self, other=None):
        self._other = other
        # Invariant: it is there from here on until this object goes.
        self._lock = PyThread_allocate_lock()
        if self._lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)

    cpdef object acquire(self):
        if self._other is not None:
            self._other.acquire()
        elif not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            # Who holds it may need the GIL to go on.
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)

    cpdef object release(self):
        if self._other is not None:
            self._other.release()
        else:
            PyThread_release_lock(self._lock)
