cimport cython
from libc.stdint cimport uint8_t


cdef enum:
    NAME_SLOTS = 64


cdef struct NameSlot:
    # A name of a field, by the address of the str; one reference is held.
    void *name
    int meaning


@cython.final
cdef class Serializer:
    cdef uint8_t *buffer
    cdef Py_ssize_t capacity
    cdef dict status_lines
    cdef dict names  # of header fields that were checked, and what they mean
    cdef tuple stamp_lines
    cdef bytes server
    cdef NameSlot slots[NAME_SLOTS]
    cdef void *candidate          # address of the first field of the last block that was made
    cdef unsigned int renders     # how many have begun
    cdef int attempts             # at keeping one, since one was found again
    # What was made of these objects last.
    cdef object block_status
    cdef tuple block_fields
    cdef bytes block
    cdef int block_code, block_stamps
    cdef long long block_length
    cdef bint block_closes
    cdef readonly int code
    cdef readonly long long length
    cdef readonly bint closes
    cdef readonly int stamps

    cpdef object stamp(self, str date)
    cpdef bytes render(self, object status, object headers)
    cpdef bytes assemble(self, bytes block, int stamps, long long framing, bytes connection, bytes body)
    cpdef bytes chunk(self, bytes data)

    cdef uint8_t *room(self, Py_ssize_t used, Py_ssize_t wanted) except NULL
    cdef tuple status_line(self, status)
    cdef int meaning_of_name(self, name, const uint8_t *source, Py_ssize_t size) except -1
    cdef bint has_fields(self, list headers) noexcept
    cdef bint is_seen(self, list headers) noexcept
    cdef bint drops(self, int meaning, str value) except -1
