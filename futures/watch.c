/* Several futures at a time: wait, as_completed, when_any.
 *
 * A watcher leaves a watch with each future; a future that is done puts it into the watcher's list, in order, and that is all
 * it costs, however many there are. Futures may be of any executors, and of one's own: each watch is under its future's lock, the
 * list under the watcher's, which is taken below any of those. Who waits sleeps on the watcher; it drives no pool. A watcher holds
 * its futures. It fails for want of memory only. */
#include "futures/future.h"
#include "pool/bell.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/thread/thread.h"
#include "serial/memory.h"
#include <stdlib.h>

enum { AT_A_TIME = 64 };

typedef struct mp__watcher {
    /* fixed when it is made */
    mp__watch *watches;
    size_t count; /* different futures */
    /* guarded by `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    mp__watch *done_head, *done_tail; /* not taken yet */
    size_t done, failed;              /* ever; failed ones are done too */
    mp__bell bell;                    /* rings while there is something to take, or nothing more comes */
} mp__watcher;

/* --- from the future's side -------------------------------------------------------------------------------------------------- */

static bool all_done(const mp__watcher *watcher)
{
    return watcher->done == watcher->count;
}

static bool one_to_take(const mp__watcher *watcher)
{
    return watcher->done_head || all_done(watcher);
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
    watcher->failed += future->state == MP__FINISHED && future->single.status;
    mp__bell_ring(&watcher->bell, one_to_take(watcher));
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

/* Mostly they were made one after the other, each behind the last: then no two are the same. */
static bool all_differ(mp_future *const *futures, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if ((uintptr_t)futures[i - 1] >= (uintptr_t)futures[i])
            return false;
    return true;
}

static void take_all(mp__watcher *watcher, mp_future *const *futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        watcher->watches[i].future = mp_future_ref(futures[i]);
    watcher->count = n;
}

/* The different ones, in their order, each held. */
static bool take_futures(mp__watcher *watcher, mp_future *const *futures, size_t n)
{
    if (all_differ(futures, n)) {
        take_all(watcher, futures, n);
        return true;
    }
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

/* How many of the watches from this one on are under the same lock as its future: it is not held for long. */
static size_t same_lock(const mp__watcher *watcher, size_t first)
{
    const mp__dispatch *d = watcher->watches[first].future->dispatch;
    size_t n = 1;
    while (d && n < AT_A_TIME && first + n < watcher->count && watcher->watches[first + n].future->dispatch == d)
        n++;
    return n;
}

/* Each with its future's lock. */
static void each_watch(mp__watcher *watcher, void (*what)(mp__watch *watch))
{
    mp__guard guard;
    for (size_t i = 0, n; i < watcher->count; i += n) {
        mp_future *first = watcher->watches[i].future;
        n = same_lock(watcher, i);
        mp__future_lock(first, &guard);
        for (size_t k = i; k < i + n; k++)
            what(&watcher->watches[k]);
        mp__future_unlock(first, &guard);
    }
}

static void leave_watch(mp__watch *watch)
{
    mp_future *future = watch->future;
    if (mp__future_is_done(future)) {
        tell(watch);
        return;
    }
    watch->next = future->watches;
    if (future->watches)
        future->watches->previous = watch;
    future->watches = watch;
}

static mp_status watcher_init(mp__watcher *watcher, mp_future *const *futures, size_t n)
{
    *watcher = (mp__watcher){0};
    for (size_t i = 0; i < n; i++) {
        mp_status status = mp__future_check(futures[i]);
        if (status)
            return status;
    }
    watcher->watches = mp__memory.calloc(n ? n : 1, sizeof *watcher->watches);
    if (!watcher->watches)
        return MP_ENOMEM;
    pthread_mutex_init(&watcher->lock, NULL);
    mp__dispatch_cond_init(&watcher->changed);
    if (!take_futures(watcher, futures, n))
        return MP_ENOMEM; /* what is made is unmade by watcher_fini */
    for (size_t i = 0; i < watcher->count; i++)
        watcher->watches[i].watcher = watcher;
    each_watch(watcher, leave_watch);
    return MP_OK;
}

static void unwatch(mp__watch *watch)
{
    mp_future *future = watch->future;
    if (future->watches == watch)
        future->watches = watch->next;
    if (watch->previous)
        watch->previous->next = watch->next;
    if (watch->next)
        watch->next->previous = watch->previous;
}

static void watcher_fini(mp__watcher *watcher)
{
    if (!watcher->watches)
        return;
    each_watch(watcher, unwatch);
    for (size_t i = 0; i < watcher->count; i++)
        mp__future_unhold(watcher->watches[i].future);
    mp__bell_close(&watcher->bell);
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
    while (!is_enough(watcher) && mp__now() < deadline)
        mp__clock_wait(&watcher->changed, &watcher->lock, deadline);
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

static bool one_done(const mp__watcher *watcher)
{
    return watcher->done || !watcher->count;
}

static bool one_failed(const mp__watcher *watcher)
{
    return watcher->failed || all_done(watcher);
}

mp_wait_result mp_wait(mp_future *const *futures, size_t n, mp_return_when return_when, double timeout)
{
    static enough *const when[] = {
        [MP_ALL_COMPLETED] = all_done, [MP_FIRST_COMPLETED] = one_done, [MP_FIRST_EXCEPTION] = one_failed};
    mp__watcher watcher;
    int cancelling;
    if (return_when < MP_ALL_COMPLETED || return_when > MP_FIRST_EXCEPTION || (n && !futures))
        return (mp_wait_result){.status = MP_EINVAL};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling); /* the futures know of this stack until watcher_fini */
    mp_wait_result result = {.status = watcher_init(&watcher, futures, n)};
    if (!result.status) {
        result.status = wait_until(&watcher, when[return_when], mp__clock_deadline(timeout));
        pthread_mutex_lock(&watcher.lock);
        result.done = watcher.done;
        result.not_done = watcher.count - watcher.done;
        pthread_mutex_unlock(&watcher.lock);
    }
    watcher_fini(&watcher);
    pthread_setcancelstate(cancelling, NULL);
    return result;
}

/* --- one by one ---------------------------------------------------------------------------------------------------------------- */

struct mp_as_completed {
    mp__watcher watcher;
    mp_status status; /* MP_OK, or why there is no watcher */
    pid_t owner;
    uint64_t deadline;
};

static mp_as_completed no_memory = {.status = MP_ENOMEM};

mp_as_completed *mp_as_completed_new(mp_future *const *futures, size_t n, double timeout)
{
    int cancelling;
    mp_as_completed *each = mp__memory.calloc(1, sizeof *each);
    if (!each)
        return &no_memory;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    each->deadline = mp__clock_deadline(timeout);
    each->owner = mp__process_id();
    each->status = n && !futures ? MP_EINVAL : watcher_init(&each->watcher, futures, n);
    pthread_setcancelstate(cancelling, NULL);
    return each;
}

/* MP_ETIMEDOUT: there is none yet; MP_END: all have been given. */
static mp_status take_one(mp__watcher *watcher, mp_future **future)
{
    pthread_mutex_lock(&watcher->lock);
    mp__watch *watch = watcher->done_head;
    mp_status status = watch ? MP_OK : all_done(watcher) ? MP_END : MP_ETIMEDOUT;
    if (watch) {
        watcher->done_head = watch->next_done;
        if (!watcher->done_head)
            watcher->done_tail = NULL;
        *future = watch->future;
        mp__bell_ring(&watcher->bell, one_to_take(watcher));
    }
    pthread_mutex_unlock(&watcher->lock);
    return status;
}

/* What is done is given even when the time is up. Who reads with others may find that one of them was first. */
static mp_status take_next(mp_as_completed *each, mp_future **future)
{
    mp_status status;
    while ((status = take_one(&each->watcher, future)) == MP_ETIMEDOUT)
        if ((status = wait_until(&each->watcher, one_to_take, each->deadline)) != MP_OK)
            break;
    return status;
}

mp_status mp_as_completed_next(mp_as_completed *each, mp_future **future)
{
    int cancelling;
    if (future)
        *future = NULL;
    if (!each || !future)
        return MP_EINVAL;
    if (each->status)
        return each->status;
    if (each->owner != mp__process_id())
        return MP_EFOREIGN;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp_status status = take_next(each, future);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}

int mp_as_completed_fd(mp_as_completed *each)
{
    if (!each || each->status || each->owner != mp__process_id())
        return -1;
    mp__watcher *watcher = &each->watcher;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    pthread_mutex_lock(&watcher->lock);
    int fd = mp__bell_fd(&watcher->bell, one_to_take(watcher));
    pthread_mutex_unlock(&watcher->lock);
    pthread_setcancelstate(cancelling, NULL);
    return fd;
}

void mp_as_completed_free(mp_as_completed **each)
{
    if (!each || !*each)
        return;
    int cancelling;
    mp_as_completed *old = *each;
    *each = NULL;
    if (old == &no_memory || old->owner != mp__process_id())
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling); /* close(2) is a cancellation point */
    watcher_fini(&old->watcher);
    free(old);
    pthread_setcancelstate(cancelling, NULL);
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
