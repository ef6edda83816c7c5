# cython: language_level=3, boundscheck=False, wraparound=False
"""Response heads as bytes: the compiled form of `_serializer_py.py`, which documents the interface.

It keeps a scratch buffer and the results of its last `render`: so each thread that calls the app has one, and
the loop one of its own, which its lock guards.

An app whose status and fields are constants gives the same objects each time. A str and a tuple of two never
change, a list may: so a block is found again by all of its fields, the objects themselves, and not by their list.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.dict cimport PyDict_GetItemWithError
from cpython.long cimport PyLong_AsLong
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from . import http11

cdef extern from "Python.h":
    enum: PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_FromObject(object text)  # a str itself, and a copy of what is derived from it

cdef enum:
    # What a field means to framing; the names come from http11.
    PLAIN, HOP_BY_HOP, CONNECTION, CONTENT_LENGTH, DATE, SERVER
    MAX_SPECIAL = 24
    MAX_CACHED_STATUS_LINES = 128
    MAX_CACHED_NAMES = 256
    MAX_ATTEMPTS = 64

cdef struct Special:
    uint8_t name[32]
    Py_ssize_t length
    int meaning

cdef Special specials[MAX_SPECIAL]
cdef int specials_count = 0
cdef uint8_t lower_token[256]            # lower-cased where it is a token character, else 0
cdef list digits = [b"%d" % n for n in range(1024)]


cdef int add_special(bytes name, int meaning) except -1:
    global specials_count
    if len(name) >= 32 or specials_count == MAX_SPECIAL:
        raise AssertionError("table of special field names is too small")
    memcpy(specials[specials_count].name, PyBytes_AS_STRING(name), len(name))
    specials[specials_count].length = len(name)
    specials[specials_count].meaning = meaning
    specials_count += 1
    return 0


def _fill_tables():
    for name in sorted(http11.HOP_BY_HOP):
        add_special(name.encode(), CONNECTION if name == "connection" else HOP_BY_HOP)
    add_special(b"content-length", CONTENT_LENGTH)
    add_special(b"date", DATE)
    add_special(b"server", SERVER)
    for char in http11.TOKEN_CHARS:
        lower_token[char] = bytes([char]).lower()[0]


_fill_tables()


cdef inline bint has_control(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # RFC 9110 §5.5: a field value holds no control characters but HTAB. Branch-free: it vectorizes.
    # Invariant: data[0:size] is readable.
    cdef uint8_t bad = 0
    cdef Py_ssize_t i
    for i in range(size):
        bad |= ((data[i] < 32) & (data[i] != 9)) | (data[i] == 127)
    return bad


cdef int meaning_of(const uint8_t *name, Py_ssize_t size) noexcept:
    # Invariant: name[0:size] is readable.
    cdef uint8_t lowered[32]
    cdef Py_ssize_t i
    if size >= 32:
        return PLAIN
    for i in range(size):
        lowered[i] = lower_token[name[i]]
    for i in range(specials_count):
        if specials[i].length == size and memcmp(specials[i].name, lowered, size) == 0:
            return specials[i].meaning
    return PLAIN


cdef inline long long plain_length(str value) noexcept:
    # A number that surely fits; -1 for all else. Invariant: value is of 1-byte kind.
    cdef const uint8_t *data = <const uint8_t *>PyUnicode_DATA(value)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value)
    cdef long long length = 0
    cdef Py_ssize_t i
    if not 1 <= size <= 18:
        return -1
    for i in range(size):
        if not 0x30 <= data[i] <= 0x39:
            return -1
        length = length * 10 + (data[i] - 0x30)
    return length


@cython.final
cdef class Serializer:
    def __cinit__(self):
        self.buffer = NULL
        self.capacity = 0

    def __init__(self, str server):
        self.status_lines = {}
        self.names = {}
        self.server = server.encode("latin-1")
        self.stamp("Thu, 01 Jan 1970 00:00:00 GMT")
        self.code = 0
        self.length = -1
        self.closes = False
        self.stamps = 0
        self.block_status = object()  # no app has that
        self.block_fields = ()

    def __dealloc__(self):
        PyMem_Free(self.buffer)
        for i in range(NAME_SLOTS):
            Py_XDECREF(<PyObject *>self.slots[i].name)

    cpdef object stamp(self, str date):
        date_line = b"Date: " + date.encode("ascii") + b"\r\n"
        server_line = b"Server: " + self.server + b"\r\n"
        self.stamp_lines = (date_line + server_line, server_line, date_line, b"")

    cdef uint8_t *room(self, Py_ssize_t used, Py_ssize_t wanted) except NULL:
        # Invariant: the pointer returned is valid until the next call of room().
        cdef Py_ssize_t capacity
        cdef void *buffer
        if used + wanted > self.capacity:
            capacity = max(self.capacity * 2, used + wanted, 2048)
            buffer = PyMem_Realloc(self.buffer, capacity)
            if buffer == NULL:
                raise MemoryError
            self.buffer = <uint8_t *>buffer
            self.capacity = capacity
        return self.buffer + used

    cdef tuple status_line(self, status):
        if not isinstance(status, str):
            raise TypeError(f"status must be a str, not {type(status).__name__}")
        status = PyUnicode_FromObject(status)
        line = http11.response_line(status)
        entry = (line, int(status[:3]))
        if len(self.status_lines) < MAX_CACHED_STATUS_LINES:
            self.status_lines[status] = entry
        return entry

    cpdef bytes render(self, object status, object headers):
        cdef tuple entry, field
        cdef bytes line
        cdef object name, value
        cdef uint8_t *out
        cdef const uint8_t *source
        cdef Py_ssize_t used, name_size, value_size
        cdef PyObject *known
        cdef NameSlot *slot
        cdef int meaning
        cdef bint keeps
        cdef tuple fields
        cdef unsigned int number

        if status is self.block_status and type(headers) is list and self.has_fields(<list>headers):
            self.attempts = 0
            self.code, self.length = self.block_code, self.block_length
            self.closes, self.stamps = self.block_closes, self.block_stamps
            return self.block
        known = PyDict_GetItemWithError(self.status_lines, status) if type(status) is str else NULL
        entry = <tuple>known if known != NULL else self.status_line(status)
        if not isinstance(headers, list):
            raise TypeError(f"headers must be a list, not {type(headers).__name__}")
        # Of what is kept, nothing may run Python when it is let go of: no object of a class of the app's own.
        keeps = type(status) is str and self.is_seen(<list>headers)
        if keeps:
            headers = (<list>headers)[:]  # nobody can change this one meanwhile
            fields = tuple(<list>headers)
        self.renders += 1
        number = self.renders
        line = <bytes>entry[0]
        self.code = entry[1]
        self.length = -1
        self.closes = False
        self.stamps = 0

        used = PyBytes_GET_SIZE(line)
        memcpy(self.room(0, used), PyBytes_AS_STRING(line), used)
        for item in <list>headers:
            if not isinstance(item, tuple) or PyTuple_GET_SIZE(item) != 2:
                raise TypeError(f"a header must be a tuple of two str: {item!r}")
            field = <tuple>item
            name = field[0]
            value = field[1]
            if type(name) is not str or type(value) is not str or type(item) is not tuple:
                if not isinstance(name, str) or not isinstance(value, str):
                    raise TypeError(f"a header must be a tuple of two str: {item!r}")
                # What is checked is what is sent, whatever methods a class derived from str has.
                name, value = PyUnicode_FromObject(name), PyUnicode_FromObject(value)
                keeps = False
            if PyUnicode_KIND(name) != PyUnicode_1BYTE_KIND or PyUnicode_KIND(value) != PyUnicode_1BYTE_KIND:
                raise ValueError(f"header {name!r} has characters beyond latin-1: {value!r}")
            name_size = PyUnicode_GET_LENGTH(name)
            value_size = PyUnicode_GET_LENGTH(value)
            if name_size == 0:
                raise ValueError(f"header with an empty name: {item!r}")
            source = <const uint8_t *>PyUnicode_DATA(name)
            slot = &self.slots[<size_t><void *>name >> 4 & (NAME_SLOTS - 1)]
            if slot.name == <void *>name:
                meaning = slot.meaning
            else:
                meaning = self.meaning_of_name(name, source, name_size)
                Py_INCREF(name)
                Py_XDECREF(<PyObject *>slot.name)
                slot.name = <void *>name
                slot.meaning = meaning
            # Invariant: a str of 1-byte kind has name_size (value_size) readable bytes; out has room. Nothing
            # from here on to the last use of it runs Python, which could come back here and move the buffer.
            out = self.room(used, name_size + value_size + 4)
            memcpy(out, source, name_size)
            out[name_size] = b":"
            out[name_size + 1] = b" "
            source = <const uint8_t *>PyUnicode_DATA(value)
            if has_control(source, value_size):
                raise ValueError(f"control character in header {name!r}: {value!r}")
            memcpy(out + name_size + 2, source, value_size)
            out[name_size + 2 + value_size] = b"\r"
            out[name_size + 3 + value_size] = b"\n"
            if meaning != PLAIN and self.drops(meaning, value):
                continue
            used += name_size + value_size + 4
        if self.renders != number:
            raise RuntimeError("start_response() was called while it was at work")
        line = PyBytes_FromStringAndSize(<char *>self.buffer, used)
        if keeps:
            self.block_status, self.block_fields, self.block = status, fields, line
            self.block_code, self.block_length = self.code, self.length
            self.block_closes, self.block_stamps = self.closes, self.stamps
        return line

    cdef int meaning_of_name(self, name, const uint8_t *source, Py_ssize_t size) except -1:
        cdef PyObject *known = PyDict_GetItemWithError(self.names, name)
        cdef Py_ssize_t i
        cdef int meaning
        if known != NULL:
            return PyLong_AsLong(<object>known)
        for i in range(size):
            if lower_token[source[i]] == 0:
                raise ValueError(f"header name is not a token (RFC 9110 §5.1): {name!r}")
        meaning = meaning_of(source, size)
        if len(self.names) < MAX_CACHED_NAMES:
            self.names[name] = meaning
        return meaning

    cdef bint has_fields(self, list headers) noexcept:
        # Invariant: block_fields holds its fields, so that the same address is the same object.
        cdef Py_ssize_t size = PyList_GET_SIZE(headers)
        cdef Py_ssize_t i
        if size != PyTuple_GET_SIZE(self.block_fields):
            return False
        for i in range(size):
            if PyList_GET_ITEM(headers, i) != PyTuple_GET_ITEM(self.block_fields, i):
                return False
        return True

    cdef bint is_seen(self, list headers) noexcept:
        """Return whether a block is to be kept: its first field was the last one's, and keeping has been of use."""
        cdef void *first = <void *>PyList_GET_ITEM(headers, 0) if PyList_GET_SIZE(headers) != 0 else NULL
        cdef bint is_seen = first == self.candidate and self.attempts < MAX_ATTEMPTS
        self.candidate = first
        self.attempts += is_seen
        return is_seen

    cdef bint drops(self, int meaning, str value) except -1:
        cdef long long length
        cdef bint is_said = self.length >= 0
        if meaning == DATE:
            self.stamps |= 1
        elif meaning == SERVER:
            self.stamps |= 2
        elif meaning == CONTENT_LENGTH:
            length = plain_length(value)
            if length < 0 or is_said:
                length = http11.response_length(value, self.length)
            self.length = length
            return is_said or self.code < 200 or self.code == 204  # RFC 9110 §8.6: MUST NOT be sent
        else:
            if meaning == CONNECTION and "close" in value.lower():
                self.closes = True
            return True
        return False

    cpdef bytes assemble(self, bytes block, int stamps, long long framing, bytes connection, bytes body):
        cdef bytes stamp = <bytes>self.stamp_lines[stamps]
        cdef bytes number = None
        cdef Py_ssize_t size, part
        cdef bytes result
        cdef char *out
        size = PyBytes_GET_SIZE(block) + PyBytes_GET_SIZE(stamp) + PyBytes_GET_SIZE(connection)
        size += PyBytes_GET_SIZE(body) + 2
        if framing >= 0:
            number = <bytes>digits[framing] if framing < 1024 else b"%d" % framing
            size += PyBytes_GET_SIZE(number) + 18
        elif framing == -2:
            size += 28
        result = PyBytes_FromStringAndSize(NULL, size)
        # Invariant: the copies below add up to size, as computed above.
        out = PyBytes_AS_STRING(result)
        part = PyBytes_GET_SIZE(block)
        memcpy(out, PyBytes_AS_STRING(block), part)
        out += part
        if framing >= 0:
            memcpy(out, b"Content-Length: ", 16)
            part = PyBytes_GET_SIZE(number)
            memcpy(out + 16, PyBytes_AS_STRING(number), part)
            memcpy(out + 16 + part, b"\r\n", 2)
            out += part + 18
        elif framing == -2:
            memcpy(out, b"Transfer-Encoding: chunked\r\n", 28)
            out += 28
        part = PyBytes_GET_SIZE(connection)
        memcpy(out, PyBytes_AS_STRING(connection), part)
        out += part
        part = PyBytes_GET_SIZE(stamp)
        memcpy(out, PyBytes_AS_STRING(stamp), part)
        out += part
        memcpy(out, b"\r\n", 2)
        memcpy(out + 2, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return result

    cpdef bytes chunk(self, bytes data):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t rest = size
        cdef int digits = 1
        cdef bytes result
        cdef char *out
        while rest > 15:
            rest >>= 4
            digits += 1
        result = PyBytes_FromStringAndSize(NULL, digits + size + 4)
        # Invariant: out has that many bytes; the writes below end where they do.
        out = PyBytes_AS_STRING(result)
        rest = size
        for i in range(digits - 1, -1, -1):
            out[i] = b"0123456789abcdef"[rest & 15]
            rest >>= 4
        out += digits
        out[0] = b"\r"
        out[1] = b"\n"
        memcpy(out + 2, PyBytes_AS_STRING(data), size)
        out[size + 2] = b"\r"
        out[size + 3] = b"\n"
        return result
