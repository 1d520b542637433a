/* One future: its states, its result, its callbacks.
 *
 * An executor's future is a call that was sent (pool/sent.h) with a state; its lock is its pool's, and who waits for it drives
 * the pool. One of one's own, and one that was refused, has a lock of its own. Callbacks run one after the other without any lock;
 * an executor's on its pool's callback thread, one of one's own on the thread that completed it; what is added after that on the
 * thread that adds. A callback that ends its thread is one that has returned: the others still run.
 *
 * What is done stays as it is: result and error are looked at without the lock from then on. A future that is cancelled is done at
 * once, for everybody: its item is taken back from its worker in the call itself. Only an item that is half on its way to a worker
 * cannot be; its future is cancelled all the same, and it is taken back when the rest has gone. */
#include "futures/future.h"
#include "pool/failure.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/memory.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const mp_error no_future = {.status = MP_EINVAL,
                                   .item = MP_NO_ITEM,
                                   .worker = MP_NO_WORKER,
                                   .exit_code = -1,
                                   .message = "no future: it was freed already"};
static const mp_error foreign = {.status = MP_EFOREIGN,
                                 .item = MP_NO_ITEM,
                                 .worker = MP_NO_WORKER,
                                 .exit_code = -1,
                                 .message = "the future belongs to another process"};
static const mp_error not_done = {.status = MP_ETIMEDOUT,
                                  .item = MP_NO_ITEM,
                                  .worker = MP_NO_WORKER,
                                  .exit_code = -1,
                                  .message = "the future is not done yet"};
static const mp_error deadlock = {.status = MP_EDEADLK,
                                  .item = MP_NO_ITEM,
                                  .worker = MP_NO_WORKER,
                                  .exit_code = -1,
                                  .message = "a task would wait for its own pool, on its last free thread"};

static mp_future no_memory = {.own = PTHREAD_MUTEX_INITIALIZER,
                              .state = MP__FINISHED,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .error = {.status = MP_ENOMEM,
                                        .item = MP_NO_ITEM,
                                        .worker = MP_NO_WORKER,
                                        .exit_code = -1,
                                        .message = "no memory for a future"}};

mp_future *mp__future_no_memory(void)
{
    return &no_memory;
}

/* MP_OK: it can be used here. */
static mp_status check(const mp_future *future)
{
    if (!future)
        return MP_EINVAL;
    return future == &no_memory || future->owner == getpid() ? MP_OK : MP_EFOREIGN;
}

/* --- making and freeing ---------------------------------------------------------------------------------------------------- */

static void run_callbacks(mp__callback *call);
static void ran_callbacks(mp__callback *call);

mp_future *mp__future_make(const mp_type *type)
{
    mp_future *future = mp__memory.calloc(1, sizeof *future);
    if (!future)
        return NULL;
    future->owner = getpid();
    future->type = type;
    future->holders = 1;
    future->sent.array.job.kind = &mp__future_kind;
    future->sent.array.job.core.quiet = true; /* one that could not be cancelled is not to see that somebody tried */
    future->call = (mp__callback){.run = run_callbacks, .ran = ran_callbacks};
    pthread_mutex_init(&future->own, NULL);
    mp__dispatch_cond_init(&future->changed);
    return future;
}

static void free_future(mp_future *future)
{
    mp__dispatch *d = future->dispatch;
    mp__sent_fini(&future->sent);
    if (future->value) {
        mp__block_hold(future->type, future->value, false);
        mp__values_free(future->type, future->value, 1);
    }
    while (future->callbacks) { /* of one that never got done */
        mp__done_callback *next = future->callbacks->next;
        free(future->callbacks);
        future->callbacks = next;
    }
    pthread_cond_destroy(&future->changed);
    pthread_mutex_destroy(&future->own);
    free(future);
    if (d)
        mp__dispatch_unref(d);
}

void mp__future_unhold(mp_future *future)
{
    if (future == &no_memory)
        return;
    if (atomic_fetch_sub_explicit(&future->holders, 1, memory_order_acq_rel) == 1)
        free_future(future);
}

mp_future *mp_future_ref(mp_future *future)
{
    if (check(future) == MP_OK)
        atomic_fetch_add_explicit(&future->holders, 1, memory_order_relaxed);
    return future;
}

void mp_future_free(mp_future **future)
{
    if (!future || !*future)
        return;
    mp_future *old = *future;
    *future = NULL;
    if (check(old) == MP_OK)
        mp__future_unhold(old);
}

/* Signals are blocked and cancellation is off while a lock is held, as in the pool. */
void mp__future_lock(mp_future *future, mp__future_guard *guard)
{
    if (future->dispatch)
        mp__dispatch_enter(future->dispatch, &guard->guard);
    else
        pthread_mutex_lock(&future->own);
}

void mp__future_unlock(mp_future *future, const mp__future_guard *guard)
{
    if (future->dispatch)
        mp__dispatch_leave(future->dispatch, &guard->guard);
    else
        pthread_mutex_unlock(&future->own);
}

/* --- its end --------------------------------------------------------------------------------------------------------------- */

bool mp__future_complete(mp_future *future, mp__future_state state)
{
    future->state = state;
    mp__watches_done(future);
    future->calling = future->callbacks != NULL;
    if (future->calling)
        atomic_fetch_add_explicit(&future->holders, 1, memory_order_relaxed);
    if (!future->dispatch) {
        pthread_cond_broadcast(&future->changed);
        return future->calling;
    }
    mp__dispatch_tell(future->dispatch, &future->changed);
    if (future->calling)
        mp__callbacks_push(future->dispatch, &future->call);
    else
        mp__errand_over(&future->errand);
    return false;
}

static mp_future *future_of_call(mp__callback *call)
{
    return (mp_future *)((char *)call - offsetof(mp_future, call));
}

static mp__done_callback *next_callback(mp_future *future)
{
    mp__future_guard guard;
    mp__future_lock(future, &guard);
    mp__done_callback *callback = future->callbacks;
    if (callback)
        future->callbacks = callback->next;
    else
        future->calling = future->dispatch != NULL; /* else ran_callbacks says so */
    mp__future_unlock(future, &guard);
    return callback;
}

static void run_callbacks(mp__callback *call)
{
    mp_future *future = future_of_call(call);
    mp__done_callback *callback;
    while ((callback = next_callback(future))) {
        mp__done_callback now = *callback;
        free(callback);
        now.call(future, now.user);
    }
}

/* With the pool's lock. Some are left if one was added just now, or if the last one ended its thread. */
static void ran_callbacks(mp__callback *call)
{
    mp_future *future = future_of_call(call);
    if (future->callbacks) {
        mp__callbacks_push(future->dispatch, call);
        return;
    }
    future->calling = false;
    mp__errand_over(&future->errand);
    mp__future_unhold(future);
}

void mp__future_call_back(mp_future *future)
{
    run_callbacks(&future->call);
    mp__future_unhold(future);
}

/* The item of an executor's future has ended, or was given up with its executor. */
static void future_done(mp__job *job)
{
    mp_future *future = (mp_future *)job;
    mp__sent_done(&future->sent);
    if (!mp__future_is_done(future)) { /* else it was cancelled before */
        if (future->sent.array.failed)
            future->error = future->sent.array.first;
        (void)mp__future_complete(future, future->error.status == MP_ECANCELLED ? MP__CANCELLED : MP__FINISHED);
    }
    mp__future_unhold(future); /* the engine's; the dispatch has its pool's reference while this runs */
}

const mp__job_kind mp__future_kind = {.locate = mp__array_job_locate, .ended = mp__array_job_ended, .done = future_done};

void mp__future_refuse(mp_future *future)
{
    future->state = MP__FINISHED;
}

/* --- asking ------------------------------------------------------------------------------------------------------------------ */

static void set_cancelled(mp_future *future)
{
    (void)mp__failure(&future->error, MP_ECANCELLED, "%s", mp_status_text(MP_ECANCELLED));
    if (future->sent.array.job.task)
        strcpy(future->error.task, future->sent.array.job.task->name);
}

/* With the lock. */
static bool runs(mp_future *future)
{
    if (future->state != MP__PENDING || !future->dispatch)
        return future->state == MP__RUNNING_OWN;
    return mp__dispatch_runs(future->dispatch, &future->sent.array.job, 0);
}

void mp__future_cancelled(mp_future *future)
{
    set_cancelled(future);
    (void)mp__future_complete(future, MP__CANCELLED);
}

/* With the lock, and PENDING. `calls`: as mp__future_complete. */
static void cancel_pending(mp_future *future, bool *calls)
{
    if (future->dispatch) {
        mp__dispatch_look(future->dispatch);
        if (mp__future_is_done(future) || runs(future))
            return;
        mp__dispatch_revoke(future->dispatch, &future->sent.array.job);
        if (mp__future_is_done(future) || runs(future))
            return;
    }
    set_cancelled(future);
    *calls = mp__future_complete(future, MP__CANCELLED);
}

bool mp_future_cancel(mp_future *future)
{
    mp__future_guard guard;
    bool calls = false;
    if (check(future) != MP_OK)
        return false;
    mp__future_lock(future, &guard);
    if (future->state == MP__PENDING)
        cancel_pending(future, &calls);
    bool cancelled = future->state == MP__CANCELLED;
    mp__future_unlock(future, &guard);
    if (calls)
        mp__future_call_back(future);
    return cancelled;
}

/* What has happened on the worker and has not been told yet counts: two items do not run on one worker at a time. */
static bool ask(mp_future *future, bool (*what)(mp_future *future))
{
    mp__future_guard guard;
    if (check(future) != MP_OK)
        return false;
    mp__future_lock(future, &guard);
    if (future->dispatch && future->state == MP__PENDING)
        mp__dispatch_look(future->dispatch);
    bool answer = what(future);
    mp__future_unlock(future, &guard);
    return answer;
}

static bool is_cancelled(mp_future *future)
{
    return future->state == MP__CANCELLED;
}

static bool is_done(mp_future *future)
{
    return mp__future_is_done(future);
}

bool mp_future_cancelled(mp_future *future)
{
    return ask(future, is_cancelled);
}

bool mp_future_running(mp_future *future)
{
    return ask(future, runs);
}

bool mp_future_done(mp_future *future)
{
    return ask(future, is_done);
}

/* --- waiting ----------------------------------------------------------------------------------------------------------------- */

static bool done_of(const void *of)
{
    return mp__future_is_done(of);
}

static mp_status wait_own(mp_future *future, double timeout)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    bool for_ever = timeout > 1e9;
    double whole = timeout > 0 && !for_ever ? timeout : 0;
    until.tv_sec += (time_t)whole;
    until.tv_nsec += (long)((whole - (double)(time_t)whole) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int failed = 0;
    while (!mp__future_is_done(future) && !failed)
        failed = for_ever ? pthread_cond_wait(&future->changed, &future->own)
                          : pthread_cond_timedwait(&future->changed, &future->own, &until);
    return mp__future_is_done(future) ? MP_OK : MP_ETIMEDOUT;
}

static mp_status wait_done(mp_future *future, double timeout)
{
    mp__future_guard guard;
    mp_status status = check(future);
    if (status)
        return status;
    mp__future_lock(future, &guard);
    if (!future->dispatch)
        status = wait_own(future, timeout);
    else
        status =
            mp__dispatch_wait(future->dispatch, &guard.guard, &(mp__awaited){done_of, future, &future->changed}, timeout);
    mp__future_unlock(future, &guard);
    return status;
}

const void *mp__future_value(const mp_future *future)
{
    static const mp_none nothing;
    if (future->value)
        return future->value;
    return future->sent.array.out ? future->sent.array.out : (const void *)&nothing;
}

mp_status mp_future_result_sized(mp_future *future, void *out, size_t size, double timeout)
{
    mp_status status = wait_done(future, timeout);
    if (status)
        return status;
    const mp_type *type = future->type;
    if (!type || !out || mp__is_none(type))
        return future->error.status;
    if (size && size != MP__UNSIZED && size != type->size)
        return MP_ETYPE;
    if (future->error.status)
        memset(out, 0, type->size);
    else
        memcpy(out, mp__future_value(future), type->size);
    return future->error.status;
}

const mp_error *mp_future_exception(mp_future *future, double timeout)
{
    switch (wait_done(future, timeout)) {
    case MP_OK: return &future->error;
    case MP_ETIMEDOUT: return &not_done;
    case MP_EDEADLK: return &deadlock;
    case MP_EFOREIGN: return &foreign;
    default: return &no_future;
    }
}

/* --- callbacks ---------------------------------------------------------------------------------------------------------------- */

/* With the lock: MP_OK: it will be called. MP_EDONE: it is for the caller to call. */
static mp_status add_callback(mp_future *future, mp__done_callback *callback)
{
    if (mp__future_is_done(future) && !future->calling)
        return MP_EDONE;
    mp_status status = future->dispatch ? mp__callbacks_start(future->dispatch, NULL) : MP_OK;
    if (status)
        return status;
    if (future->callbacks)
        future->last_callback->next = callback;
    else
        future->callbacks = callback;
    future->last_callback = callback;
    return MP_OK;
}

mp_status mp_future_add_done_callback(mp_future *future, void (*call)(mp_future *future, void *user), void *user)
{
    mp__future_guard guard;
    mp_status status = call ? check(future) : MP_EINVAL;
    if (status)
        return status;
    mp__done_callback *callback = mp__memory.malloc(sizeof *callback);
    if (!callback)
        return MP_ENOMEM;
    *callback = (mp__done_callback){.call = call, .user = user};
    mp__future_lock(future, &guard);
    status = add_callback(future, callback);
    mp__future_unlock(future, &guard);
    if (status)
        free(callback);
    if (status != MP_EDONE)
        return status;
    call(future, user);
    return MP_OK;
}
