/* Handles of calls that are not waited for: apply_async, map_async, and what AsyncResult does.
 *
 * A call of one item without callbacks is posted (dispatch.h), without the lock, and its handle is small (single.h): there may be many.
 * Any other is *whole*: behind the handle stand a call that was sent (sent.h), and its callbacks. Two hold a handle: the user, and the
 * engine until the job is done and its callback has run; the last to let go frees it. It is guarded by the pool's lock until it is
 * READY, and then nothing changes in it; it keeps the dispatch, and so the lock, alive when the pool is freed.
 *
 *     SENT -> DONE -> READY      DONE: every item has ended, and its callback waits or runs
 *       `---------------^        no callback
 *
 * A call that is refused is a handle that was READY at once and never met the engine: it has no dispatch, and nothing changes in
 * it, so no lock is needed. The one for want of memory is a constant. */
#include "pool/batch.h"
#include "pool/bell.h"
#include "pool/callbacks.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/process_id.h"
#include "pool/sent.h"
#include "pool/single.h"
#include "pool/values.h"
#include "serial/memory.h"
#include <millpond/async.h>
#include <string.h>
#include <unistd.h>

typedef enum async_state { SENT, DONE, READY } async_state;

struct mp_async {
    mp__single single; /* first; where it is not whole */
    /* fixed at submit */
    mp__dispatch *dispatch; /* NULL: it was refused */
    pid_t owner;
    bool whole;
    mp__sheet_at at; /* as mp__single_make has it; 0 where it is whole */
    /* atomic */
    _Atomic(unsigned char) state; /* async_state; written with the lock; what is READY is looked at without it */
    atomic_uint holders;
    /* guarded by the pool's lock */
    mp__bell bell; /* rings when it is READY */
    mp__waiter *waiters;
};

typedef struct whole {
    mp_async async; /* first */
    mp__sent sent;
    bool all; /* a map's callback gets all results */
    mp_async_options options;
    mp__callback callback;
} whole;

static mp_error why_none = MP__FAILURE(MP_ENOMEM, "no memory for the call");
static mp_async no_memory = {.state = READY, .single = {.status = MP_ENOMEM, .ended = true, .error = &why_none}};

static const mp_error not_ready = MP__FAILURE(MP_ERUNNING, "the call is not complete: wait for it first");

static mp__sent *sent_of(mp_async *async)
{
    return &((whole *)async)->sent;
}

static whole *whole_of(mp__job *job)
{
    return (whole *)((char *)job - offsetof(whole, sent)); /* the job is the first of that */
}

static whole *whole_of_callback(mp__callback *callback)
{
    return (whole *)((char *)callback - offsetof(whole, callback));
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

static void free_async(mp_async *async)
{
    mp__dispatch *d = async->dispatch;
    mp__bell_close(&async->bell);
    if (!async->whole) {
        mp__single_free(&async->single, d, async->at);
        return;
    }
    mp__sent_fini(sent_of(async));
    free(async);
    if (d)
        mp__dispatch_unref(d);
}

/* With the lock it is the engine's hold: a reference to the dispatch is not its last while that runs. */
static void let_go(mp_async *async)
{
    if (atomic_fetch_sub_explicit(&async->holders, 1, memory_order_acq_rel) == 1)
        free_async(async);
}

static void become_ready(mp_async *async)
{
    mp__bell_ring(&async->bell, true);
    atomic_store_explicit(&async->state, READY, memory_order_release);
    mp__dispatch_tell_all(async->dispatch, async->waiters);
    let_go(async);
}

static void run_callback(mp__callback *callback)
{
    whole *w = whole_of_callback(callback);
    const mp__array_job *array = &w->sent.array;
    static const mp_none nothing;
    const void *values = array->out ? array->out : (const void *)&nothing;
    if (array->failed)
        w->options.error_callback(mp__sent_error(&w->sent), w->options.user);
    else
        array->job.task->tell(w->options.callback, values, array->job.core.n, w->all, w->options.user);
}

static void ran_callback(mp__callback *callback)
{
    become_ready(&whole_of_callback(callback)->async);
}

static bool has_callback(const whole *w)
{
    return w->sent.array.failed ? w->options.error_callback != NULL : w->options.callback != NULL;
}

static void whole_done(mp__job *job)
{
    whole *w = whole_of(job);
    mp_async *async = &w->async;
    mp__sent_done(&w->sent);
    if (!has_callback(w)) {
        become_ready(async);
        return;
    }
    atomic_store_explicit(&async->state, DONE, memory_order_release);
    mp__callbacks_push(async->dispatch, &w->callback);
    mp__dispatch_tell_all(async->dispatch, async->waiters); /* other callbacks wait for no more than this */
}

static const mp__job_kind whole_kind = {.locate = mp__array_job_locate, .ended = mp__array_job_ended, .done = whole_done};

static void end_posted(mp__posted *call, const void *result, const mp_error *error)
{
    mp_async *async = (mp_async *)call;
    mp__single_end(&async->single, result, error, true);
    become_ready(async);
}

static void refuse_posted(mp__posted *call, const mp_error *error)
{
    mp_async *async = (mp_async *)call;
    mp__single_refuse(&async->single, error);
    become_ready(async);
}

static const mp__posted_kind posted_kind = {.ended = end_posted, .refuse = refuse_posted};

/* --- its beginning ------------------------------------------------------------------------------------------------------- */

/* NULL: no memory. */
static mp_async *begun(mp_async *async)
{
    if (!async)
        return NULL;
    async->owner = mp__process_id();
    async->holders = 1;
    return async;
}

/* The engine holds it from now on. */
static void lend(mp_async *async, mp__dispatch *d)
{
    async->dispatch = d;
    mp__single_hold(d, async->at);
    atomic_store_explicit(&async->holders, 2, memory_order_relaxed);
}

static mp_status submit(whole *w, mp__dispatch *d, mp_error *error)
{
    mp__guard guard;
    bool calls = w->options.callback || w->options.error_callback;
    mp__dispatch_enter(d, &guard);
    calls = calls && mp__core_get_state(mp__dispatch_core(d)) == MP__RUNNING; /* else there will be none */
    mp_status status = calls ? mp__callbacks_start(d, error) : MP_OK;
    if (!status)
        status = mp__dispatch_submit(d, &w->sent.array.job, error);
    if (!status) {
        lend(&w->async, d);
        if (!w->sent.array.job.core.n)
            whole_done(&w->sent.array.job);
        mp__dispatch_acted(d);
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

static mp_async *start_whole(mp_pool *pool, const mp_task *task, const void *items, size_t n, bool all,
                             const mp_async_options *options)
{
    mp_error error;
    whole *w = mp__memory.calloc(1, sizeof *w);
    mp_async *async = begun((mp_async *)w);
    if (!async)
        return &no_memory;
    async->whole = true;
    w->sent.array.job.kind = &whole_kind;
    w->callback = (mp__callback){.run = run_callback, .ran = ran_callback};
    w->all = all;
    w->options = *options;
    mp_status status =
        mp__sent_prepare(&w->sent, pool, task, items, n, options->chunksize, &(mp_policy){MP__POLICY_OF(*options)}, &error);
    if (!status)
        status = submit(w, pool->dispatch, &error);
    if (status) {
        mp__sent_refuse(&w->sent, &error);
        async->state = READY;
    }
    return async; // NOLINT(clang-analyzer-unix.Malloc): only the engine's hold can be gone by now; it takes this for the last one
}

/* At once, with the lock: it has a deadline, or is likely to be refused. */
static mp_status hand_in(mp_async *async, mp__dispatch *d, mp_error *error)
{
    mp__guard guard;
    mp__posted *call = &async->single.posted;
    mp__dispatch_enter(d, &guard);
    mp__job *job = mp__batch_make(d, &call, 1);
    mp_status status = job ? mp__dispatch_submit(d, job, error) : mp__failure(error, MP_ENOMEM, "no memory for the call");
    if (!status) {
        lend(async, d);
        mp__dispatch_acted(d);
    } else if (job) {
        mp__batch_drop(job);
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

/* One that is refused for its arguments has no task, and so no status of its item. */
static mp_status prepare(mp_async *async, const mp_pool *pool, const void *input, const mp_async_options *options,
                         mp_error *error)
{
    mp__single *single = &async->single;
    mp_status status = mp__pool_check_input(single->task, input, 1, error);
    if (!status)
        status = mp__pool_check_results(single->task, 1, error);
    mp_policy policy = {MP__POLICY_OF(*options)};
    single->terms = &pool->usual;
    if (!status && !mp__policy_is_usual(&policy))
        status = mp__single_take_terms(single, &pool->policy, &policy, error);
    if (status)
        single->task = NULL;
    return status ? status : mp__single_take(single, input, error);
}

static mp_async *start_single(mp_pool *pool, const mp_task *task, const void *input, const mp_async_options *options)
{
    mp_error error;
    uint32_t index = 0;
    mp_status status = mp__pool_check_call(pool, task, options->chunksize, &index, &error);
    mp__sheet_at at;
    mp_async *async = begun(mp__single_make(status ? NULL : pool->dispatch, status ? NULL : task, sizeof *async, &at));
    if (!async)
        return &no_memory;
    async->at = at;
    async->single.posted.kind = &posted_kind;
    async->single.posted.task = MP__POSTED_TASK(index);
    if (!status)
        status = prepare(async, pool, input, options, &error);
    if (!status && !async->single.terms->deadline && !mp__dispatch_is_shut(pool->dispatch)) {
        lend(async, pool->dispatch);
        mp__dispatch_post(pool->dispatch, &async->single.posted);
        return async;
    }
    if (!status)
        status = hand_in(async, pool->dispatch, &error);
    if (status) {
        mp__single_refuse(&async->single, &error);
        async->state = READY;
    }
    return async;
}

mp_async *mp_pool_apply_async_task(mp_pool *pool, const mp_task *task, const void *input, const mp_async_options *options)
{
    static const mp_async_options none;
    options = options ? options : &none;
    return options->callback || options->error_callback ? start_whole(pool, task, input, 1, false, options)
                                                        : start_single(pool, task, input, options);
}

mp_async *mp_pool_map_async_task(mp_pool *pool, const mp_task *task, const void *items, size_t n,
                                 const mp_async_options *options)
{
    static const mp_async_options none;
    return start_whole(pool, task, items, n, true, options ? options : &none);
}

/* --- what became of it --------------------------------------------------------------------------------------------------- */

static const mp_task *task_of(mp_async *async)
{
    return async->whole ? sent_of(async)->array.job.task : async->single.task;
}

static mp_status status_of(mp_async *async)
{
    return async->whole ? mp__sent_status(sent_of(async)) : mp__single_status(&async->single);
}

static const mp_error *error_of(mp_async *async)
{
    return async->whole ? mp__sent_error(sent_of(async)) : mp__single_error(&async->single);
}

/* The status of each item; NULL: none was known when it was refused. */
static const mp_status *statuses_of(mp_async *async)
{
    if (async->whole)
        return sent_of(async)->array.statuses;
    return async->single.task ? &async->single.status : NULL;
}

static void show(mp_async *async, void *out)
{
    if (async->whole)
        mp__sent_show(sent_of(async), out);
    else
        mp__single_give(&async->single, out);
}

/* --- what users ask ------------------------------------------------------------------------------------------------------ */

/* A callback is as far as it gets: to wait for others there would be to wait for itself. */
static bool is_ready(const void *of)
{
    const mp_async *async = of;
    unsigned char state = atomic_load_explicit(&async->state, memory_order_acquire);
    return state == READY || (state == DONE && mp__callbacks_here(async->dispatch));
}

static bool is_foreign(const mp_async *async)
{
    return async != &no_memory && async->owner != mp__process_id();
}

/* With the lock of a handle that has one. */
static bool look(mp_async *async)
{
    mp__guard guard;
    if (is_ready(async))
        return true;
    mp__dispatch_enter(async->dispatch, &guard);
    bool ready = is_ready(async);
    mp__dispatch_leave(async->dispatch, &guard);
    return ready;
}

mp_status mp_async_wait(mp_async *async, double timeout)
{
    if (!async || is_foreign(async))
        return async ? MP_EFOREIGN : MP_EINVAL;
    if (is_ready(async))
        return MP_OK;
    mp__guard guard;
    mp__dispatch_enter(async->dispatch, &guard);
    mp_status status = mp__dispatch_wait_among(async->dispatch, &async->waiters, is_ready, async, timeout);
    mp__dispatch_leave(async->dispatch, &guard);
    return status;
}

/* Nothing changes in a handle that is ready: no lock. */
mp_status mp_async_get_sized(mp_async *async, void *out, size_t size, double timeout)
{
    mp_status status = mp_async_wait(async, timeout);
    if (status)
        return status;
    const mp_task *task = task_of(async);
    if (!mp__values_fit(task ? task->output : NULL, out, size))
        return MP_ETYPE;
    show(async, out);
    return status_of(async);
}

bool mp_async_ready(mp_async *async)
{
    return async && !is_foreign(async) && look(async);
}

bool mp_async_successful(mp_async *async)
{
    return mp_async_ready(async) && status_of(async) == MP_OK;
}

const mp_error *mp_async_error(mp_async *async)
{
    static const mp_error none = MP__FAILURE(MP_EINVAL, "no handle: it was freed already, or belongs to another process");
    if (!async || is_foreign(async))
        return &none;
    return look(async) ? error_of(async) : &not_ready;
}

const mp_status *mp_async_statuses(mp_async *async)
{
    return mp_async_ready(async) ? statuses_of(async) : NULL;
}

/* With the lock, and SENT. */
static void cancel(mp_async *async, bool force)
{
    const mp__posted *call = &async->single.posted;
    if (!async->whole)
        mp__posted_flush(async->dispatch); /* it may be in line */
    mp__job *job = async->whole ? &sent_of(async)->array.job : call->begun ? mp__batch_part(async->dispatch, call) : NULL;
    if (job)
        mp__core_cancel(mp__dispatch_core(async->dispatch), &job->core, MP_ECANCELLED, force);
}

mp_status mp_async_cancel_with(mp_async *async, const mp_cancel_options *options)
{
    if (!async || is_foreign(async))
        return async ? MP_EFOREIGN : MP_EINVAL;
    if (!async->dispatch)
        return MP_OK;
    mp__guard guard;
    mp__dispatch_enter(async->dispatch, &guard);
    if (async->state == SENT) {
        mp__core_time(mp__dispatch_core(async->dispatch), mp__now());
        cancel(async, options && options->force);
        mp__dispatch_acted(async->dispatch);
    }
    mp__dispatch_leave(async->dispatch, &guard);
    return MP_OK;
}

/* For those who cannot use the macro. */
mp_status(mp_async_cancel)(mp_async *async)
{
    return mp_async_cancel_with(async, NULL);
}

int mp_async_fd(mp_async *async)
{
    if (!async || async == &no_memory || is_foreign(async))
        return -1;
    mp__guard guard;
    if (async->dispatch)
        mp__dispatch_enter(async->dispatch, &guard);
    int fd = mp__bell_fd(&async->bell, async->state == READY);
    if (async->dispatch)
        mp__dispatch_leave(async->dispatch, &guard);
    return fd;
}

void mp_async_free(mp_async **async)
{
    if (!async || !*async)
        return;
    mp_async *old = *async;
    *async = NULL;
    if (old == &no_memory || is_foreign(old))
        return;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling); /* close(2) is a cancellation point */
    let_go(old);
    pthread_setcancelstate(cancelling, NULL);
}
