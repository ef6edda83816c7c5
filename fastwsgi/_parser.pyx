# cython: language_level=3, boundscheck=False, wraparound=False
"""Request heads: bytes to environ, on httptools. `_parser_py.py` documents the interface.

Two readers. The scanner takes a head that lies whole in the buffer and is plainly well-formed: a token
method, an origin-form target, HTTP/1.0 or 1.1, known or unknown fields without anything odd, at most a
Content-Length. It never rejects; what it does not take, it declines. httptools (llhttp) then reads the same
bytes (llhttp.py), and `policy.build` makes of them what is served, or refuses. Two invariants, held by differential
tests: what the scanner takes, httptools accepts; and `policy.build` would have made the same of it.

One Parser belongs to one loop, whose lock guards its memo. The tables of the module are filled when it is
imported and never change.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy, PyDict_SetItem, PyDict_Size
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp, memcpy

from ._memory cimport (
    CLOSES, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DECLINED, HABITS, HOST, INSECURE, KEEPS, MAX_HABIT,
    MAX_STRENGTH, MEMOS, PLAIN, SECRET, SECURE, Habit, Line, Memo, find_memo, forget, is_habit, learn, remember,
    slot_of, stands_at,
)
from ._octets cimport has_control, hash_of, is_plain_host, is_target, number

import sys

from . import http11, llhttp, policy

cdef extern from "Python.h":
    PyObject *PyDict_SetDefault(object mapping, object key, object default) except NULL

cdef enum:
    MAX_NAME = 64
    NAMES = 512
    MAX_METHOD = 32
    MAX_LINES = 64

cdef struct Name:
    uint8_t name[MAX_NAME]   # lower-cased
    Py_ssize_t size          # 0 = the entry is free
    void *key                # str; one reference is held for the life of the process
    int meaning

cdef Name names[NAMES]
cdef uint8_t lower_token[256]   # lower-cased where it is a token character and no underscore, else 0
cdef uint8_t environ_char[256]  # of a lower-cased name's character, in its environ key
cdef uint8_t hex_value[256]     # 16 where it is no hexadecimal digit

cdef dict methods = {name.encode(): sys.intern(name) for name in
                     ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")}

cdef str REQUEST_METHOD = sys.intern("REQUEST_METHOD")
cdef str PATH_INFO = sys.intern("PATH_INFO")
cdef str QUERY_STRING = sys.intern("QUERY_STRING")
cdef str RAW_URI = sys.intern("RAW_URI")
cdef str SCRIPT_NAME = sys.intern("SCRIPT_NAME")
cdef str SERVER_PROTOCOL = sys.intern("SERVER_PROTOCOL")
cdef str REMOTE_ADDR = sys.intern("REMOTE_ADDR")
cdef str REMOTE_PORT = sys.intern("REMOTE_PORT")
cdef str GET = sys.intern("GET")
cdef str HEAD = sys.intern("HEAD")
cdef str HTTP_10 = sys.intern("HTTP/1.0")
cdef str HTTP_11 = sys.intern("HTTP/1.1")
cdef str NOTHING = ""
cdef str URL_SCHEME = sys.intern("wsgi.url_scheme")
cdef str HTTP = sys.intern("http")
cdef str HTTPS = sys.intern("https")


cdef Name *find_name(const uint8_t *lowered, Py_ssize_t size) noexcept nogil:
    # Invariant: the table is never full, so the search ends; size <= MAX_NAME.
    cdef Py_ssize_t slot = hash_of(lowered, size) >> 16 & (NAMES - 1)
    while names[slot].size != 0:
        if names[slot].size == size and memcmp(names[slot].name, lowered, size) == 0:
            break
        slot = (slot + 1) & (NAMES - 1)
    return &names[slot]


def _fill_tables():
    cdef Name *name
    meanings = {
        "host": HOST, "connection": CONNECTION, "content-length": CONTENT_LENGTH,
        "content-type": CONTENT_TYPE, "cookie": COOKIE,
        # Framing, or policy, that is left to the other reader.
        "transfer-encoding": DECLINED, "expect": DECLINED, "upgrade": DECLINED, "proxy": DECLINED,
    }
    keys = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}
    fields = {*http11.COMMON_FIELDS, *http11.SECRET_FIELDS, *meanings}
    if len(fields) * 2 > NAMES:
        raise AssertionError("table of field names is too small")
    for field in sorted(fields):
        raw = field.encode()
        name = find_name(raw, len(raw))
        memcpy(name.name, PyBytes_AS_STRING(raw), len(raw))
        name.size = len(raw)
        key = sys.intern(keys.get(field) or policy.environ_key(raw))
        Py_INCREF(key)
        name.key = <void *>key
        name.meaning = meanings.get(field, SECRET if field in http11.SECRET_FIELDS else PLAIN)
    for char in http11.TOKEN_CHARS:
        if char != ord("_"):
            lower_token[char] = bytes([char]).lower()[0]
    for char in range(256):
        environ_char[char] = ord("_") if char == ord("-") else bytes([char]).upper()[0]
        hex_value[char] = int(chr(char), 16) if char < 128 and chr(char) in "0123456789abcdefABCDEF" else 16


_fill_tables()


cdef inline bint equals_lowered(const uint8_t *data, const char *word, Py_ssize_t size) noexcept nogil:
    # Invariant: both have `size` bytes.
    cdef Py_ssize_t i
    for i in range(size):
        if lower_token[data[i]] != <uint8_t>word[i]:
            return False
    return True


cdef str text(const uint8_t *data, Py_ssize_t size):
    return <str>PyUnicode_DecodeLatin1(<const char *>data, size, NULL)


cdef str environ_key(const uint8_t *lowered, Py_ssize_t size):
    # Invariant: size <= MAX_NAME.
    cdef uint8_t key[MAX_NAME + 5]
    cdef Py_ssize_t i
    memcpy(key, b"HTTP_", 5)
    for i in range(size):
        key[5 + i] = environ_char[lowered[i]]
    return text(key, size + 5)


cdef str unquoted(const uint8_t *data, Py_ssize_t size):
    """Return a path with its percent-encoding undone (RFC 3986 §2.1); what is none is left as it is."""
    cdef bytes room = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(room)
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t used = 0
    # Invariant: used <= i, so that out, which has `size` bytes, is never left.
    while i < size:
        if data[i] == 0x25 and i + 2 < size and (hex_value[data[i + 1]] | hex_value[data[i + 2]]) < 16:
            out[used] = hex_value[data[i + 1]] << 4 | hex_value[data[i + 2]]
            i += 3
        else:
            out[used] = data[i]
            i += 1
        used += 1
    return text(out, used)


@cython.final
cdef class Parser:
    def __cinit__(self):
        self.memos = <Memo *>PyMem_Calloc(MEMOS, sizeof(Memo))
        self.habits = <Habit *>PyMem_Calloc(HABITS, sizeof(Habit))
        if self.memos == NULL or self.habits == NULL:
            raise MemoryError
        self.first = &self.memos[0]
        self.held = [None] * HABITS

    def __init__(self, limits, forwarding):
        self.limits = limits
        self.forwarding = forwarding
        self.schemes = dict(forwarding.schemes)
        self.hears = forwarding.hears()
        self.scheme_sizes = 0
        for name in self.schemes:
            self.scheme_sizes |= <uint64_t>1 << (len(name) & 63)
        self.max_line = limits.request_line or sys.maxsize
        self.max_fields = limits.fields or sys.maxsize
        self.max_field = limits.field_size or sys.maxsize
        self.max_body = limits.body or http11.MAX_LENGTH
        self.max_head = policy.HARD_LIMIT
        if limits.request_line and limits.fields and limits.field_size:
            self.max_head = sys.maxsize

    def __dealloc__(self):
        cdef int i
        if self.memos != NULL:
            for i in range(MEMOS):
                forget(&self.memos[i])
            PyMem_Free(self.memos)
        PyMem_Free(self.habits)

    cpdef Py_ssize_t head_end(self, object buffer, Py_ssize_t searched) except -1:
        return policy.frame(buffer, 0, searched, self.limits)[1]

    cpdef Request parse(self, bytes data, Py_ssize_t start, dict base, str remote_addr, str remote_port,
                        bint trusted):
        cdef bint incomplete = False
        cdef Request request
        if not 0 <= start <= PyBytes_GET_SIZE(data):
            raise ValueError(f"start {start} is outside of the data")
        request = self.scan(data, start, base, trusted, &incomplete)
        if request is not None:
            PyDict_SetItem(request.environ, REMOTE_ADDR, remote_addr)
            PyDict_SetItem(request.environ, REMOTE_PORT, remote_port)
            if not (self.hears and trusted) or self.forwarding.tell(request.environ, self.scheme):
                return request
        if incomplete:
            return None
        return llhttp.read(
            data, start, base, (remote_addr, remote_port), self.limits, self.forwarding if trusted else None,
        )

    cdef Request scan(self, bytes data, Py_ssize_t start, dict base, bint trusted, bint *incomplete):
        """Return the Request of a plainly well-formed head; else None, saying whether it may become one."""
        # Invariant: first <= at <= limit, and only data before limit is read.
        cdef const uint8_t *first = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef const uint8_t *limit = first + PyBytes_GET_SIZE(data)
        cdef const uint8_t *begin = first + start
        cdef const uint8_t *at = begin
        cdef const uint8_t *target
        cdef const uint8_t *query
        cdef const uint8_t *end
        cdef Py_ssize_t size, path_size, i
        cdef Py_ssize_t fields = 0
        cdef Py_ssize_t known = 0
        cdef int version, meaning
        cdef int scheme = PLAIN
        cdef bint has_host = False
        cdef bint is_known
        cdef Line lines[MAX_LINES]
        cdef Line *line
        cdef void *seen[MAX_LINES]
        cdef Memo *guess = self.first
        cdef Memo **link = &self.first
        cdef Memo *last = NULL
        cdef uint64_t hash = 0
        cdef uint64_t changes = self.changes
        cdef Habit *habit
        cdef str method, path, uri, script_name
        cdef dict environ
        cdef Request request

        incomplete[0] = False
        # Request line (RFC 9112 §3).
        while at < limit and lower_token[at[0]]:
            at += 1
        size = at - begin
        if at == limit:
            incomplete[0] = size < MAX_METHOD
            return None
        if size == 0 or size > MAX_METHOD or at[0] != 0x20:
            return None
        if size == 3 and memcmp(begin, b"GET", 3) == 0:
            method = GET
        else:
            name = <bytes>begin[:size]
            found = methods.get(name)
            if found is None:
                if name == b"CONNECT":
                    return None
                found = name.decode("ascii")
            method = <str>found
        target = at + 1
        end = <const uint8_t *>memchr(target, 0x0A, limit - target)
        if end == NULL:
            incomplete[0] = limit - begin <= self.max_line
            return None
        # The shortest line is `/ HTTP/1.1`, and its CR.
        if end - target < 11 or target[0] != 0x2F or memcmp(end - 10, b" HTTP/1.", 8) != 0 or (end - 1)[0] != 0x0D:
            return None
        if end - 1 - begin > self.max_line or (end - 2)[0] not in (0x30, 0x31):
            return None
        version = (end - 2)[0] - 0x30
        size = end - 10 - target
        if not is_target(target, size):
            return None

        # Where each field line ends, and whether it is remembered (RFC 9112 §5). A client's lines mostly come in
        # the order of last time: then one comparison finds both.
        at = end + 1
        while True:
            line = &lines[fields]
            if guess != NULL and guess.line != NULL and stands_at(guess.line, at, limit):
                line.size = PyBytes_GET_SIZE(<object>guess.line)
                line.hash = guess.hash
                line.memo = guess
            else:
                end = <const uint8_t *>memchr(at, 0x0D, limit - at)
                if end == NULL or end + 1 == limit:
                    incomplete[0] = (limit if end == NULL else end) - at <= self.max_field
                    return None
                if end[1] != 0x0A:
                    return None
                line.size = end - at
                if line.size == 0:
                    break
                line.data = at
                line.memo = find_memo(self.memos, line)
            line.data = at
            fields += 1
            if fields > self.max_fields or line.size > self.max_field or fields == MAX_LINES:
                return None
            if line.memo != NULL:
                link[0] = last = line.memo
                link = &last.next
                seen[known] = last.line
                known += 1
                hash = (hash ^ <uint64_t>last.line) * 0xD6E8FEB86659FD93ULL
            elif last != NULL:
                link = &last.later
            guess = link[0]
            at += line.size + 2
        if at + 2 - begin > self.max_head:
            return None

        habit = &self.habits[hash >> 32 & (HABITS - 1)]
        is_known = known != 0 and is_habit(habit, base, seen, known)
        if is_known:
            environ = PyDict_Copy(<dict>habit.environ)
            if habit.strength < MAX_STRENGTH:
                habit.strength += 1
        else:
            environ = PyDict_Copy(base)
        query = <const uint8_t *>memchr(target, 0x3F, size)
        path_size = size if query == NULL else query - target
        if memchr(target, 0x25, path_size) != NULL:
            path = unquoted(target, path_size)
            uri = text(target, size)
        else:
            path = text(target, path_size)
            uri = path if query == NULL else text(target, size)
        if base is not self.base:
            if (base[REQUEST_METHOD], base[SERVER_PROTOCOL], base[QUERY_STRING]) != (GET, HTTP_11, NOTHING):
                raise ValueError("base is not what wsgi.base_environ makes")
            self.base = base
            self.script_name = base[SCRIPT_NAME]
        if self.script_name:
            script_name = self.script_name
            if not (path + "/").startswith(script_name + "/"):
                return None
            path = path[len(script_name):]
        PyDict_SetItem(environ, PATH_INFO, path)
        PyDict_SetItem(environ, RAW_URI, uri)
        # What base says already need not be set again.
        if method is not GET:
            PyDict_SetItem(environ, REQUEST_METHOD, method)
        if query != NULL:
            PyDict_SetItem(environ, QUERY_STRING, text(query + 1, size - path_size - 1))
        if version == 0:
            PyDict_SetItem(environ, SERVER_PROTOCOL, HTTP_10)

        request = Request.__new__(Request)
        request.environ = environ
        request.method, request.target = method, uri
        request.version = version
        request.keep_alive = version
        request.is_head = method is HEAD

        if is_known:
            has_host = habit.has_host
            scheme = habit.scheme
            if habit.connection != PLAIN:
                request.keep_alive = habit.connection == KEEPS
        for i in range(fields):
            line = &lines[i]
            if line.memo != NULL:
                if is_known:
                    continue
                if self.changes != changes:
                    line.memo = find_memo(self.memos, line)
            meaning = self.scan_field(environ, line, request, &has_host, is_known)
            if meaning >= DECLINED:
                if meaning == DECLINED:
                    if not is_known:
                        return None
                    # Perhaps only because a line repeats the name of one that is part of the habit.
                    habit.count = 0
                    habit.candidate = 0
                    return self.scan(data, start, base, trusted, incomplete)
                if scheme != PLAIN and scheme != meaning and trusted:
                    return None
                scheme = meaning
        if version and not has_host:
            return None
        if scheme != PLAIN and trusted:
            PyDict_SetItem(environ, URL_SCHEME, HTTPS if scheme == SECURE else HTTP)
        if self.hears:
            self.scheme = None if scheme == PLAIN else <str>environ[URL_SCHEME]
        if known != 0 and not is_known:
            # Taken in at the second sight, as lines are.
            if habit.candidate == hash and known <= MAX_HABIT:
                if habit.count == 0 or habit.strength == 0:
                    self.held[habit - self.habits] = learn(habit, self.memos, base, lines, fields)
                else:
                    habit.strength -= 1
            habit.candidate = hash
        request.head_end = at + 2 - first
        return request

    cdef int scan_field(self, dict environ, Line *found, Request request, bint *has_host, bint is_known) except -1:
        """Take one field line into environ and request; return DECLINED if it is not plain."""
        # Invariant: line[0:size] is readable, and size > 0; data[0:length] is its value, a part of it.
        cdef uint8_t lowered[MAX_NAME]
        cdef const uint8_t *line = found.data
        cdef Py_ssize_t size = found.size
        cdef Memo *memo = found.memo
        cdef Name *name
        cdef const uint8_t *data
        cdef Py_ssize_t length, name_size, count
        cdef object key, value
        cdef int meaning

        if memo != NULL:
            key = <object>memo.key
            value = <object>memo.value
            meaning = memo.meaning
        else:
            name_size = 0
            while name_size < size and name_size < MAX_NAME and lower_token[line[name_size]]:
                lowered[name_size] = lower_token[line[name_size]]
                name_size += 1
            if name_size == 0 or name_size == size or line[name_size] != 0x3A:
                return DECLINED
            data = line + name_size + 1
            length = size - name_size - 1
            if has_control(data, length):
                return DECLINED
            while length > 0 and (data[0] == 0x20 or data[0] == 0x09):
                data += 1
                length -= 1
            while length > 0 and (data[length - 1] == 0x20 or data[length - 1] == 0x09):
                length -= 1

            name = find_name(lowered, name_size)
            if name.size != 0:
                key = <object>name.key
                meaning = name.meaning
            else:
                key = environ_key(lowered, name_size)
                meaning = PLAIN
            if meaning == HOST:
                if not is_plain_host(data, length):
                    return DECLINED
            elif meaning == CONNECTION:
                if length == 5 and equals_lowered(data, b"close", 5):
                    meaning = CLOSES
                elif length == 10 and equals_lowered(data, b"keep-alive", 10):
                    meaning = KEEPS
                else:
                    return DECLINED
            elif meaning == CONTENT_LENGTH:
                request.content_length = number(data, length)
                if not 0 <= request.content_length <= self.max_body:
                    return DECLINED
            elif meaning == DECLINED:
                return DECLINED
            if self.scheme_sizes >> (name_size & 63) & 1:
                meaning = self.scheme_field(lowered[:name_size], data[:length], meaning)
                if meaning == DECLINED:
                    return DECLINED
            value = text(data, length)
            # Taken in at the second sight, so that values that never come again push nothing out. Secrets
            # are not kept, and a Content-Length is read anew each time.
            if found.hash != 0 and meaning not in (COOKIE, SECRET, CONTENT_LENGTH):
                memo = slot_of(self.memos, found.hash)
                if memo.candidate == found.hash and (name.size != 0 or not http11.is_secret(lowered[:name_size])):
                    remember(memo, found, key, value, meaning)
                    self.changes += 1
                memo.candidate = found.hash

        if meaning != PLAIN:
            if meaning == HOST:
                has_host[0] = True
            elif meaning == CLOSES:
                request.keep_alive = False
            elif meaning == KEEPS:
                request.keep_alive = True
        count = PyDict_Size(environ)
        PyDict_SetDefault(environ, key, value)
        if PyDict_Size(environ) == count:
            # RFC 9110 §5.3: repeated fields make a list; cookies have a separator of their own.
            if meaning not in (PLAIN, COOKIE, SECRET) or (is_known and meaning == PLAIN):
                return DECLINED
            environ[key] = f"{environ[key]}{'; ' if meaning == COOKIE else ', '}{value}"
        return meaning

    cdef int scheme_field(self, bytes name, bytes value, int meaning) except -1:
        """Return what a field means whose name may be one of secure_scheme_headers."""
        cdef object word = self.schemes.get(name)
        if word is None:
            return meaning
        return DECLINED if meaning != PLAIN else SECURE if value == word else INSECURE
