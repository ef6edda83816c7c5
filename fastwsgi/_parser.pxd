cimport cython
from libc.stdint cimport uint8_t, uint64_t

from ._memory cimport Habit, Line, Memo
from .request cimport Request


@cython.final
cdef class Parser:
    cdef object limits, forwarding
    cdef Py_ssize_t max_line, max_fields, max_field, max_head
    cdef long long max_body
    cdef dict schemes            # of forwarding, and
    cdef uint64_t scheme_sizes   # bits: lengths of their names
    cdef bint hears              # fields of trusted_proxy_headers
    cdef str scheme              # that the last head has told
    cdef Memo *memos
    cdef Memo *first       # that of the line which heads begin with, and
    cdef uint64_t changes  # how often one was replaced
    cdef Habit *habits
    cdef list held         # what they point to
    cdef dict base         # of the last request, and
    cdef str script_name   # what it says

    cpdef Request parse(self, bytes data, Py_ssize_t start, dict base, str remote_addr, str remote_port,
                        bint trusted)
    cpdef Py_ssize_t head_end(self, object buffer, Py_ssize_t searched) except -1

    cdef Request scan(self, bytes data, Py_ssize_t start, dict base, bint trusted, bint *incomplete)
    cdef int scan_field(self, dict environ, Line *found, Request request, bint *has_host, bint is_known) except -1
    cdef int scheme_field(self, bytes name, bytes value, int meaning) except -1
