/* One future: its states, its result, its callbacks.
 *
 * An executor's future is a call that is posted (pool/dispatch.h) with a state; its lock is its pool's, and who waits for it drives
 * the pool. One of one's own, and one that was refused, has a lock of its own. Callbacks run one after the other without any lock;
 * an executor's on its pool's callback thread, one of one's own on the thread that completed it; what is added after that on the
 * thread that adds. A callback that ends its thread is one that has returned: the others still run.
 *
 * What is done stays as it is: result and error are looked at without the lock from then on. A future that is cancelled is done at
 * once, for everybody: its item is taken back from its worker in the call itself. Only an item that is half on its way to a worker
 * cannot be; its future is cancelled all the same, and it is taken back when the rest has gone. */
#include "futures/future.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/process_id.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const mp_error no_future = MP__FAILURE(MP_EINVAL, "no future: it was freed already");
static const mp_error foreign = MP__FAILURE(MP_EFOREIGN, "the future belongs to another process");
static const mp_error not_done = MP__FAILURE(MP_ETIMEDOUT, "the future is not done yet");
static const mp_error deadlock = MP__FAILURE(MP_EDEADLK, "a task would wait for its own pool, on its last free thread");

static mp_error why_none = MP__FAILURE(MP_ENOMEM, "no memory for a future");
static mp_future no_memory = {.state = MP__FINISHED, .single = {.status = MP_ENOMEM, .ended = true, .error = &why_none}};

mp_future *mp__future_no_memory(void)
{
    return &no_memory;
}

/* --- making and freeing ---------------------------------------------------------------------------------------------------- */

static mp_future *begun(mp_future *future)
{
    if (!future)
        return NULL;
    future->owner = mp__process_id();
    future->holders = 1;
    return future;
}

mp_future *mp__future_make(const mp_type *type)
{
    mp__own_future *future = mp__memory.calloc(1, sizeof *future);
    if (!future)
        return NULL;
    future->future.own = true;
    future->type = type;
    return begun(&future->future);
}

mp_future *mp__future_make_for(mp__dispatch *d, const mp_task *task)
{
    mp__sheet_at at;
    mp_future *future = begun(mp__single_make(d, task, sizeof *future, &at));
    if (future)
        future->at = at;
    return future;
}

static void free_calls(mp__calls *calls)
{
    while (calls->head) { /* of one that never got done */
        mp__done_callback *next = calls->head->next;
        free(calls->head);
        calls->head = next;
    }
    free(calls);
}

static void free_own_value(mp__own_future *own)
{
    if (!own->value)
        return;
    mp__block_hold(own->type, own->value, false);
    mp__values_free(own->type, own->value, 1);
}

static void free_future(mp_future *future)
{
    if (future->own)
        free_own_value((mp__own_future *)future);
    if (future->calls)
        free_calls(future->calls);
    mp__single_free(&future->single, future->dispatch, future->at);
}

/* Who is the only one to hold it stays so: nobody else could hold it once more. */
static bool is_last(mp_future *future)
{
    return atomic_load_explicit(&future->holders, memory_order_acquire) == 1 ||
           atomic_fetch_sub_explicit(&future->holders, 1, memory_order_acq_rel) == 1;
}

/* One of one's own that nobody can finish any more, though somebody wants to hear of it. */
static bool is_abandoned(const mp_future *future)
{
    return future->own && !mp__future_is_done(future) && future->calls && future->calls->head &&
           future->owner == mp__process_id();
}

void mp__future_unhold_on_exit(void *future)
{
    mp__future_unhold(future);
}

static void abandon(mp_future *future)
{
    mp__guard guard;
    atomic_store_explicit(&future->holders, 1, memory_order_relaxed);
    mp__future_lock(future, &guard);
    (void)mp__future_cancelled(future);
    mp__future_unlock(future, &guard);
    pthread_cleanup_push(mp__future_unhold_on_exit, future);
    mp__future_call_back(future);
    pthread_cleanup_pop(1);
}

void mp__future_unhold(mp_future *future)
{
    if (future == &no_memory || !is_last(future))
        return;
    if (is_abandoned(future))
        abandon(future);
    else
        free_future(future);
}

mp_future *mp_future_ref(mp_future *future)
{
    if (mp__future_check(future) == MP_OK)
        atomic_fetch_add_explicit(&future->holders, 1, memory_order_relaxed);
    return future;
}

void mp_future_free(mp_future **future)
{
    if (!future || !*future)
        return;
    mp_future *old = *future;
    *future = NULL;
    if (mp__future_check(old) == MP_OK)
        mp__future_unhold(old);
}

void mp_futures_free(mp_future **futures, size_t n)
{
    for (size_t i = 0; futures && i < n; i++)
        mp_future_free(&futures[i]);
}

/* The lock of futures that have no pool's: of several, so that few meet. None is taken while another one is held. */
static pthread_mutex_t own_locks[] = {[0 ... 15] = PTHREAD_MUTEX_INITIALIZER};

static pthread_mutex_t *own_lock(const mp_future *future)
{
    return &own_locks[((uintptr_t)future >> 6) % (sizeof own_locks / sizeof *own_locks)];
}

/* In a child all futures of ours are foreign: what its own need is new. */
static void begin_child(void)
{
    for (size_t i = 0; i < sizeof own_locks / sizeof *own_locks; i++)
        own_locks[i] = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

__attribute__((constructor(101))) static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, begin_child);
}

/* Cancellation is off while a lock is held: whoever waits with one of its own does so in pthread_cond_wait, which is a cancellation
 * point and would leave the lock taken. With an executor's signals are blocked as well, as in its pool. */
void mp__future_lock(mp_future *future, mp__guard *guard)
{
    if (future->dispatch) {
        mp__dispatch_enter(future->dispatch, guard);
        return;
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancelling);
    pthread_mutex_lock(own_lock(future));
}

void mp__future_unlock(mp_future *future, const mp__guard *guard)
{
    if (future->dispatch) {
        mp__dispatch_leave(future->dispatch, guard);
        return;
    }
    pthread_mutex_unlock(own_lock(future));
    pthread_setcancelstate(guard->cancelling, NULL);
}

/* --- its end --------------------------------------------------------------------------------------------------------------- */

bool mp__future_complete(mp_future *future, mp__future_state state)
{
    mp__calls *calls = future->calls;
    atomic_store_explicit(&future->state, (unsigned char)state, memory_order_release);
    mp__watches_done(future);
    if (calls) {
        calls->calling = true;
        atomic_fetch_add_explicit(&future->holders, 1, memory_order_relaxed);
    }
    if (!future->dispatch) {
        for (mp__waiter *waiter = future->waiters; waiter; waiter = waiter->next)
            pthread_cond_broadcast(&waiter->woken);
        return calls;
    }
    mp__dispatch_tell_all(future->dispatch, future->waiters);
    mp__future_has_ended(future);
    if (calls)
        mp__callbacks_push(future->dispatch, &calls->call);
    else
        mp__future_over(future);
    return false;
}

static mp__done_callback *next_callback(mp__calls *calls)
{
    mp__guard guard;
    mp__future_lock(calls->future, &guard);
    mp__done_callback *callback = calls->head;
    if (callback)
        calls->head = callback->next;
    else
        calls->calling = calls->future->dispatch != NULL; /* else ran_callbacks says so */
    mp__future_unlock(calls->future, &guard);
    return callback;
}

static void run_callbacks(mp__callback *call)
{
    mp__calls *calls = (mp__calls *)call;
    mp__done_callback *callback;
    while ((callback = next_callback(calls))) {
        mp__done_callback now = *callback;
        free(callback);
        now.call(calls->future, now.user);
    }
}

/* With the pool's lock. Some are left if one was added just now, or if the last one ended its thread. */
static void ran_callbacks(mp__callback *call)
{
    mp__calls *calls = (mp__calls *)call;
    mp_future *future = calls->future;
    if (calls->head) {
        mp__callbacks_push(future->dispatch, call);
        return;
    }
    calls->calling = false;
    mp__future_over(future);
    mp__future_unhold(future);
}

static void call_back_the_rest(void *future)
{
    mp__future_call_back(future);
}

void mp__future_call_back(mp_future *future)
{
    mp__exit_guard guard = {.go_on = call_back_the_rest, .of = future};
    pthread_cleanup_push(mp__exit_guard_left, &guard);
    run_callbacks(&future->calls->call);
    pthread_cleanup_pop(0);
    mp__future_unhold(future);
}

/* --- failing ---------------------------------------------------------------------------------------------------------------- */

void mp__future_refuse(mp_future *future, const mp_error *error)
{
    mp__single_refuse(&future->single, error);
    future->state = MP__FINISHED;
}

const mp_error *mp__future_error(const mp_future *future)
{
    return mp__single_error(&future->single);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------ */

bool mp__future_cancelled(mp_future *future)
{
    mp_error error;
    (void)mp__failure(&error, MP_ECANCELLED, "%s", mp_status_text(MP_ECANCELLED));
    if (future->single.task)
        strcpy(error.task, future->single.task->name);
    mp__single_refuse(&future->single, &error);
    return mp__future_complete(future, MP__CANCELLED);
}

/* With the lock. */
static bool runs(mp_future *future)
{
    if (future->state != MP__PENDING || !future->dispatch)
        return future->state == MP__RUNNING_OWN;
    return mp__future_runs(future);
}

/* With the lock, and PENDING. What runs in a process is ended by force, and nobody waits for that: its future is cancelled now. On
 * a thread it is told, and goes on. `calls`: as mp__future_complete. */
static void cancel_pending(mp_future *future, bool forces, bool *calls)
{
    mp__dispatch *d = future->dispatch;
    if (d) {
        mp__dispatch_catch_up(d);
        if (mp__future_is_done(future) || (runs(future) && !forces))
            return;
        mp__future_revoke(future, forces);
        if (mp__future_is_done(future) || (runs(future) && !(forces && mp__dispatch_can_end(d))))
            return;
    }
    *calls = mp__future_cancelled(future);
}

/* For those who cannot use the macro. */
bool(mp_future_cancel)(mp_future *future)
{
    return mp_future_cancel_with(future, NULL);
}

bool mp_future_cancel_with(mp_future *future, const mp_cancel_options *options)
{
    mp__guard guard;
    bool calls = false;
    if (mp__future_check(future) != MP_OK)
        return false;
    mp__future_lock(future, &guard);
    if (future->state == MP__PENDING)
        cancel_pending(future, options && options->force, &calls);
    bool cancelled = future->state == MP__CANCELLED;
    mp__future_unlock(future, &guard);
    if (calls)
        mp__future_call_back(future);
    return cancelled;
}

/* What has happened on the worker and has not been told yet counts: two items do not run on one worker at a time. */
static bool ask(mp_future *future, bool (*what)(mp_future *future))
{
    mp__guard guard;
    if (mp__future_check(future) != MP_OK)
        return false;
    if (mp__future_is_done(future))
        return what(future);
    mp__future_lock(future, &guard);
    if (future->dispatch && future->state == MP__PENDING)
        mp__dispatch_catch_up(future->dispatch);
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
    uint64_t deadline = mp__clock_deadline(timeout);
    mp__waiter here = {.next = future->waiters}, **at = &future->waiters;
    mp__dispatch_cond_init(&here.woken);
    future->waiters = &here;
    while (!mp__future_is_done(future) && mp__now() < deadline)
        mp__clock_wait(&here.woken, own_lock(future), deadline);
    while (*at != &here)
        at = &(*at)->next;
    *at = here.next;
    pthread_cond_destroy(&here.woken);
    return mp__future_is_done(future) ? MP_OK : MP_ETIMEDOUT;
}

static __attribute__((noinline)) mp_status wait_until_done(mp_future *future, double timeout)
{
    mp__guard guard;
    mp_status status;
    mp__future_lock(future, &guard);
    if (!future->dispatch)
        status = wait_own(future, timeout);
    else
        status = mp__dispatch_wait_among(future->dispatch, &future->waiters, done_of, future, timeout);
    mp__future_unlock(future, &guard);
    return status;
}

static inline mp_status wait_done(mp_future *future, double timeout)
{
    mp_status status = mp__future_check(future);
    return status || mp__future_is_done(future) ? status : wait_until_done(future, timeout);
}

const void *mp__future_value(const mp_future *future)
{
    static const mp_none nothing;
    const void *value = future->own                 ? ((const mp__own_future *)future)->value
                        : future->single.has_result ? mp__single_result(&future->single)
                                                    : NULL;
    return value ? value : (const void *)&nothing;
}

mp_status mp_future_result_sized(mp_future *future, void *out, size_t size, double timeout)
{
    mp_status status = wait_done(future, timeout);
    if (status)
        return status;
    const mp_type *type = mp__future_type(future);
    if (!mp__values_fit(type, out, size))
        return MP_ETYPE;
    status = mp__single_status(&future->single);
    if (!type || !out || mp__is_none(type))
        return status;
    if (status)
        memset(out, 0, type->size);
    else
        memcpy(out, mp__future_value(future), type->size);
    return status;
}

const mp_error *mp_future_exception(mp_future *future, double timeout)
{
    switch (wait_done(future, timeout)) {
    case MP_OK: return mp__future_error(future);
    case MP_ETIMEDOUT: return &not_done;
    case MP_EDEADLK: return &deadlock;
    case MP_EFOREIGN: return &foreign;
    default: return &no_future;
    }
}

/* --- callbacks ---------------------------------------------------------------------------------------------------------------- */

/* With the lock. */
static bool has_calls(mp_future *future)
{
    if (!future->calls && (future->calls = mp__memory.calloc(1, sizeof *future->calls)))
        *future->calls = (mp__calls){.call = {.run = run_callbacks, .ran = ran_callbacks}, .future = future};
    return future->calls;
}

/* With the lock: MP_OK: it will be called. MP_EDONE: it is for the caller to call. */
static mp_status add_callback(mp_future *future, mp__done_callback *callback)
{
    if (mp__future_is_done(future) && !(future->calls && future->calls->calling))
        return MP_EDONE;
    mp_status status = future->dispatch ? mp__callbacks_start(future->dispatch, NULL) : MP_OK;
    if (!status && !has_calls(future))
        status = MP_ENOMEM;
    if (status)
        return status;
    mp__calls *calls = future->calls;
    if (calls->head)
        calls->last->next = callback;
    else
        calls->head = callback;
    calls->last = callback;
    return MP_OK;
}

mp_status mp_future_add_done_callback(mp_future *future, void (*call)(mp_future *future, void *user), void *user)
{
    mp__guard guard;
    mp_status status = call ? mp__future_check(future) : MP_EINVAL;
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
