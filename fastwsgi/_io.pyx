# cython: language_level=3, boundscheck=False, wraparound=False
"""Polling and the system calls on sockets: the compiled form of `_io_py.py`, which says on what it rests.

None of the calls on a socket can block, so they are made with the GIL held; it is released only for a wait
that would block, since releasing it costs more than most of the calls. One IO belongs to one loop, whose lock
guards it; without that lock `wait` may be called, which only one thread does at a time, and what touches
nothing but descriptors: `hurry`, `send`, `sendv`, `sendfile`, `monotonic`.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport ceil
from libc.stdint cimport uint8_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as os_close

import os

from . import states
from ._io_py import NOBODY, foreign_hands

if (OS_READ, OS_WRITE, OS_HANGUP) != (states.READ, states.WRITE, states.HANGUP):
    raise AssertionError("_os.h and states.py disagree")

cdef frozenset nobody = NOBODY

cdef enum:
    RECEIVED_AT_ONCE = 65536
    GATHERED = 64

cdef extern from "_os.h" nogil:
    const char *OS_POLLER_NAME
    enum:
        MSG_NOSIGNAL
        MSG_MORE
    int os_poller_open()
    int os_poller_add(int poller, int fd, uint32_t tag, int events)
    int os_poller_add_listener(int poller, int fd, uint32_t tag)
    int os_poller_change(int poller, int fd, uint32_t tag, int before, int events)
    int os_poller_remove(int poller, int fd, int before)
    int os_poller_wait(int poller, os_event *batch, int timeout)
    Py_ssize_t os_sendfile(int fd, int file, long long offset, size_t count)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET, AF_INET6, SHUT_WR
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    int os_accept(int listener, sockaddr *address, socklen_t *size)
    Py_ssize_t recv(int fd, void *buffer, size_t size, int flags)
    Py_ssize_t send(int fd, const void *data, size_t size, int flags)
    Py_ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size)

cdef extern from "<netinet/in.h>" nogil:
    enum:
        IPPROTO_TCP
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_port
        in6_addr sin6_addr

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)
    unsigned short ntohs(unsigned short number)


cdef inline Py_ssize_t put_number(char *text, unsigned int number) noexcept:
    """Write `number`, of five digits at the most, and return how many it has."""
    # Invariant: text has room for them.
    cdef Py_ssize_t size = 1 + (number > 9) + (number > 99) + (number > 999) + (number > 9999)
    cdef Py_ssize_t at = size
    while at:
        at -= 1
        text[at] = <char>(0x30 + number % 10)
        number //= 10
    return size


cdef inline bint would_block() noexcept:
    return errno == EAGAIN  # EWOULDBLOCK is the same number on Linux, macOS and the BSDs


@cython.final
cdef class IO:
    def __cinit__(self):
        self.poller = -1
        self.slots = NULL
        self.slots_count = 0
        self.batch_count = 0
        self.received = <char *>PyMem_Malloc(RECEIVED_AT_ONCE)
        if self.received == NULL:
            raise MemoryError

    def __init__(self):
        self.peer_addr = self.peer_port = ""
        self.poller = os_poller_open()
        if self.poller < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        cdef int fd
        if self.poller >= 0:
            os_close(self.poller)
        for fd in range(self.slots_count):
            Py_XDECREF(<PyObject *>self.slots[fd].handler)
        PyMem_Free(self.slots)
        PyMem_Free(self.received)
        PyBuffer_Release(&self.shown)

    @property
    def backend(self):
        return OS_POLLER_NAME.decode()

    cpdef int fileno(self):
        return self.poller

    cdef Slot *slot(self, int fd) except NULL:
        # Invariant: the pointer is valid until the next call that may grow the table.
        cdef int count
        cdef Slot *slots
        if fd < 0:
            raise ValueError(f"bad descriptor {fd}")
        if fd >= self.slots_count:
            count = max(fd + 1, self.slots_count * 2, 256)
            slots = <Slot *>PyMem_Realloc(self.slots, count * sizeof(Slot))
            if slots == NULL:
                raise MemoryError
            memset(slots + self.slots_count, 0, (count - self.slots_count) * sizeof(Slot))
            self.slots = slots
            self.slots_count = count
        return self.slots + fd

    # Polling.

    cpdef object register(self, int fd, object handler, int events):
        cdef Slot *slot = self.slot(fd)
        if slot.handler != NULL:
            raise ValueError(f"descriptor {fd} is registered")
        slot.tag += 1
        if os_poller_add(self.poller, fd, slot.tag, events) < 0:
            PyErr_SetFromErrno(OSError)
        Py_INCREF(handler)
        slot.handler = <void *>handler
        slot.events = events

    cpdef object register_listener(self, int fd, object handler):
        cdef Slot *slot = self.slot(fd)
        if slot.handler != NULL:
            raise ValueError(f"descriptor {fd} is registered")
        slot.tag += 1
        if os_poller_add_listener(self.poller, fd, slot.tag) < 0:
            PyErr_SetFromErrno(OSError)
        Py_INCREF(handler)
        slot.handler = <void *>handler
        slot.events = OS_READ

    cpdef object modify(self, int fd, int events):
        cdef Slot *slot = self.slot(fd)
        if slot.handler == NULL:
            raise ValueError(f"descriptor {fd} is not registered")
        if os_poller_change(self.poller, fd, slot.tag, slot.events, events) < 0:
            PyErr_SetFromErrno(OSError)
        slot.events = events

    cpdef object unregister(self, int fd):
        cdef Slot *slot = self.slot(fd)
        cdef int events = slot.events
        cdef object handler
        if slot.handler == NULL:
            raise ValueError(f"descriptor {fd} is not registered")
        # handler() gives nothing for this descriptor from here on, whatever is in the batch. It is held to the
        # end: letting go of it may close the descriptor.
        handler = <object>slot.handler
        slot.handler = NULL
        slot.events = 0
        Py_XDECREF(<PyObject *>handler)
        if os_poller_remove(self.poller, fd, events) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef int wait(self, double timeout) except -1:
        cdef int poller = self.poller
        cdef int milliseconds, count
        self.batch_count = 0
        count = os_poller_wait(poller, self.batch, 0)
        if count == 0 and timeout != 0:
            # Rounded up: a wait that ends early would be repeated until the time has come.
            milliseconds = -1 if timeout < 0 else <int>min(ceil(timeout * 1000), 86400000.0)
            # Invariant: batch belongs to this object, which its caller keeps alive.
            with nogil:
                count = os_poller_wait(poller, self.batch, milliseconds)
        if count < 0:
            if errno == EINTR:
                return 0
            PyErr_SetFromErrno(OSError)
        self.batch_count = count
        return count

    cpdef object handler(self, int index):
        cdef os_event *event
        cdef Slot *slot
        if not 0 <= index < self.batch_count:
            raise IndexError(index)
        event = self.batch + index
        # Invariant: an event's descriptor was registered, so the table reaches to it.
        slot = self.slots + event.fd
        if slot.handler == NULL or slot.tag != event.tag:
            return None
        return <object>slot.handler

    cpdef int events(self, int index) except -1:
        if not 0 <= index < self.batch_count:
            raise IndexError(index)
        return self.batch[index].events

    # Sockets.

    cpdef int accept(self, int listener_fd) except -2:
        cdef sockaddr_storage address
        cdef socklen_t size = sizeof(address)
        cdef Slot *slot
        cdef int fd = os_accept(listener_fd, <sockaddr *>&address, &size)
        if fd < 0:
            if errno in nobody:
                return -1
            PyErr_SetFromErrno(OSError)
        try:
            slot = self.slot(fd)
        except MemoryError:
            os_close(fd)
            raise
        if slot.accepted:
            raise foreign_hands(fd)
        slot.accepted = True
        if address.ss_family == AF_INET or address.ss_family == AF_INET6:
            try:
                self.set_peer(&address)
            except MemoryError:
                self.close_fd(fd)
                raise
        else:
            self.peer_addr = self.peer_port = ""
        return fd

    cdef object set_peer(self, void *address):
        # Invariant: address is a sockaddr_storage whose family is AF_INET or AF_INET6.
        cdef char text[64]
        cdef const uint8_t *octets
        cdef Py_ssize_t size = 0
        cdef unsigned short port
        cdef int i
        if (<sockaddr_storage *>address).ss_family == AF_INET:
            # inet_ntop goes through sprintf, which costs more than all else that is done for a connection here.
            octets = <const uint8_t *>&(<sockaddr_in *>address).sin_addr
            for i in range(4):
                if i:
                    text[size] = b"."
                    size += 1
                size += put_number(text + size, octets[i])
            self.peer_addr = PyUnicode_DecodeASCII(text, size, NULL)
            port = (<sockaddr_in *>address).sin_port
        else:
            inet_ntop(AF_INET6, &(<sockaddr_in6 *>address).sin6_addr, text, sizeof(text))
            self.peer_addr = (<bytes>text).decode("ascii")
            port = (<sockaddr_in6 *>address).sin6_port
        self.peer_port = PyUnicode_DecodeASCII(text, put_number(text, ntohs(port)), NULL)

    cpdef object recv(self, int fd):
        cdef Py_ssize_t size
        while True:
            size = recv(fd, self.received, RECEIVED_AT_ONCE, 0)
            if size >= 0:
                return PyBytes_FromStringAndSize(self.received, size)
            if would_block():
                return None
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef object hurry(self, int fd):
        cdef int on = 1
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))  # fails only where the peer has gone

    cpdef Py_ssize_t send(self, int fd, bytes data, Py_ssize_t offset=0, bint is_last=False) except -1:
        cdef Py_ssize_t sent
        cdef int flags = MSG_NOSIGNAL | MSG_MORE if is_last else MSG_NOSIGNAL
        if not 0 <= offset <= PyBytes_GET_SIZE(data):
            raise ValueError(f"offset {offset} is outside of the data")
        while True:
            sent = send(fd, PyBytes_AS_STRING(data) + offset, PyBytes_GET_SIZE(data) - offset, flags)
            if sent >= 0:
                if is_last and sent == PyBytes_GET_SIZE(data) - offset:
                    # What MSG_MORE held back leaves here, not with close(): where something unread has come,
                    # that would throw it away.
                    shutdown(fd, SHUT_WR)
                return sent
            if would_block():
                return 0
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef Py_ssize_t sendv(self, int fd, list parts, Py_ssize_t offset=0) except -1:
        cdef iovec pieces[GATHERED]
        cdef msghdr message
        cdef Py_ssize_t sent
        cdef int count = 0
        cdef bytes part
        # Invariant: `parts` keeps the bytes objects alive, and nothing runs that could change it.
        for item in parts:
            if count == GATHERED:
                break
            part = <bytes?>item
            if not 0 <= offset <= PyBytes_GET_SIZE(part):
                raise ValueError(f"offset {offset} is outside of the data")
            pieces[count].iov_base = PyBytes_AS_STRING(part) + offset
            pieces[count].iov_len = PyBytes_GET_SIZE(part) - offset
            offset = 0
            count += 1
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        message.msg_iovlen = count
        while True:
            sent = sendmsg(fd, &message, MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if would_block():
                return 0
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef Py_ssize_t sendfile(self, int fd, int file_fd, long long offset, Py_ssize_t count) except -2:
        cdef Py_ssize_t sent
        while True:
            # With the GIL released: the file may have to come from a disk.
            with nogil:
                sent = os_sendfile(fd, file_fd, offset, count)
            if sent > 0:
                return sent
            if sent == 0:
                return -1
            if would_block():
                return 0
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef object shutdown_write(self, int fd):
        shutdown(fd, SHUT_WR)  # fails only where the peer has gone already

    cpdef object close_fd(self, int fd):
        # Invariant: a descriptor that was not accepted here need not have a slot.
        if 0 <= fd < self.slots_count:
            self.slots[fd].accepted = False
        # Not retried after EINTR: the descriptor is gone by then (close(2)).
        if os_close(fd) < 0 and errno != EINTR:
            PyErr_SetFromErrno(OSError)

    cpdef object show_in(self, object cell):
        PyBuffer_Release(&self.shown)
        self.shown.buf = NULL
        PyObject_GetBuffer(cell, &self.shown, PyBUF_WRITABLE | PyBUF_FORMAT | PyBUF_ND)
        if self.shown.len != sizeof(double):
            PyBuffer_Release(&self.shown)
            self.shown.buf = NULL
            raise ValueError("a cell is one double")

    cpdef object show(self, double time):
        # Invariant: buf is NULL or those 8 bytes; the buffer is held until this object goes.
        if self.shown.buf != NULL:
            (<double *>self.shown.buf)[0] = time

    cpdef double monotonic(self):
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        return now.tv_sec + now.tv_nsec * 1e-9

    cpdef object disown(self):
        # Nothing is unregistered: the parent's poller is this one.
        cdef int fresh = os_poller_open()
        if fresh < 0:
            PyErr_SetFromErrno(OSError)
        os.dup2(fresh, self.poller, False)
        os_close(fresh)

    cpdef object close(self):
        cdef int fd
        cdef void *handler
        for fd in range(self.slots_count):
            # Not the other way round: letting go of one may run Python, which comes back here.
            handler = self.slots[fd].handler
            self.slots[fd].handler = NULL
            Py_XDECREF(<PyObject *>handler)
        self.batch_count = 0
        if self.poller >= 0:
            os_close(self.poller)
            self.poller = -1
