"""Checks of octets, inline, without objects: what `_parser.pyx` asks of the bytes of a head.

Invariant of all: data[0:size] is readable.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef inline uint64_t hash_of(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # Multiply and fold, eight bytes at a time; the last step may overlap the one before.
    # What it finds is compared byte by byte, so a poor hash only costs time.
    cdef uint64_t word
    cdef uint64_t state = 0x9E3779B97F4A7C15ULL ^ <uint64_t>size
    cdef Py_ssize_t i = 0
    while i + 8 <= size:
        memcpy(&word, data + i, 8)
        state = (state ^ word) * 0xD6E8FEB86659FD93ULL
        state ^= state >> 32
        i += 8
    if i < size:
        word = 0
        if size >= 8:
            memcpy(&word, data + size - 8, 8)
        else:
            while i < size:
                word = word << 8 | data[i]
                i += 1
        state = (state ^ word) * 0xD6E8FEB86659FD93ULL
        state ^= state >> 32
    return state | 1  # never 0, which marks a free entry


cdef inline bint has_control(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # RFC 9110 §5.5: a field value holds no control characters but HTAB. Branch-free: it vectorizes.
    cdef uint8_t bad = 0
    cdef Py_ssize_t i
    for i in range(size):
        bad |= ((data[i] < 32) & (data[i] != 9)) | (data[i] == 127)
    return bad


cdef inline bint is_plain_host(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # A name or an IPv4 address, and perhaps a port: the forms that are met.
    cdef Py_ssize_t i = 0
    while i < size and (0x30 <= data[i] <= 0x39 or 0x41 <= data[i] <= 0x5A or 0x61 <= data[i] <= 0x7A
                        or data[i] in (0x2D, 0x2E, 0x5F)):
        i += 1
    if i == 0:
        return False
    if i < size and data[i] == 0x3A:
        i += 1
        while i < size and 0x30 <= data[i] <= 0x39:
            i += 1
    return i == size


cdef inline bint is_target(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # RFC 9112 §3.2: visible ASCII, no fragment.
    cdef uint8_t bad = 0
    cdef Py_ssize_t i
    for i in range(size):
        bad |= (data[i] < 0x21) | (data[i] > 0x7E) | (data[i] == 0x23)
    return not bad


cdef inline long long number(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    # 1*DIGIT (RFC 9110 §8.6) as long as it surely fits; else -1.
    cdef long long result = 0
    cdef Py_ssize_t i
    if not 1 <= size <= 18:
        return -1
    for i in range(size):
        if not 0x30 <= data[i] <= 0x39:
            return -1
        result = result * 10 + (data[i] - 0x30)
    return result
