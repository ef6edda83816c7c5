/* kqueue and kevent on epoll, for tests only: see sys/event.h beside it.
 *
 * A kqueue is an epoll descriptor and a table of knotes by descriptor. READ and WRITE are knotes of their
 * own, each with its own udata, and are reported apart; epoll holds the union of what is enabled, and nothing
 * for a descriptor with no enabled knote, since it would report hang-ups that nobody asked for.
 *
 * kqueue forgets a descriptor when it is closed. The table here learns of it late, by the file that the
 * number stands for; and epoll goes on watching a file that lives on under another number, so it is made
 * anew then.
 *
 * Not for several threads at one kqueue.
 */
#include "sys/event.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    uint16_t flags; /* EV_ADD while it is there, with EV_DISABLE, EV_ONESHOT, EV_DISPATCH, EV_CLEAR */
    void *udata;
} knote;

typedef struct {
    knote notes[2]; /* READ, WRITE */
    uint32_t held;  /* what epoll holds; 0 = the descriptor is not in it */
    uint32_t birth; /* tells it from an earlier file of this number, in what epoll reports */
    dev_t device;
    ino_t inode;
} watched;

typedef struct queue {
    int fd;
    uint32_t births;
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

/* Let epoll hold what is enabled; return 0, or an errno. EV_CLEAR counts if all that is enabled has it. */
static int hold(queue *kq, int fd, watched *one) {
    struct epoll_event event;
    int operation = one->held ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    uint32_t wanted = 0, edge = EPOLLET;
    int which;
    for (which = 0; which < 2; which++) {
        if (!is_enabled(&one->notes[which]))
            continue;
        wanted |= which == 0 ? EPOLLIN | EPOLLRDHUP : EPOLLOUT;
        if (!(one->notes[which].flags & EV_CLEAR))
            edge = 0;
    }
    if (wanted != 0)
        wanted |= edge;
    if (wanted == one->held)
        return 0;
    memset(&event, 0, sizeof event);
    event.events = wanted;
    event.data.u64 = (uint64_t)one->birth << 32 | (uint32_t)fd;
    if (wanted == 0)
        operation = EPOLL_CTL_DEL;
    if (epoll_ctl(kq->fd, operation, fd, &event) < 0)
        return errno;
    one->held = wanted;
    return 0;
}

/* Drop the knotes of a file that was closed; return whether the descriptor is open. */
static int look(queue *kq, int fd, watched *one) {
    struct stat now;
    int is_open = fstat(fd, &now) == 0;
    if (!is_open || now.st_dev != one->device || now.st_ino != one->inode) {
        memset(one, 0, sizeof *one);
        if (is_open) {
            one->birth = ++kq->births;
            one->device = now.st_dev;
            one->inode = now.st_ino;
        }
    }
    return is_open;
}

/* Make epoll anew, under the same number, from what is still open. */
static void renew(queue *kq) {
    int flags = fcntl(kq->fd, F_GETFD);
    int fd = epoll_create1(0);
    size_t each;
    if (fd < 0 || dup2(fd, kq->fd) < 0)
        abort();
    close(fd);
    fcntl(kq->fd, F_SETFD, flags);
    for (each = 0; each < kq->size; each++) {
        watched *one = kq->table + each;
        if (one->held == 0 || !look(kq, (int)each, one))
            continue;
        one->held = 0;
        hold(kq, (int)each, one);
    }
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
    if (!look(kq, fd, one))
        return EBADF;
    note = &one->notes[change->filter == EVFILT_WRITE];
    before = *note;
    if (!(change->flags & EV_ADD) && !(note->flags & EV_ADD))
        return ENOENT;
    if (change->flags & EV_DELETE) {
        memset(note, 0, sizeof *note);
    } else {
        uint16_t kept = note->flags & EV_DISABLE; /* adding again does not enable what was disabled */
        if (change->flags & EV_ADD) {
            note->flags = EV_ADD | kept | (change->flags & (EV_ONESHOT | EV_DISPATCH | EV_CLEAR));
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

/* Turn what epoll says of a descriptor into at most two events; return how many, -1 if it was closed. */
static int report(queue *kq, const struct epoll_event *ready, struct kevent *events, int room) {
    int fd = (int)(uint32_t)ready->data.u64;
    watched *one = watched_of(kq, fd);
    int is_broken = (ready->events & (EPOLLHUP | EPOLLERR)) != 0;
    int count = 0, which;
    if (!look(kq, fd, one) || (uint32_t)(ready->data.u64 >> 32) != one->birth)
        return -1;
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

static int64_t milliseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000 + (time->tv_nsec + 999999) / 1000000;
}

static int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return milliseconds(&now);
}

int kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout) {
    struct epoll_event ready[256];
    queue *kq = queue_of(fd);
    int64_t left = -1, end = 0;
    int count = 0, found, i, room;
    if (kq == NULL)
        return -1;
    if (timeout != NULL) {
        if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000) {
            errno = EINVAL;
            return -1;
        }
        left = milliseconds(timeout);
        end = left > 0 ? clock_now() + left : 0;
    }
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
    for (;;) {
        int has_closed = 0;
        found = epoll_wait(fd, ready, room < 256 ? room : 256, left < INT_MAX ? (int)left : INT_MAX);
        if (found < 0)
            return -1;
        for (i = 0; i < found; i++) {
            int made = report(kq, &ready[i], events + count, nevents - count);
            if (made < 0)
                has_closed = 1;
            else
                count += made;
        }
        if (has_closed)
            renew(kq);
        if (count > 0 || !has_closed)
            return count;
        if (left > 0) /* what was closed must not end the wait */
            left = end > clock_now() ? end - clock_now() : 0;
    }
}
