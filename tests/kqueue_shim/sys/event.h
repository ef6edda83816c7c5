/* kqueue(2) and kevent(2) for tests on Linux: the names and meanings of the manual pages of FreeBSD and
 * macOS, as far as the poller in fastwsgi/_os.h and its tests use them. kqueue.c implements them on epoll.
 *
 * Left out: filters other than READ and WRITE (no timer is used), low-water marks, `fflags` at EV_EOF (asking
 * Linux for the error of a socket clears it), EV_EOF for WRITE after one's own shutdown, the end by fork.
 */
#ifndef KQUEUE_SHIM_SYS_EVENT_H
#define KQUEUE_SHIM_SYS_EVENT_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)

/* What to do with a knote. */
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
/* What is reported. */
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(event, i, f, fl, ff, d, u)                                                                    \
    do {                                                                                                     \
        struct kevent *ev_set_ = (event);                                                                    \
        ev_set_->ident = (uintptr_t)(i);                                                                     \
        ev_set_->filter = (int16_t)(f);                                                                      \
        ev_set_->flags = (uint16_t)(fl);                                                                     \
        ev_set_->fflags = (uint32_t)(ff);                                                                    \
        ev_set_->data = (intptr_t)(d);                                                                       \
        ev_set_->udata = (u);                                                                                \
    } while (0)

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout);

#endif
