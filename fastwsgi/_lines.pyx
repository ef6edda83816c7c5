# cython: language_level=3, boundscheck=False, wraparound=False
"""Lines of the access log from a plan: the compiled form of `_lines_py.py`, which documents the interface.

A line is written into memory of the call's own, so threads may share one object.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.list cimport PyList_Append
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from . import _lines_py

cdef extern from "Python.h":
    enum: PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    ROOM = 1024       # of most lines, on the stack
    MOST_DIGITS = 20  # of a number of 64 bits, with its sign

cdef int NOTHING = _lines_py.NOTHING
cdef int TEXT = _lines_py.TEXT
cdef int FILLED = _lines_py.FILLED
cdef int DERIVED = _lines_py.DERIVED
cdef int STATUS = _lines_py.STATUS
cdef int SIZE = _lines_py.SIZE
cdef int SCALED = _lines_py.SCALED
cdef int STAMP = _lines_py.STAMP
cdef object clean = _lines_py.clean

cdef struct Line:
    uint8_t *start
    Py_ssize_t size
    Py_ssize_t capacity
    uint8_t *owned  # NULL while the line is on the stack


cdef int grow(Line *line, Py_ssize_t wanted) except -1:
    cdef Py_ssize_t capacity = 2 * (line.size + wanted)
    cdef uint8_t *memory = <uint8_t *>PyMem_Realloc(line.owned, capacity)
    if memory == NULL:
        raise MemoryError
    if line.owned == NULL:
        memcpy(memory, line.start, line.size)
    line.start = line.owned = memory
    line.capacity = capacity
    return 0


cdef inline int put(Line *line, const void *data, Py_ssize_t size) except -1:
    if line.capacity - line.size < size:
        grow(line, size)
    memcpy(line.start + line.size, data, size)
    line.size += size
    return 0


cdef inline bint is_plain(const uint8_t *data, Py_ssize_t size) noexcept:
    # Branch-free: it vectorizes. Invariant: data[0:size] is readable.
    cdef uint8_t bad = 0
    cdef Py_ssize_t i
    for i in range(size):
        bad |= (data[i] < 0x20) | (data[i] > 0x7E) | (data[i] == 0x22) | (data[i] == 0x5C)
    return not bad


cdef int put_text(Line *line, str text, Py_ssize_t most) except -1:
    """Put at most so many characters of a value."""
    cdef Py_ssize_t size = min(PyUnicode_GET_LENGTH(text), most)
    cdef const uint8_t *data = <const uint8_t *>PyUnicode_DATA(text)
    cdef bytes escaped
    if PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND and is_plain(data, size):
        return put(line, data, size)
    escaped = (<str>clean(text[:size])).encode()
    return put(line, PyBytes_AS_STRING(escaped), PyBytes_GET_SIZE(escaped))


cdef int put_number(Line *line, long long number) except -1:
    cdef uint8_t digits[MOST_DIGITS]
    cdef int i = MOST_DIGITS
    cdef unsigned long long left = -<unsigned long long>number if number < 0 else number
    while True:
        i -= 1
        digits[i] = 0x30 + left % 10
        left //= 10
        if not left:
            break
    if number < 0:
        i -= 1
        digits[i] = 0x2D
    return put(line, digits + i, MOST_DIGITS - i)


@cython.final
cdef class Step:
    cdef bytes literal
    cdef int kind
    cdef object argument
    cdef object function
    cdef double scale

    def __init__(self, bytes literal, int kind, argument):
        self.literal, self.kind, self.argument = literal, kind, argument
        self.function = None
        if kind == DERIVED:
            self.argument, self.function = argument
        self.scale = argument if kind == SCALED else 0


@cython.final
cdef class Lines:
    cdef tuple steps
    cdef list lines
    cdef object clock
    cdef object stamp_of
    cdef double second
    cdef str stamp

    def __init__(self, steps, list lines, clock, stamp_of):
        self.steps = tuple([Step(*step) for step in steps])
        self.lines = lines
        self.clock, self.stamp_of = clock, stamp_of
        self.second = -1
        self.stamp = ""

    def log(self, environ, str status, headers, long long nbytes, double seconds):
        cdef uint8_t room[ROOM]
        cdef Line line
        line.start, line.size, line.capacity, line.owned = room, 0, ROOM, NULL
        try:
            for step in self.steps:
                self.take(&line, <Step>step, environ, status, headers, nbytes, seconds)
            PyList_Append(self.lines, PyBytes_FromStringAndSize(<char *>line.start, line.size))
        finally:
            PyMem_Free(line.owned)

    cdef int take(
        self, Line *line, Step step, environ, str status, headers, long long nbytes, double seconds
    ) except -1:
        put(line, PyBytes_AS_STRING(step.literal), PyBytes_GET_SIZE(step.literal))
        if step.kind == TEXT or step.kind == FILLED or step.kind == DERIVED:
            return self.put_variable(line, step, environ)
        if step.kind == NOTHING:
            return 0
        if step.kind == SIZE:
            return put_number(line, nbytes)
        if step.kind == STATUS:
            return put_text(line, status or "-", 3)
        if step.kind == STAMP:
            return self.put_stamp(line)
        if step.kind == SCALED:
            return put_number(line, <long long>(seconds * step.scale))
        return self.put_value(line, step.argument(environ, status, headers, nbytes, seconds))

    cdef int put_variable(self, Line *line, Step step, environ) except -1:
        cdef PyObject *found
        if type(environ) is dict:
            found = PyDict_GetItemWithError(environ, step.argument)
            value = <object>found if found != NULL else "-"
        else:
            value = environ.get(step.argument, "-")
        if step.kind == FILLED:
            value = value or "-"
        elif step.kind == DERIVED and value is not "-":
            value = step.function(value)
        return self.put_value(line, value)

    cdef int put_value(self, Line *line, value) except -1:
        cdef str text = <str>value if type(value) is str else str(value)
        return put_text(line, text, PyUnicode_GET_LENGTH(text))

    cdef int put_stamp(self, Line *line) except -1:
        cdef double now = self.clock()
        cdef str stamp = self.stamp
        if not self.second <= now < self.second + 1:
            now = now // 1
            stamp = self.stamp_of(now)
            # The text first: another thread that sees the second must find its text.
            self.stamp = stamp
            self.second = now
        return put_text(line, stamp, PyUnicode_GET_LENGTH(stamp))
