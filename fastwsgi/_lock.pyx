# cython: language_level=3, boundscheck=False, wraparound=False
"""A lock that is nearly always free, without a call of Python: the compiled form of `_lock_py.py`.

One pair of acquire() and release() or two are on the way of a request with threads. As methods of
`threading.Lock` they took longer than all else that threads cost there; the locks of CPython below those read
the clock (3.11), which a mutex of the system does not.
"""

cimport cython


cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_trylock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)


@cython.final
cdef class Lock:

    def __cinit__(self, other=None):
        # Invariant: it is there from here on until this object goes.
        if pthread_mutex_init(&self._mutex, NULL) != 0:
            raise MemoryError
        self._other = other

    def __dealloc__(self):
        pthread_mutex_destroy(&self._mutex)

    cpdef object acquire(self):
        if self._other is not None:
            self._other.acquire()
        elif pthread_mutex_trylock(&self._mutex) != 0:
            # Who holds it may need the GIL to go on.
            with nogil:
                pthread_mutex_lock(&self._mutex)

    cpdef object release(self):
        if self._other is not None:
            self._other.release()
        else:
            pthread_mutex_unlock(&self._mutex)
