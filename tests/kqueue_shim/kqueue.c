/* kqueue and kevent on epoll, for tests only: see sys/event.h beside it.
 *
 * A kqueue is an epoll descriptor and a table of knotes by descriptor. READ and WRITE are knotes of their own,
 * each with its own udata, and are reported apart; epoll holds the union of what is enabled, and nothing for
 * a descriptor with no enabled knote, since it would report hang-ups that nobody asked for.
 *
 * Both systems forget a descriptor when it is closed. The table here learns of it late: epoll then no longer
 * knows the descriptor, or knows nothing of it when a new one of the same number is added.
 *
 * Not for several threads at one kqueue.
 */
#include "sys/event.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

typedef struct {
    uint16_t flags; /* EV_ADD while it is there, with EV_DISABLE, EV_ONESHOT, EV_DISPATCH */
    void *udata;
} knote;

typedef struct {
    knote notes[2]; /* READ, WRITE */
    uint32_t held;  /* what epoll holds; 0 = the descriptor is not in it */
} watched;

typedef struct queue {
    int fd;
    size_t size;
    watched *table;
    struct queue *next;
} queue;

static queue *queues;

static queue *queue_of(int fd) {
    queue *one;
    for (one = queues; one != NULL; one = one->next)
        if (one->fd == fd)
            return one;
    errno = EBADF;
    return NULL;
}

int kqueue(void) {
    int fd = epoll_create1(0); /* FreeBSD and macOS do not set close-on-exec either */
    queue *one;
    if (fd < 0)
        return -1;
    one = queue_of(fd); /* of an earlier kqueue of this number, which was closed */
    if (one == NULL) {
        one = calloc(1, sizeof *one);
        if (one == NULL)
            abort();
        one->fd = fd;
        one->next = queues;
        queues = one;
    } else {
        memset(one->table, 0, one->size * sizeof *one->table);
    }
    return fd;
}

static watched *watched_of(queue *kq, int fd) {
    if ((size_t)fd >= kq->size) {
        size_t size = (size_t)fd * 2 + 64;
        watched *table = realloc(kq->table, size * sizeof *table);
        if (table == NULL)
            abort();
        memset(table + kq->size, 0, (size - kq->size) * sizeof *table);
        kq->table = table;
        kq->size = size;
    }
    return kq->table + fd;
}

static int is_enabled(const knote *note) {
    return (note->flags & (EV_ADD | EV_DISABLE)) == EV_ADD;
}

/* Let epoll hold what is enabled; return 0, or an errno. */
static int hold(queue *kq, int fd, watched *one) {
    struct epoll_event event;
    int operation = one->held ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    uint32_t wanted = (is_enabled(&one->notes[0]) ? EPOLLIN | EPOLLRDHUP : 0) |
                      (is_enabled(&one->notes[1]) ? EPOLLOUT : 0);
    if (wanted == one->held)
        return 0;
    memset(&event, 0, sizeof event);
    event.events = wanted;
    event.data.fd = fd;
    if (wanted == 0)
        operation = EPOLL_CTL_DEL;
    if (epoll_ctl(kq->fd, operation, fd, &event) < 0)
        return errno;
    one->held = wanted;
    return 0;
}

/* Forget the knotes of a descriptor that was closed, and maybe opened anew, since they were added. */
static void forget_if_closed(queue *kq, int fd, watched *one) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = one->held;
    event.data.fd = fd;
    if (one->held != 0 && epoll_ctl(kq->fd, EPOLL_CTL_MOD, fd, &event) < 0)
        memset(one, 0, sizeof *one);
}

/* Apply one change; return 0, or an errno. */
static int apply(queue *kq, const struct kevent *change) {
    int fd = (int)change->ident;
    watched *one;
    knote *note, before;
    int error;
    if (change->filter != EVFILT_READ && change->filter != EVFILT_WRITE)
        return EINVAL;
    if (fd < 0)
        return EBADF;
    one = watched_of(kq, fd);
    forget_if_closed(kq, fd, one);
    note = &one->notes[change->filter == EVFILT_WRITE];
    before = *note;
    if (!(change->flags & EV_ADD) && !(note->flags & EV_ADD))
        return ENOENT;
    if (change->flags & EV_DELETE) {
        memset(note, 0, sizeof *note);
    } else {
        uint16_t kept = note->flags & EV_DISABLE; /* adding again does not enable what was disabled */
        if (change->flags & EV_ADD) {
            note->flags = EV_ADD | kept | (change->flags & (EV_ONESHOT | EV_DISPATCH));
            note->udata = change->udata;
        }
        if (change->flags & EV_ENABLE)
            note->flags &= (uint16_t)~EV_DISABLE;
        if (change->flags & EV_DISABLE)
            note->flags |= EV_DISABLE;
    }
    error = hold(kq, fd, one);
    if (error != 0)
        *note = before;
    return error;
}

/* Turn what epoll says of a descriptor into at most two events; return how many. */
static int report(queue *kq, const struct epoll_event *ready, struct kevent *events, int room) {
    int fd = ready->data.fd;
    watched *one = watched_of(kq, fd);
    int is_broken = (ready->events & (EPOLLHUP | EPOLLERR)) != 0;
    int count = 0, which;
    for (which = 0; which < 2 && count < room; which++) {
        knote *note = &one->notes[which];
        int is_eof = is_broken || (which == 0 && (ready->events & EPOLLRDHUP) != 0);
        int bytes = 0;
        if (!is_enabled(note) || !(is_eof || (ready->events & (which == 0 ? EPOLLIN : EPOLLOUT))))
            continue;
        if (which == 0 && ioctl(fd, FIONREAD, &bytes) < 0)
            bytes = 1; /* a listener: at least one connection waits */
        /* fflags would be the socket's error; to ask Linux for it would clear it. */
        EV_SET(&events[count], fd, which == 0 ? EVFILT_READ : EVFILT_WRITE, is_eof ? EV_EOF : 0, 0, bytes,
               note->udata);
        count++;
        if (note->flags & EV_ONESHOT)
            memset(note, 0, sizeof *note);
        else if (note->flags & EV_DISPATCH)
            note->flags |= EV_DISABLE;
    }
    hold(kq, fd, one);
    return count;
}

static int milliseconds(const struct timespec *timeout) {
    if (timeout == NULL)
        return -1;
    if (timeout->tv_sec >= INT_MAX / 1000)
        return INT_MAX;
    return (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000);
}

int kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout) {
    struct epoll_event ready[256];
    queue *kq = queue_of(fd);
    int count = 0, found, i, room;
    if (kq == NULL)
        return -1;
    for (i = 0; i < nchanges; i++) {
        int error = apply(kq, &changes[i]);
        if (error == 0 && !(changes[i].flags & EV_RECEIPT))
            continue;
        if (count == nevents) {
            errno = error;
            return error ? -1 : count;
        }
        events[count] = changes[i];
        events[count].flags = EV_ERROR;
        events[count].data = error;
        count++;
    }
    if (count > 0 || nevents == 0)
        return count;
    /* Each descriptor may give two events, so no more are fetched than there is room for. */
    room = nevents / 2 > 0 ? nevents / 2 : 1;
    found = epoll_wait(fd, ready, room < 256 ? room : 256, milliseconds(timeout));
    if (found < 0)
        return -1;
    for (i = 0; i < found; i++)
        count += report(kq, &ready[i], events + count, nevents - count);
    return count;
}
