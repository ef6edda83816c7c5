/* What the systems do differently, behind one set of names: the poller (epoll on Linux, kqueue on macOS
 * and the BSDs), accept and sendfile. `_io.pyx` is written against these names only.
 *
 * FASTWSGI_USE_KQUEUE selects kqueue on Linux too, for tests over a shim of kqueue() and kevent().
 */
#ifndef FASTWSGI_OS_H
#define FASTWSGI_OS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__linux__) && !defined(FASTWSGI_USE_KQUEUE)
#define FASTWSGI_EPOLL 1
#include <sys/epoll.h>
#else
#include <sys/event.h>
#include <sys/time.h>
#endif

#ifdef __linux__
#include <sys/sendfile.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE at accept; CPython ignores SIGPIPE besides */
#endif

#ifndef MSG_MORE
#define MSG_MORE 0 /* not on macOS and the BSDs: the end of the stream has a packet of its own there */
#endif

enum { OS_READ = 1, OS_WRITE = 2, OS_HANGUP = 4 };

/* One event of a batch. `tag` is the caller's: it tells a descriptor from an earlier one of that number. */
typedef struct {
    int fd;
    uint32_t tag;
    int events;
} os_event;

enum { OS_BATCH = 256 };

#ifdef FASTWSGI_EPOLL

#define OS_POLLER_NAME "epoll"

static inline int os_poller_open(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

static inline int os_epoll_ctl(int poller, int operation, int fd, uint32_t tag, uint32_t flags) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = flags;
    event.data.u64 = (uint64_t)tag << 32 | (uint32_t)fd;
    return epoll_ctl(poller, operation, fd, &event);
}

static inline uint32_t os_epoll_flags(int events) {
    return (events & OS_READ ? EPOLLIN : 0) | (events & OS_WRITE ? EPOLLOUT : 0);
}

static inline int os_poller_add(int poller, int fd, uint32_t tag, int events) {
    return os_epoll_ctl(poller, EPOLL_CTL_ADD, fd, tag, os_epoll_flags(events));
}

static inline int os_poller_add_listener(int poller, int fd, uint32_t tag) {
    int result = -1;
#ifdef EPOLLEXCLUSIVE
    result = os_epoll_ctl(poller, EPOLL_CTL_ADD, fd, tag, EPOLLIN | EPOLLEXCLUSIVE);
    if (result == 0 || errno != EINVAL)
        return result;
#endif
    return os_poller_add(poller, fd, tag, OS_READ); /* a kernel before 4.5 */
}

static inline int os_poller_change(int poller, int fd, uint32_t tag, int before, int events) {
    (void)before;
    return os_epoll_ctl(poller, EPOLL_CTL_MOD, fd, tag, os_epoll_flags(events));
}

static inline int os_poller_remove(int poller, int fd, int before) {
    (void)before;
    return os_epoll_ctl(poller, EPOLL_CTL_DEL, fd, 0, 0);
}

/* Wait up to `timeout` milliseconds, for ever if negative. */
static inline int os_poller_wait(int poller, os_event *batch, int timeout) {
    struct epoll_event ready[OS_BATCH];
    int i, count = epoll_wait(poller, ready, OS_BATCH, timeout);
    for (i = 0; i < count; i++) {
        uint32_t flags = ready[i].events;
        batch[i].fd = (int)(uint32_t)ready[i].data.u64;
        batch[i].tag = (uint32_t)(ready[i].data.u64 >> 32);
        batch[i].events = (flags & EPOLLIN ? OS_READ : 0) | (flags & EPOLLOUT ? OS_WRITE : 0) |
                          (flags & (EPOLLERR | EPOLLHUP) ? OS_HANGUP : 0);
    }
    return count;
}

#else /* kqueue: READ and WRITE are filters of their own, each added, or deleted, by itself */

#define OS_POLLER_NAME "kqueue"

static inline int os_poller_open(void) {
    int poller = kqueue();
    if (poller >= 0)
        fcntl(poller, F_SETFD, FD_CLOEXEC);
    return poller;
}

/* One filter at a time: an error in a list of changes would leave those behind it undone. */
static inline int os_knote(int poller, int fd, int filter, int is_wanted, uint32_t tag) {
    struct kevent change;
    int result;
    EV_SET(&change, fd, filter, is_wanted ? EV_ADD : EV_DELETE, 0, 0, (void *)(uintptr_t)tag);
    result = kevent(poller, &change, 1, NULL, 0, NULL);
    if (result < 0 && !is_wanted && errno == ENOENT)
        return 0; /* gone already, which is what was wanted */
    return result;
}

static inline int os_poller_change(int poller, int fd, uint32_t tag, int before, int events) {
    int changed = before ^ events;
    if (changed & OS_READ && os_knote(poller, fd, EVFILT_READ, events & OS_READ, tag) < 0)
        return -1;
    if (changed & OS_WRITE && os_knote(poller, fd, EVFILT_WRITE, events & OS_WRITE, tag) < 0)
        return -1;
    return 0;
}

static inline int os_poller_add(int poller, int fd, uint32_t tag, int events) {
    int result = os_poller_change(poller, fd, tag, 0, events);
    if (result < 0) { /* both or none: nobody will remove the one that was added */
        int error = errno;
        os_poller_change(poller, fd, tag, events, 0);
        errno = error;
    }
    return result;
}

static inline int os_poller_add_listener(int poller, int fd, uint32_t tag) {
    return os_poller_add(poller, fd, tag, OS_READ);
}

static inline int os_poller_remove(int poller, int fd, int before) {
    return os_poller_change(poller, fd, 0, before, 0);
}

static inline int os_poller_wait(int poller, os_event *batch, int timeout) {
    struct kevent ready[OS_BATCH];
    struct timespec limit;
    int i, count;
    limit.tv_sec = timeout / 1000;
    limit.tv_nsec = (long)(timeout % 1000) * 1000000;
    count = kevent(poller, NULL, 0, ready, OS_BATCH, timeout < 0 ? NULL : &limit);
    for (i = 0; i < count; i++) {
        batch[i].fd = (int)ready[i].ident;
        batch[i].tag = (uint32_t)(uintptr_t)ready[i].udata;
        /* EV_EOF comes with data still to be read: a read finds the end, a write the error. */
        batch[i].events = ready[i].filter == EVFILT_READ ? OS_READ : OS_WRITE;
        if (ready[i].flags & EV_ERROR)
            batch[i].events = OS_HANGUP;
    }
    return count;
}

#endif

/* Accept a connection, non-blocking and closed on exec. */
static inline int os_accept(int listener, struct sockaddr *address, socklen_t *size) {
#if defined(SOCK_NONBLOCK) && !defined(FASTWSGI_USE_KQUEUE)
    return accept4(listener, address, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else /* macOS; the shim's build too, so that this is tested */
    int fd = accept(listener, address, size);
    if (fd < 0)
        return -1;
    if (*size == 0) {
        /* macOS hands out, without an address, what was reset while it waited. */
        close(fd);
        errno = ECONNABORTED;
        return -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
    {
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    }
#endif
    return fd;
#endif
}

/* Send a piece of a file; return the bytes taken, 0 at the end of the file, -1 with errno. */
static inline ssize_t os_sendfile(int fd, int file, off_t offset, size_t count) {
    if (count == 0)
        return 0; /* macOS and FreeBSD would send all that the file has */
#if defined(__linux__)
    return sendfile(fd, file, &offset, count);
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__DragonFly__)
    {
#ifdef __APPLE__
        off_t sent = (off_t)count;
        int result = sendfile(file, fd, offset, &sent, NULL, 0);
#else
        off_t sent = 0;
        int result = sendfile(file, fd, offset, count, NULL, &sent, 0);
#endif
        /* A full socket or a signal ends it half-way. After any other error macOS may leave in `sent` what
         * was asked for, as if all had been taken. */
        if (result < 0 && (sent == 0 || (errno != EAGAIN && errno != EINTR)))
            return -1;
        return (ssize_t)sent;
    }
#else /* OpenBSD, NetBSD */
    (void)fd, (void)file, (void)offset;
    errno = ENOSYS;
    return -1;
#endif
}

#endif
