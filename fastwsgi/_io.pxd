cimport cython
from libc.stdint cimport uint32_t


cdef extern from "_os.h":
    enum:
        OS_READ, OS_WRITE, OS_HANGUP, OS_BATCH
    ctypedef struct os_event:
        int fd
        uint32_t tag
        int events


cdef struct Slot:
    # What is known of a descriptor; a table of these is indexed by its number.
    void *handler    # a reference is held; NULL = not registered
    uint32_t tag     # counts registrations of this number
    int events
    bint accepted    # it is a connection, and not closed


@cython.final
cdef class IO:
    cdef readonly str peer_addr, peer_port
    cdef int poller
    cdef Slot *slots
    cdef int slots_count
    cdef os_event batch[OS_BATCH]
    cdef int batch_count
    cdef char *received
    cdef Py_buffer shown  # 8 bytes of shared memory; .buf is NULL if nobody looks

    cpdef int fileno(self)
    cpdef object register(self, int fd, object handler, int events)
    cpdef object register_listener(self, int fd, object handler)
    cpdef object modify(self, int fd, int events)
    cpdef object unregister(self, int fd)
    cpdef int wait(self, double timeout) except -1
    cpdef object handler(self, int index)
    cpdef int events(self, int index) except -1
    cpdef int accept(self, int listener_fd) except -2
    cpdef object recv(self, int fd)
    cpdef object hurry(self, int fd)
    cpdef Py_ssize_t send(self, int fd, bytes data, Py_ssize_t offset=*, bint is_last=*) except -1
    cpdef Py_ssize_t sendv(self, int fd, list parts, Py_ssize_t offset=*) except -1
    cpdef Py_ssize_t sendfile(self, int fd, int file_fd, long long offset, Py_ssize_t count) except -2
    cpdef object shutdown_write(self, int fd)
    cpdef object close_fd(self, int fd)
    cpdef object show_in(self, object cell)
    cpdef object show(self, double time)
    cpdef double monotonic(self)
    cpdef object close(self)
    cpdef object disown(self)

    cdef Slot *slot(self, int fd) except NULL
    cdef object set_peer(self, void *address)
