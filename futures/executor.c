/* Executors: who takes tasks, and how it stops.
 *
 * An executor is a gate in front of a pool: it knows what it has sent and not got back (errands: futures and maps), refuses when it
 * is shut or broken, makes submitters wait when it is full, and starts workers as they are needed where the pool is its own. All of
 * that is under the pool's lock. Each errand holds the executor, so that it is there until the last has come back, whoever frees
 * it; the pool is freed by who frees the executor, or, from inside, on a thread of its own.
 * Broken is its pool: a failing initializer, or with `.break_on_crash` a worker that dies, breaks it for good (dispatch.h). */
#include "futures/executor.h"
#include "pool/choice.h"
#include "pool/clock.h"
#include "pool/cpu.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/process_id.h"
#include "pool/stream.h"
#include "serial/memory.h"
#include <assert.h>
#include <millpond/executor.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 32, THREADS_MORE = 4 };

mp_status mp__executor_check(const mp_executor *executor, mp_error *error)
{
    if (!executor)
        return mp__failure(error, MP_EINVAL, "no executor: it was not opened, or freed already");
    if (executor->owner != mp__process_id())
        return mp__failure(error, MP_EFOREIGN, "this executor belongs to process %d: open another one in this process",
                           (int)executor->owner);
    return MP_OK;
}

/* --- open and free ----------------------------------------------------------------------------------------------------------- */

/* With the lock, or when nobody else has it; true: it is for the caller to free, without the lock. */
static bool unhold(mp_executor *executor)
{
    return !--executor->holders;
}

static void free_executor(mp_executor *executor)
{
    mp__dispatch *d = executor->dispatch;
    pthread_cond_destroy(&executor->changed);
    free(executor);
    mp__dispatch_unref(d);
}

static mp_status make(mp_executor **executor, mp_pool *pool, const mp_executor_options *options, mp_error *error)
{
    if (options->max_queue < 0)
        return mp__failure(error, MP_EINVAL, ".max_queue is %td: it must be at least 1, or 0 for no limit",
                           options->max_queue);
    mp_executor *made = mp__memory.calloc(1, sizeof *made);
    if (!made)
        return mp__failure(error, MP_ENOMEM, "no memory for an executor");
    made->owner = mp__process_id();
    made->pool = pool;
    made->dispatch = pool->dispatch;
    made->max_queue = (size_t)options->max_queue;
    made->holders = 1;
    mp_status status = mp__policy_take(&pool->policy, &(mp_policy){0}, 1, &made->usual, error);
    assert(!status); /* it is the pool's own */
    (void)status;
    mp__dispatch_ref(made->dispatch);
    mp__dispatch_cond_init(&made->changed);
    *executor = made;
    return MP_OK;
}

/* `options`: of its pool, with what was said of its workers. 0: a cluster's has as many as it has CPUs, which come and go. */
static mp_status count_workers(const mp_pool_options *options, int *count, mp_error *error)
{
    const mp__backend *backend = mp__choice_backend(options->kind);
    *count = options->processes;
    if (*count < 0 || *count > MP__PROCESSES_MAX)
        return mp__failure(error, MP_EINVAL, ".max_workers is %d: it must be from 1 to %d, or 0 to have it chosen", *count,
                           MP__PROCESSES_MAX);
    if (backend && backend->most)
        *count = (int)backend->most;
    if (*count || options->kind == MP_CLUSTER)
        return MP_OK;
    mp_status status = mp__cpu_count(count, error);
    if (!status && options->kind == MP_THREADS)
        *count = *count + THREADS_MORE < THREADS_MAX ? *count + THREADS_MORE : THREADS_MAX;
    return status;
}

static mp_pool_options pool_options(const mp_executor_options *options, mp_error *error)
{
    return (mp_pool_options){.kind = options->kind,
                             .processes = options->max_workers,
                             .start_method = options->start_method,
                             .initializer = options->initializer,
                             .finalizer = options->finalizer,
                             .maxtasksperchild = options->max_tasks_per_child,
                             .thread_name_prefix = options->thread_name_prefix,
                             .timeout = options->timeout,
                             .retries = options->retries,
                             .retry_on = options->retry_on,
                             .retry_delay = options->retry_delay,
                             .grace = options->grace,
                             .limits = options->limits,
                             .maxrss = options->maxrss,
                             .output = options->output,
                             .interrupt = options->interrupt,
                             .spin = options->spin,
                             .argc = options->argc,
                             .argv = options->argv,
                             .error = error};
}

/* One worker at first: the others come when they are needed, or, in a cluster, with their hosts. */
static mp_status open_executor(mp_executor **executor, const mp_executor_options *options, mp_error *error)
{
    int count;
    mp_pool *pool = NULL;
    mp_pool_options told = pool_options(options, error);
    mp_status status = mp__choice_take(&told, error);
    if (!status)
        status = count_workers(&told, &count, error);
    if (!status) {
        told.processes = count ? 1 : 0;
        status = mp__pool_open(&pool, &told, &(mp__fragile){.by_initializer = true, .by_crash = options->break_on_crash});
    }
    if (!status)
        status = make(executor, pool, options, error);
    if (status) {
        mp_pool_free(&pool);
        return status;
    }
    (*executor)->owns = true;
    (*executor)->max_workers = (uint32_t)count;
    return MP_OK;
}

mp_status mp_executor_open_with(mp_executor **executor, const mp_executor_options *options)
{
    static const mp_executor_options none;
    options = options ? options : &none;
    mp_error unwanted, *error = options->error ? options->error : &unwanted;
    if (!executor)
        return mp__failure(error, MP_EINVAL, "nowhere to put the executor: pass the address of an mp_executor pointer");
    *executor = NULL;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp_status status = open_executor(executor, options, error);
    pthread_setcancelstate(cancelling, NULL);
    return status ? status : mp__no_failure(error);
}

mp_status mp_executor_over_with(mp_executor **executor, mp_pool *pool, const mp_executor_options *options)
{
    static const mp_executor_options none;
    options = options ? options : &none;
    mp_error unwanted, *error = options->error ? options->error : &unwanted;
    if (!executor)
        return mp__failure(error, MP_EINVAL, "nowhere to put the executor: pass the address of an mp_executor pointer");
    *executor = NULL;
    mp_status status = mp__pool_check(pool, error);
    if (!status)
        status = make(executor, pool, options, error);
    return status ? status : mp__no_failure(error);
}

mp_pool *mp_executor_pool(mp_executor *executor)
{
    return mp__executor_check(executor, NULL) == MP_OK ? executor->pool : NULL;
}

int mp_executor_max_workers(mp_executor *executor)
{
    mp__guard guard;
    if (mp__executor_check(executor, NULL) != MP_OK)
        return 0;
    if (executor->max_workers)
        return (int)executor->max_workers;
    mp__dispatch_enter(executor->dispatch, &guard);
    uint32_t workers = mp__core_get_counts(mp__dispatch_core(executor->dispatch)).wanted;
    mp__dispatch_leave(executor->dispatch, &guard);
    return (int)workers;
}

/* --- errands ------------------------------------------------------------------------------------------------------------------ */

void mp__executor_lends(mp_executor *executor)
{
    executor->left++;
    executor->undone++;
    executor->holders++;
}

void mp__executor_is_done(mp_executor *executor)
{
    executor->undone--;
    if (executor->max_queue) /* a callback may wait for room */
        mp__dispatch_tell(executor->dispatch, &executor->changed);
}

static void got_one_back(mp_executor *executor)
{
    executor->left--;
    if (!executor->left || executor->max_queue) /* else nobody waits for it */
        mp__dispatch_tell(executor->dispatch, &executor->changed);
}

void mp__executor_gets_back(mp_executor *executor)
{
    got_one_back(executor);
    if (unhold(executor))
        free_executor(executor); /* the dispatch has its pool's reference while this runs */
}

/* --- from elsewhere -------------------------------------------------------------------------------------------------------- */

void mp__executor_hold(mp_executor *executor)
{
    mp__guard guard;
    mp__dispatch_enter(executor->dispatch, &guard);
    executor->holders++;
    mp__dispatch_leave(executor->dispatch, &guard);
}

void mp__executor_unhold(mp_executor *executor)
{
    mp__guard guard;
    mp__dispatch *d = executor->dispatch;
    mp__dispatch_enter(d, &guard);
    bool last = unhold(executor);
    mp__dispatch_leave(d, &guard);
    if (last)
        free_executor(executor);
}

mp_status mp__executor_keep_open(mp_executor *executor, mp_error *error)
{
    mp__guard guard;
    mp__dispatch_enter(executor->dispatch, &guard);
    mp_status status = mp__executor_is_open(executor, error);
    if (!status) {
        executor->left++;
        mp__dispatch_stay(executor->dispatch);
    }
    mp__dispatch_leave(executor->dispatch, &guard);
    return status;
}

void mp__executor_let_go(mp_executor *executor)
{
    mp__guard guard;
    mp__dispatch_enter(executor->dispatch, &guard);
    got_one_back(executor);
    mp__dispatch_go(executor->dispatch);
    mp__dispatch_leave(executor->dispatch, &guard);
}

/* With the lock: MP_OK, or why nothing is taken. */
mp_status mp__executor_is_open(const mp_executor *executor, mp_error *error)
{
    if (executor->state == MP__EXECUTOR_SHUT)
        return mp__failure(error, MP_ECLOSED, "the executor was shut down: open another one");
    return MP_OK;
}

void mp__executor_grow(mp_executor *executor)
{
    mp__dispatch *d = executor->dispatch;
    uint64_t pending = mp__core_get_counts(mp__dispatch_core(d)).pending;
    if (executor->max_workers)
        (void)mp__dispatch_grow_locked(d, pending < executor->max_workers ? (uint32_t)pending : executor->max_workers);
    executor->grown = !executor->max_workers || mp__dispatch_asked(d) >= executor->max_workers;
}

/* --- map ---------------------------------------------------------------------------------------------------------------------- */

typedef struct map_errand {
    mp__errand errand; /* first */
    mp__stream *stream;
} map_errand;

static void take_map(mp_executor *executor, mp__errand *errand)
{
    errand->executor = executor;
    errand->previous = NULL;
    errand->next = executor->maps;
    if (errand->next)
        errand->next->previous = errand;
    executor->maps = errand;
    mp__executor_lends(executor);
}

static void revoke_map(const mp__errand *errand)
{
    mp__stream *stream = ((const map_errand *)errand)->stream;
    mp_error error;
    (void)mp__failure(&error, MP_ECANCELLED, "the executor was shut down and its futures were cancelled");
    mp__core_cancel(mp__dispatch_core(stream->dispatch), &stream->job.core, MP_ECANCELLED, false);
    mp__stream_end_input(stream, &error);
}

/* What stands for the executor before stands for the errand after. */
static mp_status admit_map(void *user, mp__stream *stream, mp_error *error)
{
    mp_executor *executor = user;
    mp_status status = mp__executor_is_open(executor, error);
    map_errand *map = status ? NULL : mp__memory.calloc(1, sizeof *map);
    if (!map)
        return status ? status : mp__failure(error, MP_ENOMEM, "no memory for a map");
    map->stream = stream;
    stream->terms.user = map;
    take_map(executor, &map->errand);
    return MP_OK;
}

static void map_over(void *user)
{
    map_errand *map = user;
    mp__errand *errand = &map->errand;
    mp_executor *executor = errand->executor;
    *(errand->previous ? &errand->previous->next : &executor->maps) = errand->next;
    if (errand->next)
        errand->next->previous = errand->previous;
    free(map);
    mp__executor_is_done(executor);
    mp__executor_gets_back(executor);
}

/* As many workers as there is work for: the stream has been fed. */
static void grow_for(mp_executor *executor)
{
    mp__guard guard;
    mp__dispatch_enter(executor->dispatch, &guard);
    if (executor->state == MP__EXECUTOR_OPEN)
        mp__executor_grow(executor);
    mp__dispatch_leave(executor->dispatch, &guard);
}

mp_iter *mp_executor_map_task(mp_executor *executor, const mp_task *task, const void *items, size_t n,
                              const mp_executor_map_options *options)
{
    static const mp_executor_map_options none;
    options = options ? options : &none;
    mp__source source = {.items = items, .n = n};
    mp_imap_options how = {.chunksize = options->chunksize,
                           .buffersize = options->buffersize,
                           .timeout = options->item_timeout,
                           .retries = options->retries,
                           .retry_on = options->retry_on,
                           .retry_delay = options->retry_delay};
    if (!options->buffersize) { /* everything in this call */
        how.buffersize = n < PTRDIFF_MAX ? (ptrdiff_t)(n ? n : 1) : PTRDIFF_MAX;
        how.bufferbytes = SIZE_MAX;
    }
    mp__stream_terms terms = {.runs_on = true, .admit = admit_map, .over = map_over, .user = executor};
    if (options->timeout > 0)
        terms.deadline = mp__clock_deadline(options->timeout);
    mp_iter *stream = mp__stream_open(executor ? executor->pool : NULL, task, true, &source, &how, &terms);
    if (stream->dispatch)
        grow_for(executor);
    return stream;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

/* All are asked before events are looked at: those may take any of them out of the list. */
static void cancel_all(mp_executor *executor)
{
    mp__executor_recall_futures(executor);
    for (mp__errand *errand = executor->maps; errand; errand = errand->next)
        revoke_map(errand);
    mp__dispatch_catch_up(executor->dispatch);
    mp__executor_settle_futures(executor);
}

static bool nothing_left(const void *of)
{
    return !((const mp_executor *)of)->left;
}

static void shut(mp_executor *executor, bool cancels)
{
    mp__dispatch *d = executor->dispatch;
    if (executor->state == MP__EXECUTOR_OPEN)
        executor->state = MP__EXECUTOR_SHUT;
    if (cancels)
        cancel_all(executor);
    if (executor->owns)
        mp__dispatch_close_locked(d);
    mp__dispatch_tell(d, &executor->changed); /* who waits for room learns that there will be none */
    mp__dispatch_acted(d);
}

mp_status mp_executor_shutdown_with(mp_executor *executor, const mp_shutdown_options *options)
{
    static const mp_shutdown_options none = {.wait = true};
    options = options ? options : &none;
    bool wait = options->wait;
    mp__guard guard;
    mp_status status = mp__executor_check(executor, NULL);
    if (status)
        return status;
    mp__dispatch *d = executor->dispatch;
    bool inside = mp__dispatch_inside(d);
    mp__dispatch_enter(d, &guard);
    mp__core_time(mp__dispatch_core(d), mp__now());
    shut(executor, options->cancel_futures);
    if (wait && !inside)
        status = mp__dispatch_wait(d, &(mp__awaited){nothing_left, executor, &executor->changed}, MP_FOREVER);
    mp__dispatch_leave(d, &guard);
    if (wait && inside)
        return MP_EDEADLK;
    return status || !wait || !executor->owns ? status : mp_pool_join(executor->pool);
}

/* In brackets: there is a macro of this name. */
mp_status(mp_executor_shutdown)(mp_executor *executor, bool wait, bool cancel_futures)
{
    return mp_executor_shutdown_with(executor, &(mp_shutdown_options){.wait = wait, .cancel_futures = cancel_futures});
}

static mp_status end_workers(mp_executor *executor, void (*how)(mp__dispatch *d))
{
    mp__guard guard;
    mp_status status = mp__executor_check(executor, NULL);
    if (status || !executor->owns)
        return status ? status : MP_EINVAL;
    mp__dispatch_enter(executor->dispatch, &guard);
    if (executor->state == MP__EXECUTOR_OPEN)
        executor->state = MP__EXECUTOR_SHUT;
    mp__dispatch_tell(executor->dispatch, &executor->changed);
    mp__dispatch_leave(executor->dispatch, &guard);
    how(executor->dispatch);
    return MP_OK;
}

mp_status mp_executor_terminate_workers(mp_executor *executor)
{
    return end_workers(executor, mp__dispatch_terminate);
}

mp_status mp_executor_kill_workers(mp_executor *executor)
{
    return end_workers(executor, mp__dispatch_kill);
}

void mp_executor_free(mp_executor **executor)
{
    if (!executor || !*executor)
        return;
    mp_executor *old = *executor;
    *executor = NULL;
    if (old->owner != mp__process_id())
        return;
    bool inside = mp_executor_shutdown(old) == MP_EDEADLK;
    mp_pool *pool = old->owns ? old->pool : NULL;
    mp__executor_unhold(old);
    if (pool && inside)
        mp__pool_end_elsewhere(pool);
    else
        mp_pool_free(&pool);
}

mp_executor *mp__executor_enter(const mp_executor_options *options)
{
    mp_executor *executor;
    mp_error error;
    mp_executor_options told = *options;
    if (!told.error)
        told.error = &error;
    if (mp_executor_open_with(&executor, &told) != MP_OK && !options->error)
        mp_perror(&error); /* a block that is silently skipped would be a riddle */
    return executor;
}

void mp__executor_leave(mp_executor **executor)
{
    mp_executor_free(executor);
}
