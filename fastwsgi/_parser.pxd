cimport cython
from libc.stdint cimport uint8_t, uint64_t

from .request cimport Request


cdef struct Memo:
    # A field line seen twice, and what it came to; the references are held.
    uint64_t hash        # of the line; 0 = the entry is free
    uint64_t candidate   # of the last line that was not taken in
    void *line           # bytes
    void *key            # str
    void *value          # str
    int meaning


@cython.final
cdef class Parser:
    cdef object limits, forwarding
    cdef Py_ssize_t max_line, max_fields, max_field, max_head
    cdef long long max_body
    cdef dict schemes            # of forwarding, and
    cdef uint64_t scheme_sizes   # bits: lengths of their names
    cdef Memo *memos
    cdef dict base         # of the last request, and
    cdef str script_name   # what it says

    cpdef Request parse(self, bytes data, Py_ssize_t start, dict base, str remote_addr, str remote_port,
                        bint trusted)
    cpdef Py_ssize_t head_end(self, object buffer, Py_ssize_t searched) except -1

    cdef Request scan(self, bytes data, Py_ssize_t start, dict base, bint trusted, bint *incomplete)
    cdef int scan_field(self, dict environ, const uint8_t *line, Py_ssize_t size, Request request,
                        bint *has_host) except -1
    cdef int scheme_field(self, bytes name, bytes value, int meaning) except -1
    cdef object remember(self, Memo *memo, uint64_t hash, const uint8_t *line, Py_ssize_t size, object key,
                         object value, int meaning)
    cdef Request read(self, bytes data, Py_ssize_t start, dict base, str remote_addr, str remote_port,
                      bint trusted)
