/* What apps have given of their responses and nobody has sent yet, and the thread that sends it.
 *
 * One thread of C serves all couriers of a process. It never needs the GIL, so it goes on whatever an app does,
 * and it sleeps for good while there is nothing to carry. Invariant: whoever holds `post` may take the lock of a
 * courier, never the other way round.
 */
#ifndef FASTWSGI_COURIER_H
#define FASTWSGI_COURIER_H

#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

enum {
    COURIER_ROOM = 65536, /* bytes */
    COURIER_TICK = 1000000, /* nanoseconds between two rounds, and */
    COURIER_RESTS = 4000000, /* where clients take nothing; no bell ends it, so what others give waits as long */
    COURIER_LAST = 8, /* rounds without work after which it sleeps */
    COURIER_STACK = 262144 /* bytes */
};

typedef struct fastwsgi_courier {
    pthread_mutex_t lock; /* guards what follows, but `next` and `seen` */
    char *data;
    size_t begun, size; /* data[begun:size] is to be sent to fd */
    int fd, sends, is_gone;
    unsigned uses;
    unsigned seen;
    struct fastwsgi_courier *next;
} fastwsgi_courier;

static pthread_mutex_t courier_post = PTHREAD_MUTEX_INITIALIZER; /* guards the list, and the next two */
static pthread_cond_t courier_bell = PTHREAD_COND_INITIALIZER;
static fastwsgi_courier *courier_first;
static int courier_runs, courier_forks;
static int courier_sleeps; /* atomic */

/* Send what `it` has, whose lock is held; say whether the client took any. */
static int courier_send(fastwsgi_courier *it) {
    ssize_t sent = send(it->fd, it->data + it->begun, it->size - it->begun, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
            return 0;
        it->is_gone = 1;
        it->begun = it->size;
        return 1;
    }
    it->sends += 1;
    it->begun += (size_t)sent;
    return 1;
}

/* Look after all couriers, with `post` held; say whether there was work: 2 if only such as cannot be done now. */
static int courier_round(void) {
    int work = 0;
    for (fastwsgi_courier *it = courier_first; it != NULL; it = it->next) {
        pthread_mutex_lock(&it->lock);
        if (it->uses != it->seen) {
            it->seen = it->uses;
            work = 1;
        }
        if (it->size != it->begun) {
            if (courier_send(it))
                work = 1;
            else if (!work)
                work = 2;
        }
        pthread_mutex_unlock(&it->lock);
    }
    return work;
}

static int courier_has_work(void) {
    int work = 0;
    for (fastwsgi_courier *it = courier_first; it != NULL; it = it->next) {
        pthread_mutex_lock(&it->lock);
        work |= it->size != it->begun;
        pthread_mutex_unlock(&it->lock);
    }
    return work;
}

static void *courier_run(void *nothing) {
    struct timespec pause = {0, COURIER_TICK};
    int idle = 0;
    pthread_mutex_lock(&courier_post);
    for (;;) {
        int work = courier_round();
        idle = work ? 0 : idle + 1;
        if (work == 2)
            pause.tv_nsec = pause.tv_nsec * 2 < COURIER_RESTS ? pause.tv_nsec * 2 : COURIER_RESTS;
        else
            pause.tv_nsec = COURIER_TICK;
        if (idle > COURIER_LAST) {
            /* Said before the last look: who adds something after that look sees it, and rings. */
            __atomic_store_n(&courier_sleeps, 1, __ATOMIC_SEQ_CST);
            if (!courier_has_work())
                pthread_cond_wait(&courier_bell, &courier_post);
            __atomic_store_n(&courier_sleeps, 0, __ATOMIC_SEQ_CST);
            idle = 0;
        }
        pthread_mutex_unlock(&courier_post);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&courier_post);
    }
    return nothing;
}

/* The child has no such thread, and what it has copied is the parent's to send. */
static void courier_in_child(void) {
    pthread_mutex_init(&courier_post, NULL);
    pthread_cond_init(&courier_bell, NULL);
    courier_runs = courier_sleeps = 0;
    for (fastwsgi_courier *it = courier_first; it != NULL; it = it->next) {
        pthread_mutex_init(&it->lock, NULL);
        it->begun = it->size = 0;
    }
}

/* Have the thread awake; say whether it is. */
static int courier_wake(void) {
    pthread_mutex_lock(&courier_post);
    if (courier_runs) {
        pthread_cond_signal(&courier_bell);
    } else {
        pthread_t thread;
        pthread_attr_t attributes;
        sigset_t all, before;
        if (!courier_forks)
            courier_forks = pthread_atfork(NULL, NULL, courier_in_child) == 0;
        sigfillset(&all); /* signals are for threads of Python */
        if (courier_forks && pthread_attr_init(&attributes) == 0) {
            pthread_attr_setstacksize(&attributes, COURIER_STACK);
            pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
            pthread_sigmask(SIG_SETMASK, &all, &before);
            courier_runs = pthread_create(&thread, &attributes, courier_run, NULL) == 0;
            pthread_sigmask(SIG_SETMASK, &before, NULL);
            pthread_attr_destroy(&attributes);
        }
    }
    int runs = courier_runs;
    pthread_mutex_unlock(&courier_post);
    return runs;
}

static fastwsgi_courier *courier_new(void) {
    fastwsgi_courier *it = (fastwsgi_courier *)PyMem_RawCalloc(1, sizeof(fastwsgi_courier));
    if (it != NULL) {
        pthread_mutex_init(&it->lock, NULL);
        it->fd = -1;
        pthread_mutex_lock(&courier_post);
        it->next = courier_first;
        courier_first = it;
        pthread_mutex_unlock(&courier_post);
    }
    return it;
}

static void courier_free(fastwsgi_courier *it) {
    if (it == NULL)
        return;
    pthread_mutex_lock(&courier_post);
    for (fastwsgi_courier **at = &courier_first; *at != NULL; at = &(*at)->next)
        if (*at == it) {
            *at = it->next;
            break;
        }
    pthread_mutex_unlock(&courier_post);
    pthread_mutex_destroy(&it->lock);
    PyMem_RawFree(it->data);
    PyMem_RawFree(it);
}

static void courier_lock(fastwsgi_courier *it) {
    pthread_mutex_lock(&it->lock);
}

static void courier_unlock(fastwsgi_courier *it) {
    pthread_mutex_unlock(&it->lock);
}

/* Lock `it` and make room for `size` bytes more to `fd`; NULL, and no lock, if they cannot be carried. */
static char *courier_begin(fastwsgi_courier *it, int fd, size_t size) {
    if (it->data == NULL && (it->data = (char *)PyMem_RawMalloc(COURIER_ROOM)) == NULL)
        return NULL;
    if (!__atomic_load_n(&courier_runs, __ATOMIC_RELAXED) && !courier_wake())
        return NULL;
    pthread_mutex_lock(&it->lock);
    if (it->begun == it->size) {
        it->begun = it->size = 0;
        it->fd = fd;
    }
    if (it->fd != fd || it->is_gone || size > COURIER_ROOM - it->size) {
        pthread_mutex_unlock(&it->lock);
        return NULL;
    }
    return it->data + it->size;
}

static void courier_end(fastwsgi_courier *it, size_t size) {
    it->size += size;
    it->uses += 1;
    pthread_mutex_unlock(&it->lock);
    if (__atomic_load_n(&courier_sleeps, __ATOMIC_SEQ_CST))
        courier_wake();
}

#endif
