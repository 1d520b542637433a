/* Calls that wait for all their items: map, apply, broadcast.
 *
 * The job is on the caller's stack, its arrays are the caller's, and the caller drives the pool until it is done. Any thread.
 * Two failures: the call's own, and that of items; map.h says which is which. */
#include "pool/failure.h"
#include "pool/pool.h"
#include "serial/memory.h"
#include <millpond/map.h>
#include <string.h>

/* One that the caller waits for in the call, alone or with others of its kind. */
typedef struct sync_job {
    mp__array_job array;
    mp_error first; /* the array's */
    mp__dispatch *dispatch;
    size_t *left;             /* how many of them are not done yet */
    pthread_cond_t *finished; /* none is left */
} sync_job;

/* Whoever ends the last item (terminate, resize) need not be who drives: that may be the caller. */
static void sync_done(mp__job *job)
{
    sync_job *sync = (sync_job *)job;
    if (!--*sync->left)
        mp__dispatch_tell(sync->dispatch, sync->finished);
}

static const mp__job_kind sync_kind = {.locate = mp__array_job_locate, .ended = mp__array_job_ended, .done = sync_done};

static bool none_left(const void *left)
{
    return !*(const size_t *)left;
}

/* The pool did not take the call: no item ran, and each says why, as if it had failed by itself. */
static void refuse_items(mp__job *job, size_t n, mp_error *error)
{
    if (n)
        mp__job_fail(job, 0, n, error);
}

/* Hands in `count` jobs that share `left`, and waits for all. */
static mp_status run_jobs(mp__dispatch *d, sync_job *jobs, size_t count, size_t *left, pthread_cond_t *finished,
                          mp_error *error)
{
    mp__guard guard;
    mp__dispatch_enter(d, &guard);
    mp_status status = mp__dispatch_may_wait(d, jobs->array.job.core.pin, error);
    if (!status)
        status = mp__dispatch_admits(d, error);
    for (size_t i = 0; i < count && !status; i++)
        status = mp__dispatch_take(d, &jobs[i].array.job, error); /* all or, the first, none: nobody comes between */
    if (!status && jobs->array.job.core.n) {
        *left = count;
        (void)mp__dispatch_acted_and_wait(d, &(mp__awaited){none_left, left, finished}, MP_FOREVER);
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

/* Fills the job of a call; MP_OK, or what is wrong with the call. */
static mp_status prepare(mp_pool *pool, sync_job *sync, const mp_task *task, size_t n, const mp_map_options *options,
                         mp_error *error)
{
    mp__job *job = &sync->array.job;
    mp_status status = mp__pool_check_call(pool, task, options->chunksize, &job->core.task, error);
    if (!status)
        status = mp__pool_check_input(task, sync->array.items, n, error);
    if (!status)
        status = mp__pool_check_output(task, sync->array.out, n, error);
    if (!status)
        status = mp__policy_take(&pool->policy, &(mp_policy){MP__POLICY_OF(*options)}, n, &job->core, error);
    if (status)
        return status;
    sync->dispatch = pool->dispatch;
    sync->array.first = &sync->first;
    job->kind = &sync_kind;
    job->task = task;
    job->core.n = n;
    job->core.patient = true;
    job->core.chunksize = (size_t)options->chunksize < n ? (size_t)options->chunksize : n;
    sync->array.statuses = options->statuses;
    sync->array.errors = options->errors;
    if (mp__is_none(task->input))
        sync->array.items = NULL;
    if (mp__is_none(task->output))
        sync->array.out = NULL;
    return MP_OK;
}

static mp_status outcome(const mp__array_job *job, mp_error *error)
{
    if (!job->failed)
        return mp__no_failure(error);
    *error = *job->first;
    return error->status;
}

mp_status mp_pool_map_task(mp_pool *pool, const mp_task *task, const void *items, size_t n, void *out,
                           const mp_map_options *options)
{
    static const mp_map_options none;
    options = options ? options : &none;
    mp_error unwanted, *error = options->error ? options->error : &unwanted;
    size_t left = 0;
    pthread_cond_t finished;
    sync_job sync = {.array = {.items = items, .out = out}, .left = &left, .finished = &finished};
    mp_status status = prepare(pool, &sync, task, n, options, error);
    if (status)
        return status;
    mp__dispatch_cond_init(&finished);
    status = run_jobs(pool->dispatch, &sync, 1, &left, &finished, error);
    pthread_cond_destroy(&finished);
    if (status == MP_EDEADLK)
        return status;
    if (status) {
        refuse_items(&sync.array.job, n, error);
        error->item = MP_NO_ITEM;
        return status;
    }
    return outcome(&sync.array, error);
}

mp_status mp_pool_apply_task(mp_pool *pool, const mp_task *task, const void *input, void *output,
                             const mp_map_options *options)
{
    return mp_pool_map_task(pool, task, input, 1, output, options);
}

/* --- broadcast ----------------------------------------------------------------------------------------------------------- */

/* Job k is worker k's: one item, which only that one takes. */
static void prepare_each(sync_job *jobs, const sync_job *model, size_t n)
{
    size_t size = model->array.job.task->output->size;
    for (size_t i = 0; i < n; i++) {
        mp__array_job *array = &jobs[i].array;
        jobs[i] = *model;
        array->first = &jobs[i].first;
        array->job.core.n = 1;
        array->job.core.pin = (uint32_t)i + 1;
        array->out = array->out ? array->out + i * size : NULL;
        array->statuses = array->statuses ? array->statuses + i : NULL;
        array->errors = array->errors ? array->errors + i : NULL;
    }
}

/* Item 0 of job k is item k of the call. */
static void name_item(const mp__array_job *array, size_t k)
{
    if (array->errors)
        array->errors->item = k;
}

static mp_status outcome_of_all(const sync_job *jobs, size_t n, mp_error *error)
{
    mp_status status = mp__no_failure(error);
    for (size_t i = n; i-- > 0;) {
        const mp__array_job *array = &jobs[i].array;
        if (!array->failed)
            continue;
        status = outcome(array, error);
        error->item = i;
        name_item(array, i);
    }
    return status;
}

static mp_status check_room(mp_pool *pool, size_t n, mp_error *error)
{
    mp_pool_stats stats;
    mp__dispatch_stats(pool->dispatch, &stats);
    if (n == (size_t)stats.processes)
        return MP_OK;
    return mp__failure(error, MP_EINVAL,
                       "there is room for %zu results, but the pool has %d workers: pass arrays of that many", n,
                       stats.processes);
}

static mp_status broadcast(mp_pool *pool, const sync_job *model, size_t n, size_t *left, mp_error *error)
{
    sync_job *jobs = mp__memory.malloc(n * sizeof *jobs);
    if (!jobs)
        return mp__failure(error, MP_ENOMEM, "no memory for %zu jobs", n);
    prepare_each(jobs, model, n);
    mp_status status = run_jobs(pool->dispatch, jobs, n, left, model->finished, error);
    for (size_t i = 0; i < n && status && status != MP_EDEADLK; i++) {
        mp_error each = *error;
        refuse_items(&jobs[i].array.job, 1, &each);
        name_item(&jobs[i].array, i);
    }
    if (!status)
        status = outcome_of_all(jobs, n, error);
    free(jobs);
    return status;
}

mp_status mp_pool_broadcast_task(mp_pool *pool, const mp_task *task, const void *input, void *out, size_t n,
                                 const mp_map_options *options)
{
    static const mp_map_options none;
    options = options ? options : &none;
    mp_error unwanted, *error = options->error ? options->error : &unwanted;
    size_t left = 0;
    pthread_cond_t finished;
    sync_job model = {.array = {.items = input, .out = out}, .left = &left, .finished = &finished};
    mp_status status = prepare(pool, &model, task, n, options, error);
    if (!status)
        status = check_room(pool, n, error);
    if (status)
        return status;
    mp__dispatch_cond_init(&finished);
    status = broadcast(pool, &model, n, &left, error);
    pthread_cond_destroy(&finished);
    return status;
}
