/* The public face: checks what users pass, says what is wrong with it, and hands jobs to dispatch.
 *
 * Any thread. Nothing here waits but through dispatch. A pool that was inherited through fork is refused: its threads and
 * its lock are not in this process. */
#include "pool/cpu.h"
#include "pool/dispatch.h"
#include "pool/failure.h"
#include "serial/memory.h"
#include <millpond/map.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

struct mp_pool {
    /* fixed at open */
    pid_t owner;
    mp__task_table tasks;
    mp__dispatch *dispatch;
};

static mp_status check_pool(const mp_pool *pool, mp_error *error)
{
    if (!pool)
        return mp__failure(error, MP_EINVAL, "no pool: it was not opened, or freed already");
    if (pool->owner != getpid())
        return mp__failure(error, MP_EFOREIGN, "this pool belongs to process %d: open another one in this process (%d)",
                           (int)pool->owner, (int)getpid());
    return MP_OK;
}

/* --- open and end ---------------------------------------------------------------------------------------------------------- */

static mp_status count_workers(const mp_pool_options *options, uint32_t *slots, mp_error *error)
{
    int count = options->processes;
    if (count < 0 || count > MP__PROCESSES_MAX)
        return mp__failure(error, MP_EINVAL,
                           ".processes is %d: it must be from 1 to %d, or 0 for as many as there are CPUs", count,
                           MP__PROCESSES_MAX);
    if (!count && mp__cpu_count(&count, error) != MP_OK)
        return MP_EINVAL;
    *slots = (uint32_t)count;
    return MP_OK;
}

static mp_status find_hook(const mp__task_table *tasks, const mp_hook *hook, mp__hook *found, mp_error *error)
{
    if (!hook->task)
        return MP_OK;
    *found = (mp__hook){.task = hook->task, .value = hook->input};
    return mp__task_table_find(tasks, hook->task, &found->index, error);
}

static mp_status open_pool(mp_pool **pool, const mp_pool_options *options, mp_error *error)
{
    mp__backend_config config = {0};
    mp_status status = count_workers(options, &config.slots, error);
    if (status)
        return status;
    mp_pool *made = mp__memory.calloc(1, sizeof *made);
    if (!made || mp__task_table_take(&made->tasks) != MP_OK) {
        free(made);
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    }
    made->owner = getpid();
    config.tasks = &made->tasks;
    config.start_method = options->start_method;
    config.name_prefix = options->thread_name_prefix;
    status = find_hook(&made->tasks, &options->initializer, &config.initializer, error);
    if (!status)
        status = find_hook(&made->tasks, &options->finalizer, &config.finalizer, error);
    if (!status)
        status = mp__dispatch_open(&made->dispatch, &mp__process_backend, &config, error);
    if (status) {
        mp__task_table_fini(&made->tasks);
        free(made);
        return status;
    }
    *pool = made;
    return mp__no_failure(error);
}

mp_status mp_pool_open_with(mp_pool **pool, const mp_pool_options *options)
{
    static const mp_pool_options none;
    mp_error unwanted, *error = options && options->error ? options->error : &unwanted;
    if (!pool)
        return mp__failure(error, MP_EINVAL, "nowhere to put the pool: pass the address of an mp_pool pointer");
    *pool = NULL;
    int cancelling; /* a thread that is cancelled half-way would leave half a pool */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp_status status = open_pool(pool, options ? options : &none, error);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}

mp_status mp_pool_close(mp_pool *pool)
{
    mp_status status = check_pool(pool, NULL);
    if (!status)
        mp__dispatch_close(pool->dispatch);
    return status;
}

mp_status mp_pool_terminate(mp_pool *pool)
{
    mp_status status = check_pool(pool, NULL);
    if (!status)
        mp__dispatch_terminate(pool->dispatch);
    return status;
}

mp_status mp_pool_join_for(mp_pool *pool, double timeout)
{
    (void)timeout;
    mp_status status = check_pool(pool, NULL);
    return status ? status : mp__dispatch_join(pool->dispatch);
}

void mp_pool_free(mp_pool **pool)
{
    if (!pool || !*pool)
        return;
    mp_pool *old = *pool;
    *pool = NULL;
    if (old->owner != getpid())
        return; /* a copy of somebody's memory: its descriptors and its process are not ours to end */
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp__dispatch_terminate(old->dispatch);
    mp__dispatch_join(old->dispatch);
    mp__dispatch_free(&old->dispatch);
    mp__task_table_fini(&old->tasks);
    free(old);
    pthread_setcancelstate(cancelling, NULL);
}

mp_pool *mp__pool_enter(const mp_pool_options *options)
{
    mp_pool *pool;
    mp_error error;
    mp_pool_options told = *options;
    if (!told.error)
        told.error = &error;
    if (mp_pool_open_with(&pool, &told) != MP_OK && !options->error)
        mp_perror(&error); /* a block that is silently skipped would be a riddle */
    return pool;
}

void mp__pool_leave(mp_pool **pool)
{
    mp_pool_free(pool);
}

mp_status mp_pool_get_stats(mp_pool *pool, mp_pool_stats *stats)
{
    mp_status status = check_pool(pool, NULL);
    if (status || !stats)
        return status ? status : MP_EINVAL;
    mp__dispatch_stats(pool->dispatch, stats);
    return MP_OK;
}

/* --- map and apply --------------------------------------------------------------------------------------------------------- */

static bool is_none(const mp_type *type)
{
    return type->kind == MP__NONE;
}

/* Which argument is wrong, and what to do. */
static mp_status check_arguments(const mp_task *task, const void *items, size_t n, const void *out,
                                 const mp_map_options *options, mp_error *error)
{
    if (options->chunksize < 0)
        return mp__failure(error, MP_EINVAL, ".chunksize is %td: it must be at least 1, or 0 to have it chosen",
                           options->chunksize);
    if (n && !items && !is_none(task->input))
        return mp__failure(error, MP_EINVAL, "there are %zu items but no array of them: pass %zu of '%s'", n, n,
                           task->input->name);
    if (n && !out && !is_none(task->output))
        return mp__failure(error, MP_EINVAL,
                           "task '%s' gives a '%s' for each item but there is no array for them: pass one of "
                           "%zu",
                           task->name, task->output->name, n);
    size_t most = PTRDIFF_MAX / (task->input->size > task->output->size ? task->input->size : task->output->size);
    if (n > most)
        return mp__failure(error, MP_EINVAL, "there cannot be an array of %zu items: is n right?", n);
    return MP_OK;
}

/* Fills the job of a call; MP_OK, or what is wrong with the call. */
static mp_status prepare(mp_pool *pool, mp__job *job, const mp_task *task, const mp_map_options *options, mp_error *error)
{
    mp_status status = check_pool(pool, error);
    if (!status)
        status = mp__task_table_find(&pool->tasks, task, &job->core.task, error);
    if (!status)
        status = check_arguments(task, job->items, job->core.n, job->out, options, error);
    if (status) {
        if (task && task->layout == sizeof *task && task->name)
            strncpy(error->task, task->name, MP_NAME_MAX - 1);
        return status;
    }
    job->task = task;
    job->core.chunksize = (size_t)options->chunksize < job->core.n ? (size_t)options->chunksize : job->core.n;
    job->statuses = options->statuses;
    job->errors = options->errors;
    if (is_none(task->input))
        job->items = NULL;
    if (is_none(task->output))
        job->out = NULL;
    return MP_OK;
}

/* The pool did not take the call: no item ran, and each says why, as if it had failed by itself. */
static void refuse_items(mp__job *job, mp_error *error)
{
    for (size_t i = 0; i < job->core.n; i++) {
        mp_error each = *error;
        mp__job_fail(job, i, &each);
    }
}

mp_status mp_pool_map_task(mp_pool *pool, const mp_task *task, const void *items, size_t n, void *out,
                           const mp_map_options *options)
{
    static const mp_map_options none;
    options = options ? options : &none;
    mp_error unwanted, *error = options->error ? options->error : &unwanted;
    mp__job job = {.core.n = n, .items = items, .out = out};
    mp_status status = prepare(pool, &job, task, options, error);
    if (status)
        return status;
    status = mp__dispatch_run(pool->dispatch, &job, error);
    if (status) {
        refuse_items(&job, error);
        return status;
    }
    if (!job.failed)
        return mp__no_failure(error);
    *error = job.first;
    return error->status;
}

mp_status mp_pool_apply_task(mp_pool *pool, const mp_task *task, const void *input, void *output,
                             const mp_map_options *options)
{
    return mp_pool_map_task(pool, task, input, 1, output, options);
}
