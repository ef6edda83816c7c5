"""What heads have held before, found by a look at the bytes: field lines, and sets of them. For `_parser.pyx`.

Invariants: a Memo that has a line holds one reference to each of its objects. What a Habit points to is held by
the parser, in a list. A line of either has no CR, so that where its bytes stand before CRLF, a line ends.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

from ._octets cimport hash_of

cdef enum:
    # What a field means to the scanner.
    PLAIN, HOST, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, SECRET
    # What a memo says of a Connection line.
    CLOSES, KEEPS
    DECLINED
    # What a proxy says of the scheme.
    SECURE, INSECURE

    MAX_MEMO_LINE = 256
    MEMOS = 512
    MAX_HABIT = 24
    HABITS = 256
    MAX_STRENGTH = 8


cdef struct Memo:
    # A field line seen twice, and what it came to.
    uint64_t hash        # of the line; 0 = the entry is free
    uint64_t candidate   # of the last line that was not taken in
    void *line           # bytes
    void *key            # str
    void *value          # str
    int meaning
    Memo *next           # that of the line which followed last time, and
    Memo *later          # that of the first line to follow behind some that are not remembered


cdef struct Habit:
    # The remembered lines of a head that was seen twice, in their order, and what they come to together.
    uint64_t candidate          # of the last head that was not taken in
    int strength                # by how many more finds than rivals it has the entry
    Py_ssize_t count            # of lines; 0 = the entry is free
    void *lines[MAX_HABIT]      # bytes
    void *base                  # dict, the environ that the request began with
    void *environ               # dict, base with what the lines say
    bint has_host
    int connection, scheme      # meanings; PLAIN = nothing is said of it


cdef struct Line:
    # A field line of the head that is being read, without its CRLF.
    const uint8_t *data
    Py_ssize_t size
    uint64_t hash   # 0 = not known, or too long to be remembered
    Memo *memo      # NULL = not remembered


cdef inline bint stands_at(void *line, const uint8_t *at, const uint8_t *limit) noexcept:
    """Return whether what is read from `at` on is this line, whole."""
    # Invariant: line is bytes; only data before limit is read.
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<object>line)
    return (limit - at >= size + 2 and at[size] == 0x0D and at[size + 1] == 0x0A
            and memcmp(PyBytes_AS_STRING(<object>line), at, size) == 0)


cdef inline Memo *find_memo(Memo *memos, Line *line) noexcept:
    """Return the entry of a line, NULL if there is none; its hash is in `line` then, if it could get one."""
    cdef Memo *memo
    line.hash = 0
    if line.size > MAX_MEMO_LINE:
        return NULL
    line.hash = hash_of(line.data, line.size)
    memo = slot_of(memos, line.hash)
    if (memo.hash == line.hash and PyBytes_GET_SIZE(<object>memo.line) == line.size
            and memcmp(PyBytes_AS_STRING(<object>memo.line), line.data, line.size) == 0):
        return memo
    return NULL


cdef inline Memo *slot_of(Memo *memos, uint64_t hash) noexcept:
    return &memos[hash >> 20 & (MEMOS - 1)]


cdef inline bint is_habit(Habit *habit, dict base, void **lines, Py_ssize_t count) noexcept:
    # The lines are bytes objects that the habit holds: the same object is the same line.
    return (habit.count == count and habit.base == <void *>base
            and memcmp(habit.lines, lines, count * sizeof(void *)) == 0)


cdef inline object remember(Memo *memo, Line *line, object key, object value, int meaning):
    """Put a line into an entry, in place of another."""
    # Invariant: they are swapped before the old ones are let go, so that the entry is whole whatever runs then.
    cdef object kept = PyBytes_FromStringAndSize(<const char *>line.data, line.size)
    cdef Memo old = memo[0]
    Py_INCREF(kept)
    Py_INCREF(key)
    Py_INCREF(value)
    memo.line = <void *>kept
    memo.key = <void *>key
    memo.value = <void *>value
    memo.meaning = meaning
    memo.hash = line.hash
    forget(&old)


cdef inline void forget(Memo *memo) noexcept:
    Py_XDECREF(<PyObject *>memo.line)
    Py_XDECREF(<PyObject *>memo.key)
    Py_XDECREF(<PyObject *>memo.value)


cdef inline list learn(Habit *habit, Memo *memos, dict base, Line *lines, Py_ssize_t fields):
    """Take in the remembered lines of a head, if they do not repeat or contradict each other.

    Returns what the habit points to, which the caller has to hold.
    """
    cdef dict environ = PyDict_Copy(base)
    cdef list held = [base, environ]
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    cdef int meaning
    cdef Memo *memo
    habit.count = 0
    habit.has_host = False
    habit.connection = habit.scheme = PLAIN
    for i in range(fields):
        if lines[i].memo == NULL:
            continue
        memo = find_memo(memos, &lines[i])  # it may have been replaced meanwhile
        if memo == NULL or <object>memo.key in environ:
            return None
        environ[<object>memo.key] = <object>memo.value
        meaning = memo.meaning
        if meaning == HOST:
            habit.has_host = True
        elif meaning == CLOSES or meaning == KEEPS:
            habit.connection = meaning
        elif meaning == SECURE or meaning == INSECURE:
            if habit.scheme != PLAIN and habit.scheme != meaning:
                return None
            habit.scheme = meaning
        held.append(<object>memo.line)
        habit.lines[count] = memo.line
        count += 1
    habit.base = <void *>base
    habit.environ = <void *>environ
    habit.count = count
    return held
