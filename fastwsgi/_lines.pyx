# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Lines of the access log, from the plan of a format straight to bytes: the compiled form of `_lines_py.py`.

A line is put together aside, without making an object, and then added whole. What needs more than copying and
escaping of Latin-1 (an object, a user's name, other characters in JSON) is left to the function that
access_format compiles, which is handed the same request.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

import os
import time

from .logs import access_format

cdef extern from "Python.h":
    enum: PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(PyObject *text)
    void *PyUnicode_DATA(PyObject *text)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *text)
    int PyUnicode_CheckExact(PyObject *value)
    int PyDict_CheckExact(object value)
    int PyList_CheckExact(object value)
    int PyTuple_CheckExact(PyObject *value)
    Py_ssize_t PyList_GET_SIZE(object value)
    PyObject *PyList_GET_ITEM(object value, Py_ssize_t index)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *value)
    PyObject *PyTuple_GET_ITEM(PyObject *value, Py_ssize_t index)
    PyObject *PyDict_GetItemWithError(object mapping, PyObject *key) except? NULL

cdef extern from "time.h":
    long long seconds_now "time"(void *) noexcept nogil  # a look at a page of memory, no system call

cdef enum:
    LITTLE = 64  # room for any number
    KEPT = 1 << 16  # bytes of memory that an empty buffer may keep

# Read once; the tables of access_format are the one source.
cdef int ENVIRON = access_format.ENVIRON
cdef int ADDRESS = access_format.ADDRESS
cdef int USER = access_format.USER
cdef int STAMP = access_format.STAMP
cdef int STATUS = access_format.STATUS
cdef int SIZE = access_format.SIZE
cdef int SECONDS = access_format.SECONDS
cdef int MILLIS = access_format.MILLIS
cdef int MICROS = access_format.MICROS
cdef int DECIMAL = access_format.DECIMAL
cdef int PID = access_format.PID
cdef int HEADER = access_format.HEADER
cdef int END = access_format.END
cdef int JSON_TIME = access_format.JSON_TIME
cdef int JSON_TEXT = access_format.JSON_TEXT
cdef int JSON_ADDRESS = access_format.JSON_ADDRESS
cdef int JSON_USER = access_format.JSON_USER
cdef int JSON_STATUS = access_format.JSON_STATUS
cdef int JSON_DURATION = access_format.JSON_DURATION
cdef int JSON_PID = access_format.JSON_PID

cdef const char *HEX = b"0123456789abcdef"
cdef long process = os.getpid()  # asked for once: it is a system call


def _after_fork():
    global process
    process = os.getpid()


os.register_at_fork(after_in_child=_after_fork)


cdef struct Part:
    # Invariant: literal and names point into the plan that Lines keeps.
    const char *literal
    Py_ssize_t size
    int kind
    PyObject *name
    PyObject *other  # a second name, or NULL


cdef struct Buffer:
    char *data
    Py_ssize_t size
    Py_ssize_t room


cdef inline int make_room(Buffer *buffer, Py_ssize_t size) except -1:
    """Have room for `size` more bytes."""
    cdef Py_ssize_t room
    cdef char *data
    if buffer.room - buffer.size < size:
        room = (buffer.size + size) * 2
        data = <char *>PyMem_Realloc(buffer.data, room)
        if data == NULL:
            raise MemoryError
        buffer.data = data
        buffer.room = room
    return 0


cdef inline void put(Buffer *buffer, const char *data, Py_ssize_t size) noexcept:
    # Invariant of all that put: there is room.
    memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size


cdef inline void put_number(Buffer *buffer, long long number, int digits) noexcept:
    """Put a number that is not negative, with zeros in front up to `digits`."""
    cdef char text[32]
    cdef int at = 32
    while number or digits > 0:
        at -= 1
        text[at] = <char>(48 + number % 10)
        number //= 10
        digits -= 1
    put(buffer, text + at, 32 - at)


cdef extern from *:
    """
    #define FASTWSGI_EACH 0x0101010101010101ULL
    """
    const uint64_t EACH "FASTWSGI_EACH"  # of eight bytes


cdef inline uint64_t unsafe(uint64_t word) noexcept:
    """Return 0 if none of eight bytes needs an escape."""
    cdef uint64_t quote = word ^ (EACH * 34)
    cdef uint64_t backslash = word ^ (EACH * 92)
    cdef uint64_t delete = word ^ (EACH * 127)
    # Less than n, for a byte below 128: the difference has the high bit; equal is less than 1.
    return (
        word
        | (word - EACH * 32)
        | (quote - EACH)
        | (backslash - EACH)
        | (delete - EACH)
    ) & (EACH * 128)


cdef inline bint is_plain(const uint8_t *data, Py_ssize_t size) noexcept:
    """Return whether no byte needs an escape. Invariant: data[0:size] is readable."""
    cdef uint64_t word = 0
    cdef uint64_t bad = 0
    cdef uint32_t half
    cdef Py_ssize_t i = 0
    if size >= 8:
        while i + 8 < size:
            memcpy(&word, data + i, 8)
            bad |= unsafe(word)
            i += 8
        memcpy(&word, data + size - 8, 8)  # may overlap what was seen
        return (bad | unsafe(word)) == 0
    if size >= 4:
        memcpy(&half, data, 4)
        word = half
        memcpy(&half, data + size - 4, 4)
        return unsafe(word << 32 | half) == 0
    word = EACH * 48
    for i in range(size):
        word = word << 8 | data[i]
    return unsafe(word) == 0


cdef inline bint is_text(PyObject *value) noexcept:
    return PyUnicode_CheckExact(value) and PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND


cdef int put_text(Buffer *buffer, PyObject *text) except -1:
    """Put a text, escaped as access_format.clean does it."""
    cdef const uint8_t *data = <const uint8_t *>PyUnicode_DATA(text)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t i
    cdef uint8_t c
    cdef char *out
    make_room(buffer, size * 4 + LITTLE)
    if is_plain(data, size):
        put(buffer, <const char *>data, size)
        return 0
    out = buffer.data + buffer.size
    for i in range(size):
        c = data[i]
        if 32 <= c <= 126 and c != 34 and c != 92:
            out[0] = <char>c
            out += 1
            continue
        out[0] = 92
        if c == 34 or c == 92:
            out[1] = <char>c
            out += 2
        else:
            out[1] = 120  # x
            out[2] = HEX[c >> 4]
            out[3] = HEX[c & 15]
            out += 4
    buffer.size = out - buffer.data
    return 0


cdef int put_json(Buffer *buffer, PyObject *text) except -1:
    """Put a text in quotes, escaped as JSON is; return 0 for one that is not ASCII, or has a DEL."""
    cdef const uint8_t *data = <const uint8_t *>PyUnicode_DATA(text)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t i
    cdef uint8_t c
    cdef char *out
    make_room(buffer, size * 6 + LITTLE)
    put(buffer, b'"', 1)
    if is_plain(data, size):
        put(buffer, <const char *>data, size)
    else:
        out = buffer.data + buffer.size
        for i in range(size):
            c = data[i]
            if c > 126:
                return 0
            if c >= 32:
                if c == 34 or c == 92:
                    out[0] = 92
                    out += 1
                out[0] = <char>c
                out += 1
                continue
            out[0] = 92
            if c == 10 or c == 13 or c == 9 or c == 8 or c == 12:
                out[1] = 110 if c == 10 else 114 if c == 13 else 116 if c == 9 else 98 if c == 8 else 102
                out += 2
            else:
                memcpy(out + 1, b"u00", 3)
                out[4] = HEX[c >> 4]
                out[5] = HEX[c & 15]
                out += 6
        buffer.size = out - buffer.data
    put(buffer, b'"', 1)
    return 1


cdef void put_duration(Buffer *buffer, double seconds) noexcept:
    """Put seconds as a number of JSON: six places at most, one at least, as Python's numbers have."""
    cdef long long micros = <long long>(seconds * 1e6 + 0.5)
    put_number(buffer, micros // 1000000, 1)
    put(buffer, b".", 1)
    put_number(buffer, micros % 1000000, 6)
    while buffer.data[buffer.size - 1] == 48 and buffer.data[buffer.size - 2] != 46:
        buffer.size -= 1


cdef inline bint has_name(PyObject *key, PyObject *lower) noexcept:
    """Return whether a field name is `lower` but for its case; both are Latin-1, `lower` is a token."""
    cdef const uint8_t *a
    cdef const uint8_t *b
    cdef uint8_t c
    cdef Py_ssize_t i
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(key)
    if size != PyUnicode_GET_LENGTH(lower):
        return False
    a = <const uint8_t *>PyUnicode_DATA(key)
    b = <const uint8_t *>PyUnicode_DATA(lower)
    for i in range(size):
        c = a[i]
        if 65 <= c <= 90:
            c += 32
        if c != b[i]:
            return False
    return True


@cython.final
cdef class Lines:
    cdef object _clock, _otherwise
    cdef list _plan
    cdef Part *_parts
    cdef Py_ssize_t _count
    cdef Buffer _line, _lines
    cdef long long _second
    cdef long _millis
    cdef bytes _prefix, _zone

    def __cinit__(self, str fmt, clock=None):
        cdef Py_ssize_t i
        self._clock = clock
        self._otherwise = access_format.compile_format(fmt, self.add, clock or time.time)
        self._plan = access_format.plan(fmt)
        self._second = -1
        self._prefix = self._zone = b""
        if self._plan is None:
            return
        self._count = len(self._plan)
        self._parts = <Part *>PyMem_Malloc(self._count * sizeof(Part))
        if self._parts == NULL:
            raise MemoryError
        for i in range(self._count):
            literal, kind, names = self._plan[i]
            self._parts[i].literal = PyBytes_AS_STRING(literal)
            self._parts[i].size = PyBytes_GET_SIZE(literal)
            self._parts[i].kind = kind
            self._parts[i].name = <PyObject *>names[0] if names else NULL
            self._parts[i].other = <PyObject *>names[1] if len(names) > 1 else NULL

    def __dealloc__(self):
        PyMem_Free(self._parts)
        PyMem_Free(self._line.data)
        PyMem_Free(self._lines.data)

    def log(self, environ, status, headers, long long nbytes, double seconds):
        cdef Buffer *line = &self._line
        line.size = 0
        if self._parts != NULL and PyDict_CheckExact(environ) and self._fill(environ, status, headers, nbytes, seconds):
            self._append(line.data, line.size)
        else:
            self._otherwise(environ, status, headers, nbytes, seconds)

    def add(self, bytes line):
        self._append(PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))

    def take(self):
        cdef bytes lines
        cdef Buffer *waiting = &self._lines
        if waiting.size == 0:
            return b""
        lines = PyBytes_FromStringAndSize(waiting.data, waiting.size)
        waiting.size = 0
        if waiting.room > KEPT:
            PyMem_Free(waiting.data)
            waiting.data = NULL
            waiting.room = 0
        return lines

    cdef int _append(self, const char *line, Py_ssize_t size) except -1:
        make_room(&self._lines, size + 1)
        put(&self._lines, line, size)
        put(&self._lines, b"\n", 1)
        return 0

    cdef bint _fill(
        self, environ, object status, object headers, long long nbytes, double seconds
    ) except -1:
        """Put the line together; return whether it could be, without a word of Python."""
        cdef Buffer *line = &self._line
        cdef Part *part
        cdef PyObject *value
        cdef Py_ssize_t i
        cdef int kind
        if not 0.0 <= seconds < 1e9 or nbytes < 0:
            return False
        for i in range(self._count):
            part = self._parts + i
            make_room(line, part.size + LITTLE)
            put(line, part.literal, part.size)
            kind = part.kind
            if kind == ENVIRON or kind == ADDRESS:
                value = self._find(environ, part)
                if value == NULL:
                    put(line, b"-", 1)
                elif not is_text(value):
                    return False
                elif kind == ADDRESS and PyUnicode_GET_LENGTH(value) == 0:
                    put(line, b"-", 1)
                else:
                    put_text(line, value)
            elif kind == STAMP:
                self._look_at_clock(False)
                make_room(line, PyBytes_GET_SIZE(self._prefix) + LITTLE)
                put(line, PyBytes_AS_STRING(self._prefix), PyBytes_GET_SIZE(self._prefix))
            elif kind == STATUS or kind == JSON_STATUS:
                if not self._put_status(status):
                    return False
            elif kind == SIZE:
                put_number(line, nbytes, 1)
            elif kind == SECONDS:
                put_number(line, <long long>seconds, 1)
            elif kind == MILLIS:
                put_number(line, <long long>(seconds * 1e3), 1)
            elif kind == MICROS:
                put_number(line, <long long>(seconds * 1e6), 1)
            elif kind == DECIMAL:
                put_number(line, <long long>(seconds * 1e6 + 0.5) // 1000000, 1)
                put(line, b".", 1)
                put_number(line, <long long>(seconds * 1e6 + 0.5) % 1000000, 6)
            elif kind == USER:
                if self._find(environ, part) != NULL:
                    return False
                put(line, b"-", 1)
            elif kind == PID:
                put(line, b"<", 1)
                put_number(line, process, 1)
                put(line, b">", 1)
            elif kind == HEADER:
                if not self._put_header(headers, part.name):
                    return False
            elif kind == JSON_TEXT or kind == JSON_ADDRESS:
                value = self._find(environ, part)
                if value == NULL or value == <PyObject *>None:
                    put(line, b"null", 4)
                elif not is_text(value):
                    return False
                elif kind == JSON_ADDRESS and PyUnicode_GET_LENGTH(value) == 0:
                    put(line, b"null", 4)
                elif not put_json(line, value):
                    return False
            elif kind == JSON_TIME:
                self._look_at_clock(True)
                put(line, PyBytes_AS_STRING(self._prefix), PyBytes_GET_SIZE(self._prefix))
                put(line, b".", 1)
                put_number(line, self._millis, 3)
                put(line, PyBytes_AS_STRING(self._zone), PyBytes_GET_SIZE(self._zone))
            elif kind == JSON_USER:
                if self._find(environ, part) != NULL:
                    return False
                put(line, b"null", 4)
            elif kind == JSON_DURATION:
                put_duration(line, seconds)
            elif kind == JSON_PID:
                put_number(line, process, 1)
        return True

    cdef inline PyObject *_find(self, environ, Part *part) except? NULL:
        cdef PyObject *value = PyDict_GetItemWithError(environ, part.name)
        if value == NULL and part.other != NULL:
            value = PyDict_GetItemWithError(environ, part.other)
        return value

    cdef bint _put_status(self, object status) except -1:
        cdef const uint8_t *text
        cdef PyObject *value = <PyObject *>status
        if not is_text(value) or PyUnicode_GET_LENGTH(value) < 3:
            return False
        text = <const uint8_t *>PyUnicode_DATA(value)
        if not (49 <= text[0] <= 57 and 48 <= text[1] <= 57 and 48 <= text[2] <= 57):
            return False
        put(&self._line, <const char *>text, 3)
        return True

    cdef bint _put_header(self, object headers, PyObject *name) except -1:
        cdef PyObject *pair
        cdef PyObject *key
        cdef Py_ssize_t i
        if headers is not None:
            if not PyList_CheckExact(headers):
                return False
            for i in range(PyList_GET_SIZE(headers)):
                pair = PyList_GET_ITEM(headers, i)
                if not PyTuple_CheckExact(pair) or PyTuple_GET_SIZE(pair) != 2:
                    return False
                key = PyTuple_GET_ITEM(pair, 0)
                if not is_text(key):
                    return False
                if has_name(key, name):
                    if not is_text(PyTuple_GET_ITEM(pair, 1)):
                        return False
                    put_text(&self._line, PyTuple_GET_ITEM(pair, 1))
                    return True
        put(&self._line, b"-", 1)
        return True

    cdef int _look_at_clock(self, bint is_json) except -1:
        """Have the time in words, made anew when its second has passed."""
        cdef timespec now
        cdef double told
        cdef long long second
        if self._clock is not None:
            told = self._clock()
            second = <long long>told
            self._millis = <long>(told % 1 * 1000)
        elif is_json:
            clock_gettime(CLOCK_REALTIME, &now)
            second = now.tv_sec
            self._millis = now.tv_nsec // 1000000
        else:
            second = seconds_now(NULL)
        if second != self._second:
            if is_json:
                prefix, zone = access_format.iso_second(second)
                self._prefix = prefix.encode()
                self._zone = zone.encode()
            else:
                self._prefix = access_format.stamp_of(second).encode()
            self._second = second
        return 0
