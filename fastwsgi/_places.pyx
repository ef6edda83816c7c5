# cython: language_level=3, boundscheck=False, wraparound=False
"""The request that each thread has in the app, in shared memory: the compiled form of `_places_py.py`.

This is on the way of every request: a bounded copy and a few stores, which make no objects.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy

from . import _places_py

cdef extern from "Python.h":
    enum: PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from *:
    """
    /* What was written before is seen by whoever sees this value. */
    static inline void fastwsgi_publish(double *cell, double value) {
        __atomic_store(cell, &value, __ATOMIC_RELEASE);
    }
    /* What is written from here on is seen by nobody who does not see what was written before. */
    static inline void fastwsgi_fence(void) {
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
    """
    void fastwsgi_publish(double *cell, double value) noexcept nogil
    void fastwsgi_fence() noexcept nogil

cdef enum:
    PLACES = 64
    THREADS = 1024
    METHOD = 24
    TARGET = 192

if (PLACES, THREADS, METHOD, TARGET, sizeof(Place)) != (
    _places_py.PLACES,
    _places_py.THREADS,
    _places_py.METHOD,
    _places_py.TARGET,
    _places_py.PLACE,
):
    raise AssertionError("_places.pyx and _places_py.py disagree")


@cython.final
cdef class Places:

    def __cinit__(self, memory, Py_ssize_t loop=0, Py_ssize_t loops=1):
        PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
        if self._memory.len < <Py_ssize_t>(PLACES * sizeof(Place) + (THREADS - PLACES) * sizeof(double)):
            raise ValueError("not enough memory for the places of a worker")
        # Invariant: both point into the buffer, which is held until this object goes.
        self._places = <Place *>self._memory.buf
        self._rest = <double *>(self._places + PLACES)
        self._loop = loop
        self._loops = loops

    def __dealloc__(self):
        PyBuffer_Release(&self._memory)

    cpdef Py_ssize_t sit(self, Py_ssize_t thread, unsigned long long identity) except -1:
        cdef Py_ssize_t index = self._loop + thread * self._loops
        if index < PLACES:
            self._places[index].thread = identity
        return index

    cpdef void enter(self, Py_ssize_t thread, double now, str method, str target) noexcept:
        cdef Py_ssize_t index = self._loop + thread * self._loops
        cdef Place *place
        if index >= PLACES:
            if index < THREADS:
                self._rest[index - PLACES] = now
            return
        place = self._places + index
        place.since = 0.0
        place.number += 1
        fastwsgi_fence()
        place.method_length = put(place.method, METHOD, method)
        place.target_length = put(place.target, TARGET, target)
        fastwsgi_publish(&place.since, now)

    cpdef void leave(self, Py_ssize_t thread) noexcept:
        cdef Py_ssize_t index = self._loop + thread * self._loops
        if index < PLACES:
            self._places[index].since = 0.0
        elif index < THREADS:
            self._rest[index - PLACES] = 0.0


cdef inline size_t put(char *target, size_t room, str word) noexcept:
    """Copy the beginning of `word`, and return its length; 0 for what no parser makes."""
    cdef size_t length
    if word is None or PyUnicode_KIND(word) != PyUnicode_1BYTE_KIND:
        return 0
    length = PyUnicode_GET_LENGTH(word)
    memcpy(target, PyUnicode_DATA(word), length if length < room else room)
    return length
