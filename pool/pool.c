/* The public face of a pool as a whole: checks what users pass, says what is wrong with it, opens, closes, frees.
 *
 * Any thread. Nothing here waits but through dispatch. A pool that was inherited through fork is refused: its threads and
 * its lock are not in this process. */
#include "pool/pool.h"
#include "pool/choice.h"
#include "pool/cpu.h"
#include "pool/failure.h"
#include "pool/process_id.h"
#include "pool/replay.h"
#include "pool/system.h"
#include "pool/values.h"
#include "serial/memory.h"
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { SPIN_NS = 50000 }; /* about what it takes to sleep and to be woken */

/* --- checks -------------------------------------------------------------------------------------------------------------- */

mp_status mp__pool_check(const mp_pool *pool, mp_error *error)
{
    if (!pool)
        return mp__failure(error, MP_EINVAL, "no pool: it was not opened, or freed already");
    if (pool->owner != mp__process_id())
        return mp__failure(error, MP_EFOREIGN, "this pool belongs to process %d: open another one in this process (%d)",
                           (int)pool->owner, (int)mp__process_id());
    return MP_OK;
}

static mp_status check_task(const mp_pool *pool, const mp_task *task, uint32_t *index, mp_error *error)
{
    mp_status status = mp__task_table_find(&pool->tasks, task, index, error);
    if (status || !pool->tasks.rows[*index].has_pointer || pool->backend->in_program)
        return status;
    return mp__failure(
        error, MP_ETYPE,
        "task '%s' takes or gives an mp_ptr, which means nothing in another process: use a pool of threads, or "
        "send the data (mp_bytes, MP_SPAN)",
        task->name);
}

/* The error of a call says which task it was about, if that can be told. */
static mp_status named(mp_status status, const mp_task *task, mp_error *error)
{
    if (status && error && task && task->layout == sizeof *task && task->name)
        strncpy(error->task, task->name, MP_NAME_MAX - 1);
    return status;
}

/* A task that is good, and its index, in one word, so that any thread may write it at any time; its place follows from the task. Most
 * programs call a few tasks again and again. */
static bool was_found(const mp_pool *pool, const mp_task *task, uint32_t *index)
{
    uint64_t found = atomic_load_explicit(&pool->found[(uintptr_t)task / sizeof *task % MP__FOUND], memory_order_relaxed);
    *index = found & UINT16_MAX;
    return task && found >> 16 == (uintptr_t)task;
}

static void keep_found(const mp_pool *pool, const mp_task *task, uint32_t index)
{
    uint64_t found = (uint64_t)(uintptr_t)task << 16 | index;
    mp_pool *mine = (mp_pool *)(uintptr_t)pool;
    if (index <= UINT16_MAX && found >> 16 == (uintptr_t)task)
        atomic_store_explicit(&mine->found[(uintptr_t)task / sizeof *task % MP__FOUND], found, memory_order_relaxed);
}

/* Among those that were found before, or in the table. */
static mp_status find_task(const mp_pool *pool, const mp_task *task, uint32_t *index, mp_error *error)
{
    if (was_found(pool, task, index))
        return MP_OK;
    mp_status status = check_task(pool, task, index, error);
    if (!status)
        keep_found(pool, task, *index);
    return status;
}

mp_status mp__pool_check_task(const mp_pool *pool, const mp_task *task, uint32_t *index, mp_error *error)
{
    return named(find_task(pool, task, index, error), task, error);
}

mp_status mp__pool_check_call(const mp_pool *pool, const mp_task *task, ptrdiff_t chunksize, uint32_t *index,
                              mp_error *error)
{
    mp_status status = mp__pool_check(pool, error);
    if (!status)
        status = find_task(pool, task, index, error);
    if (!status && chunksize < 0)
        status =
            mp__failure(error, MP_EINVAL, ".chunksize is %td: it must be at least 1, or 0 to have it chosen", chunksize);
    return named(status, task, error);
}

static mp_status check_count(const mp_type *type, size_t n, mp_error *error)
{
    return n <= PTRDIFF_MAX / type->size
               ? MP_OK
               : mp__failure(error, MP_EINVAL, "there cannot be an array of %zu items: is n right?", n);
}

static mp_status check_array(const mp_task *task, const mp_type *type, const void *values, size_t n, bool gives,
                             mp_error *error)
{
    if (n && !values && !mp__is_none(type))
        return gives ? mp__failure(error, MP_EINVAL,
                                   "task '%s' gives a '%s' for each item but there is no array for them: pass one of %zu",
                                   task->name, type->name, n)
                     : mp__failure(error, MP_EINVAL, "there are %zu items but no array of them: pass %zu of '%s'", n, n,
                                   type->name);
    return check_count(type, n, error);
}

mp_status mp__pool_check_input(const mp_task *task, const void *items, size_t n, mp_error *error)
{
    return named(check_array(task, task->input, items, n, false, error), task, error);
}

mp_status mp__pool_check_results(const mp_task *task, size_t n, mp_error *error)
{
    return named(check_count(task->output, n, error), task, error);
}

mp_status mp__pool_check_output(const mp_task *task, const void *out, size_t n, mp_error *error)
{
    return named(check_array(task, task->output, out, n, true, error), task, error);
}

/* --- open ---------------------------------------------------------------------------------------------------------------- */

static mp_status count_workers(int count, uint32_t *workers, mp_error *error)
{
    if (count < 0 || count > MP__PROCESSES_MAX)
        return mp__failure(error, MP_EINVAL,
                           ".processes is %d: it must be from 1 to %d, or 0 for as many as there are CPUs", count,
                           MP__PROCESSES_MAX);
    if (!count && mp__cpu_count(&count, error) != MP_OK)
        return MP_EINVAL;
    *workers = (uint32_t)count;
    return MP_OK;
}

static mp_status check_options(const mp_pool_options *options, mp_error *error)
{
    const char *prefix = options->thread_name_prefix;
    if (options->start_method < MP_DEFAULT_START || options->start_method > MP_FORKSERVER)
        return mp__failure(error, MP_EINVAL, ".start_method is %d: it must be MP_FORK, MP_SPAWN or MP_FORKSERVER",
                           (int)options->start_method);
    if (options->maxtasksperchild < 0)
        return mp__failure(error, MP_EINVAL, ".maxtasksperchild is %td: it must be at least 1, or 0 for no limit",
                           options->maxtasksperchild);
    if (prefix && strlen(prefix) > MP__PREFIX_MAX)
        return mp__failure(error, MP_EINVAL, ".thread_name_prefix '%.20s...' is longer than %d bytes: shorten it", prefix,
                           MP__PREFIX_MAX);
    if (options->output != MP_OUTPUT_INHERIT && options->output != MP_OUTPUT_CAPTURE)
        return mp__failure(error, MP_EINVAL, ".output is %d: it must be MP_OUTPUT_INHERIT or MP_OUTPUT_CAPTURE",
                           (int)options->output);
    if (options->interrupt != MP_INTERRUPT_STOP && options->interrupt != MP_INTERRUPT_LEAVE)
        return mp__failure(error, MP_EINVAL, ".interrupt is %d: it must be MP_INTERRUPT_STOP or MP_INTERRUPT_LEAVE",
                           (int)options->interrupt);
    if (!(options->spin >= 0) && options->spin != MP_NO_SPIN)
        return mp__failure(error, MP_EINVAL,
                           ".spin is %g: it must be a number of seconds, 0 for the default, or MP_NO_SPIN", options->spin);
    return MP_OK;
}

static uint64_t spin_ns(double seconds)
{
    double ns = seconds * 1e9;
    return seconds == 0 ? SPIN_NS : seconds < 0 ? 0 : ns < MP__SPIN_MOST ? (uint64_t)ns : MP__SPIN_MOST;
}

/* Finds the hook's task, and copies its input. */
static mp_status take_hook(const mp_pool *pool, const mp_hook *given, const char *which, mp__hook *hook, mp_error *error)
{
    static const mp_none none;
    if (!given->task)
        return given->input ? mp__failure(error, MP_EINVAL, "the %s has an input but no task: use MP_HOOK", which) : MP_OK;
    mp_status status = check_task(pool, given->task, &hook->index, error);
    if (!status)
        status = mp__pool_check_input(given->task, given->input, 1, error);
    if (!status && !mp__is_none(given->task->output))
        status = mp__failure(error, MP_EINVAL, "the %s '%s' gives a '%s', which nobody takes: its result must be mp_none",
                             which, given->task->name, given->task->output->name);
    if (status)
        return status;
    mp__fault fault = {0};
    hook->value = mp__values_copy(given->task->input, given->input ? given->input : &none, 1, &fault);
    if (!hook->value)
        return mp__values_failure(error, "a hook's input cannot be copied", &fault);
    hook->task = given->task;
    return MP_OK;
}

static void free_hook(mp__hook *hook)
{
    if (hook->task)
        mp__values_free(hook->task->input, (void *)(uintptr_t)hook->value, 1);
}

static void free_pool(mp_pool *pool)
{
    free_hook(&pool->initializer);
    free_hook(&pool->finalizer);
    mp__task_table_fini(&pool->tasks);
    free(pool);
}

static mp_status check_kind(const mp_pool_options *options, mp_error *error)
{
    return mp__choice_backend(options->kind)
               ? MP_OK
               : mp__failure(error, MP_EINVAL, ".kind is %d: it must be MP_PROCESSES, MP_THREADS, MP_SERIAL or MP_CLUSTER",
                             (int)options->kind);
}

/* What only processes can have. */
static mp_status check_in_program(const mp_pool_options *options, mp_error *error)
{
    if (!mp__choice_backend(options->kind)->in_program)
        return MP_OK;
    if (options->start_method)
        return mp__failure(error, MP_EINVAL, "threads have no start method: leave .start_method out");
    const mp_limits *limits = &options->limits;
    const char *which = limits->address_space || limits->cpu_time || limits->file_size || limits->core ? ".limits"
                        : options->maxrss                                                              ? ".maxrss"
                        : options->output                                                              ? ".output"
                                                                                                       : NULL;
    return which ? mp__failure(error, MP_EINVAL, "%s is set, but threads share the program's: use MP_PROCESSES", which)
                 : MP_OK;
}

/* As much as there is is no limit; for the backend that number means none at all. */
static uint64_t bound(uint64_t limit)
{
    return limit == UINT64_MAX ? 0 : limit;
}

static mp__worker_limits limits_of(const mp_pool_options *options)
{
    return (mp__worker_limits){.address_space = bound(options->limits.address_space),
                               .cpu_seconds = bound(options->limits.cpu_time),
                               .file_size = bound(options->limits.file_size),
                               .core = options->limits.core == MP_NO_CORE ? MP__LIMIT_NONE : options->limits.core,
                               .rss = options->maxrss};
}

static mp_status take_policy(mp_pool *pool, const mp_pool_options *options, mp_error *error)
{
    mp_policy policy = {.timeout = options->timeout,
                        .retries = options->retries,
                        .retry_on = options->retry_on,
                        .retry_delay = options->retry_delay};
    mp_status status = mp__policy_defaults_take(&pool->policy, &policy, options->grace, error);
    return status ? status : mp__policy_take(&pool->policy, &(mp_policy){0}, 1, &pool->usual, error);
}

static mp_status start_pool(mp_pool *pool, const mp_pool_options *options, const mp__fragile *fragile, uint32_t workers,
                            mp_error *error)
{
    mp_status status = take_policy(pool, options, error);
    if (!status)
        status = take_hook(pool, &options->initializer, "initializer", &pool->initializer, error);
    if (!status)
        status = take_hook(pool, &options->finalizer, "finalizer", &pool->finalizer, error);
    if (status)
        return status;
    mp__dispatch_config config = {.backend = {.workers = workers,
                                              .tasks = &pool->tasks,
                                              .start_method = options->start_method,
                                              .name_prefix = options->thread_name_prefix ? pool->prefix : NULL,
                                              .initializer = pool->initializer,
                                              .finalizer = pool->finalizer,
                                              .limits = limits_of(options),
                                              .capture = options->output == MP_OUTPUT_CAPTURE,
                                              .counted = options->processes > 0},
                                  .minds = options->interrupt == MP_INTERRUPT_STOP,
                                  .spin_ns = spin_ns(options->spin),
                                  .life_items = (uint64_t)options->maxtasksperchild,
                                  .fragile = *fragile};
    config.backend.chaos = pool->chaos.any ? &pool->chaos : NULL;
    return mp__dispatch_open(&pool->dispatch, pool->backend, &config, error);
}

static mp_status open_pool(mp_pool **pool, const mp_pool_options *options, const mp__fragile *fragile, mp_error *error)
{
    uint32_t workers = 0;
    mp_status status = check_kind(options, error);
    if (!status)
        status = count_workers(options->processes, &workers, error);
    if (!status)
        status = check_options(options, error);
    if (!status)
        status = check_in_program(options, error);
    if (status)
        return status;
    mp_pool *made = mp__memory.calloc(1, sizeof *made);
    if (!made || mp__task_table_take(&made->tasks) != MP_OK) {
        free(made);
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    }
    made->owner = mp__process_id();
    made->backend = mp__choice_backend(options->kind);
    if (options->thread_name_prefix)
        strcpy(made->prefix, options->thread_name_prefix);
    status = mp__chaos_read(&made->chaos, error);
    if (!status)
        status = start_pool(made, options, fragile, workers, error);
    if (status) {
        free_pool(made);
        return status;
    }
    *pool = made;
    return mp__no_failure(error);
}

mp_status mp__pool_open(mp_pool **pool, const mp_pool_options *options, const mp__fragile *fragile)
{
    mp_pool_options told = options ? *options : (mp_pool_options){0};
    mp_error unwanted, *error = told.error ? told.error : &unwanted;
    mp__replay_at_open(&told);
    if (!pool)
        return mp__failure(error, MP_EINVAL, "nowhere to put the pool: pass the address of an mp_pool pointer");
    *pool = NULL;
    int cancelling; /* a thread that is cancelled half-way would leave half a pool */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp_status status = mp__choice_take(&told, error);
    if (!status)
        status = open_pool(pool, &told, fragile, error);
    pthread_setcancelstate(cancelling, NULL);
    return status;
}

mp_status mp_pool_open_with(mp_pool **pool, const mp_pool_options *options)
{
    return mp__pool_open(pool, options, &(mp__fragile){0});
}

/* --- end ----------------------------------------------------------------------------------------------------------------- */

mp_status mp_pool_close(mp_pool *pool)
{
    mp_status status = mp__pool_check(pool, NULL);
    if (!status)
        mp__dispatch_close(pool->dispatch);
    return status;
}

mp_status mp_pool_terminate(mp_pool *pool)
{
    mp_status status = mp__pool_check(pool, NULL);
    if (!status)
        mp__dispatch_terminate(pool->dispatch);
    return status;
}

mp_status mp_pool_join_for(mp_pool *pool, double timeout)
{
    mp_status status = mp__pool_check(pool, NULL);
    return status ? status : mp__dispatch_join(pool->dispatch, timeout);
}

static void *end_pool(void *argument)
{
    mp_pool *pool = argument;
    void (*ended)(void) = pool->ended;
    mp__dispatch_join(pool->dispatch, MP_FOREVER);
    mp__dispatch_free(&pool->dispatch);
    free_pool(pool);
    if (ended)
        ended();
    return NULL;
}

/* A thread that the pool's end waits for cannot wait for it: another one does, which nobody needs to join. Without one the pool,
 * which has ended, keeps its memory. */
void mp__pool_end_elsewhere(mp_pool *pool)
{
    pthread_t thread;
    if (mp__thread_create(&thread, end_pool, pool) == 0)
        pthread_detach(thread);
}

void mp_pool_free(mp_pool **pool)
{
    if (!pool || !*pool)
        return;
    mp_pool *old = *pool;
    *pool = NULL;
    if (old->owner != mp__process_id())
        return; /* a copy of somebody's memory: its descriptors and its process are not ours to end */
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    mp__dispatch_terminate(old->dispatch);
    if (mp__dispatch_inside(old->dispatch))
        mp__pool_end_elsewhere(old);
    else
        end_pool(old);
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

/* --- while it runs ------------------------------------------------------------------------------------------------------- */

mp_status mp_pool_resize(mp_pool *pool, int processes)
{
    mp_status status = mp__pool_check(pool, NULL);
    if (status)
        return status;
    if (processes < 1 || processes > MP__PROCESSES_MAX)
        return MP_EINVAL;
    return mp__dispatch_resize(pool->dispatch, (uint32_t)processes);
}

mp_status mp_pool_get_stats(mp_pool *pool, mp_pool_stats *stats)
{
    mp_status status = mp__pool_check(pool, NULL);
    if (status || !stats)
        return status ? status : MP_EINVAL;
    mp__dispatch_stats(pool->dispatch, stats);
    return MP_OK;
}
