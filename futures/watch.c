/* Several futures at a time: wait, as_completed, when_any.
 *
 * A watcher leaves a watch with each future; a future that is done puts it into the watcher's list, in order, and that is all
 * it costs, however many there are. Futures may be of any executors, and of one's own: each watch is under its future's lock, the
 * list under the watcher's, which is taken below any of those. Who waits sleeps on the watcher; it drives no pool. A watcher holds
 * its futures. It fails for want of memory only. */
#include "futures/future.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "pool/thread/thread.h"
#include "serial/memory.h"
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct mp__watcher {
    /* fixed when it is made */
    mp__watch *watches;
    size_t count; /* different futures */
    /* guarded by `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    mp__watch *done_head, *done_tail; /* not taken yet */
    size_t done, failed;              /* ever; failed ones are done too */
    int fd;                           /* -1: nobody asked for it */
    bool fd_set;
} mp__watcher;

/* --- from the future's side -------------------------------------------------------------------------------------------------- */

static void show(mp__watcher *watcher)
{
    bool readable = watcher->done_head || watcher->done == watcher->count;
    uint64_t count = 1;
    if (watcher->fd < 0 || readable == watcher->fd_set)
        return;
    watcher->fd_set = readable;
    ssize_t told = readable ? write(watcher->fd, &count, sizeof count) : read(watcher->fd, &count, sizeof count);
    (void)told; /* it holds one count at most: cannot fail */
}

/* With the future's lock. */
static void tell(mp__watch *watch)
{
    mp__watcher *watcher = watch->watcher;
    const mp_future *future = watch->future;
    pthread_mutex_lock(&watcher->lock);
    watch->next_done = NULL;
    if (watcher->done_tail)
        watcher->done_tail->next_done = watch;
    else
        watcher->done_head = watch;
    watcher->done_tail = watch;
    watcher->done++;
    watcher->failed += future->state == MP__FINISHED && future->error.status;
    show(watcher);
    pthread_cond_broadcast(&watcher->changed); /* several may wait, and the last one is all that they wait for */
    pthread_mutex_unlock(&watcher->lock);
}

void mp__watches_done(mp_future *future)
{
    while (future->watches) {
        mp__watch *watch = future->watches;
        future->watches = watch->next;
        watch->previous = watch->next = NULL;
        tell(watch);
    }
}

/* --- making and freeing ------------------------------------------------------------------------------------------------------ */

typedef struct place {
    mp_future *future;
    size_t index;
} place;

static int by_future(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->future != y->future)
        return (uintptr_t)x->future < (uintptr_t)y->future ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The different ones, in their order, each held. */
static bool take_futures(mp__watcher *watcher, mp_future *const *futures, size_t n)
{
    place *places = mp__memory.malloc((n ? n : 1) * sizeof *places);
    if (!places)
        return false;
    for (size_t i = 0; i < n; i++)
        places[i] = (place){futures[i], i};
    qsort(places, n, sizeof *places, by_future);
    for (size_t i = 0; i < n; i++)
        watcher->watches[places[i].index].future = i && places[i].future == places[i - 1].future ? NULL : places[i].future;
    free(places);
    for (size_t i = 0; i < n; i++)
        if (watcher->watches[i].future)
            watcher->watches[watcher->count++].future = mp_future_ref(watcher->watches[i].future);
    return true;
}

static void leave_watch(mp__watcher *watcher, mp__watch *watch)
{
    mp__future_guard guard;
    mp_future *future = watch->future;
    *watch = (mp__watch){.watcher = watcher, .future = future};
    mp__future_lock(future, &guard);
    if (mp__future_is_done(future)) {
        tell(watch);
    } else {
        watch->next = future->watches;
        if (future->watches)
            future->watches->previous = watch;
        future->watches = watch;
    }
    mp__future_unlock(future, &guard);
}

static mp_status watcher_init(mp__watcher *watcher, mp_future *const *futures, size_t n)
{
    *watcher = (mp__watcher){.fd = -1};
    for (size_t i = 0; i < n; i++) {
        if (!futures[i])
            return MP_EINVAL;
        if (futures[i]->owner != getpid())
            return MP_EFOREIGN;
    }
    watcher->watches = mp__memory.calloc(n ? n : 1, sizeof *watcher->watches);
    if (!watcher->watches)
        return MP_ENOMEM;
    pthread_mutex_init(&watcher->lock, NULL);
    mp__dispatch_cond_init(&watcher->changed);
    if (!take_futures(watcher, futures, n))
        return MP_ENOMEM; /* what is made is unmade by watcher_fini */
    for (size_t i = 0; i < watcher->count; i++)
        leave_watch(watcher, &watcher->watches[i]);
    return MP_OK;
}

static void unwatch(mp__watch *watch)
{
    mp__future_guard guard;
    mp_future *future = watch->future;
    mp__future_lock(future, &guard);
    if (future->watches == watch)
        future->watches = watch->next;
    if (watch->previous)
        watch->previous->next = watch->next;
    if (watch->next)
        watch->next->previous = watch->previous;
    mp__future_unlock(future, &guard);
    mp__future_unhold(future);
}

static void watcher_fini(mp__watcher *watcher)
{
    if (!watcher->watches)
        return;
    for (size_t i = 0; i < watcher->count; i++)
        unwatch(&watcher->watches[i]);
    if (watcher->fd >= 0)
        close(watcher->fd);
    pthread_cond_destroy(&watcher->changed);
    pthread_mutex_destroy(&watcher->lock);
    free(watcher->watches);
}

/* --- waiting ------------------------------------------------------------------------------------------------------------------- */

/* The pool whose thread this is, if one of the futures is of it: then its worker does not work while it waits. */
static mp__dispatch *own_pool(const mp__watcher *watcher)
{
    if (!mp__thread_pool())
        return NULL;
    for (size_t i = 0; i < watcher->count; i++) {
        mp__dispatch *d = watcher->watches[i].future->dispatch;
        if (d && mp__dispatch_on_worker(d))
            return d;
    }
    return NULL;
}

typedef bool enough(const mp__watcher *watcher);

/* With the watcher's lock. */
static mp_status sleep_until(mp__watcher *watcher, enough *is_enough, uint64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
    while (!is_enough(watcher) && mp__now() < deadline)
        if (deadline == UINT64_MAX)
            pthread_cond_wait(&watcher->changed, &watcher->lock);
        else
            pthread_cond_timedwait(&watcher->changed, &watcher->lock, &until);
    return is_enough(watcher) ? MP_OK : MP_ETIMEDOUT;
}

static mp_status look(mp__watcher *watcher, enough *is_enough)
{
    pthread_mutex_lock(&watcher->lock);
    bool there = is_enough(watcher);
    pthread_mutex_unlock(&watcher->lock);
    return there ? MP_OK : MP_ETIMEDOUT;
}

static mp_status wait_until(mp__watcher *watcher, enough *is_enough, uint64_t deadline)
{
    mp_status status = look(watcher, is_enough);
    if (!status)
        return status;
    mp__guard guard;
    mp__dispatch *own = own_pool(watcher);
    bool blocks = false;
    if (own) {
        mp__dispatch_enter(own, &guard);
        status = mp__dispatch_block(own, &blocks);
        mp__dispatch_leave(own, &guard);
        if (status == MP_EDEADLK)
            return status;
    }
    pthread_mutex_lock(&watcher->lock);
    status = sleep_until(watcher, is_enough, deadline);
    pthread_mutex_unlock(&watcher->lock);
    if (blocks) {
        mp__dispatch_enter(own, &guard);
        mp__dispatch_unblock(own);
        mp__dispatch_leave(own, &guard);
    }
    return status;
}

static bool all_done(const mp__watcher *watcher)
{
    return watcher->done == watcher->count;
}

static bool one_done(const mp__watcher *watcher)
{
    return watcher->done || !watcher->count;
}

static bool one_failed(const mp__watcher *watcher)
{
    return watcher->failed || all_done(watcher);
}

static bool one_to_take(const mp__watcher *watcher)
{
    return watcher->done_head || all_done(watcher);
}

mp_wait_result mp_wait(mp_future *const *futures, size_t n, mp_return_when return_when, double timeout)
{
    static enough *const when[] = {
        [MP_ALL_COMPLETED] = all_done, [MP_FIRST_COMPLETED] = one_done, [MP_FIRST_EXCEPTION] = one_failed};
    mp__watcher watcher;
    if (return_when < MP_ALL_COMPLETED || return_when > MP_FIRST_EXCEPTION || (n && !futures))
        return (mp_wait_result){.status = MP_EINVAL};
    mp_wait_result result = {.status = watcher_init(&watcher, futures, n)};
    if (result.status) {
        watcher_fini(&watcher);
        return result;
    }
    result.status = wait_until(&watcher, when[return_when], mp__clock_deadline(timeout));
    pthread_mutex_lock(&watcher.lock);
    result.done = watcher.done;
    result.not_done = watcher.count - watcher.done;
    pthread_mutex_unlock(&watcher.lock);
    watcher_fini(&watcher);
    return result;
}

/* --- one by one ---------------------------------------------------------------------------------------------------------------- */

struct mp_as_completed {
    mp__watcher watcher;
    mp_status status; /* MP_OK, or why there is no watcher */
    uint64_t deadline;
};

static mp_as_completed no_memory = {.status = MP_ENOMEM};

mp_as_completed *mp_as_completed_new(mp_future *const *futures, size_t n, double timeout)
{
    mp_as_completed *each = mp__memory.calloc(1, sizeof *each);
    if (!each)
        return &no_memory;
    each->deadline = mp__clock_deadline(timeout);
    each->status = n && !futures ? MP_EINVAL : watcher_init(&each->watcher, futures, n);
    return each;
}

/* What is done is given even when the time is up. */
mp_status mp_as_completed_next(mp_as_completed *each, mp_future **future)
{
    if (future)
        *future = NULL;
    if (!each || !future)
        return MP_EINVAL;
    if (each->status)
        return each->status;
    mp__watcher *watcher = &each->watcher;
    mp_status status = wait_until(watcher, one_to_take, each->deadline);
    if (status)
        return status;
    pthread_mutex_lock(&watcher->lock);
    mp__watch *watch = watcher->done_head;
    if (watch) {
        watcher->done_head = watch->next_done;
        if (!watcher->done_head)
            watcher->done_tail = NULL;
        *future = watch->future;
        show(watcher);
    }
    pthread_mutex_unlock(&watcher->lock);
    return watch ? MP_OK : MP_END;
}

int mp_as_completed_fd(mp_as_completed *each)
{
    if (!each || each->status)
        return -1;
    mp__watcher *watcher = &each->watcher;
    pthread_mutex_lock(&watcher->lock);
    if (watcher->fd < 0) {
        watcher->fd_set = watcher->done_head || watcher->done == watcher->count;
        watcher->fd = mp__above_standard(mp__system.eventfd(watcher->fd_set, EFD_CLOEXEC | EFD_NONBLOCK));
    }
    pthread_mutex_unlock(&watcher->lock);
    return watcher->fd;
}

void mp_as_completed_free(mp_as_completed **each)
{
    if (!each || !*each)
        return;
    mp_as_completed *old = *each;
    *each = NULL;
    if (old == &no_memory)
        return;
    watcher_fini(&old->watcher);
    free(old);
}

mp_future *mp_when_any(mp_future *const *futures, size_t n, double timeout)
{
    mp_future *future, *winner = NULL;
    mp_as_completed *each = mp_as_completed_new(futures, n, timeout);
    while (!winner && mp_as_completed_next(each, &future) == MP_OK)
        if (mp_future_exception(future, 0)->status == MP_OK)
            winner = future;
    for (size_t i = 0; winner && i < n; i++)
        if (futures[i] != winner)
            (void)mp_future_cancel(futures[i]);
    mp_as_completed_free(&each);
    return winner;
}
