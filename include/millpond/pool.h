/* Pools: multiprocessing.Pool. Open one, map a task over an array, close, join, free.
 *
 *     MP_WITH_POOL (pool, .processes = 4)
 *         mp_pool_map(pool, integrate, items, 10000, areas, .chunksize = 100);
 *
 * Options are keyword arguments: designated initializers after the last positional argument; zero means "choose for me".
 * All calls may be made from any thread, several at once. None may be made from a signal handler; none is a cancellation point.
 * A thread that waits in a call does the pool's work meanwhile: a signal handler that runs on it holds that up while it runs. A
 * pool belongs to the process that opened it: elsewhere every call answers MP_EFOREIGN. The program has one child process more
 * for each open pool, from which workers are forked: waits for any child may see its end, which does no harm.
 *
 *              open                     close                  the last worker left
 *     (nothing) ----> RUNNING ------------------> CLOSED ----------------------------> ENDED
 *                        |  no worker can start      | terminate                         ^
 *                        |-----------> BROKEN ----.  |                                   |
 *                        |  terminate             v  v                                   |
 *                        `---------------------> TERMINATED -----------------------------'
 */
#ifndef MILLPOND_POOL_H
#define MILLPOND_POOL_H
#include <millpond/error.h>
#include <millpond/task.h>

MP__BEGIN
typedef struct mp_pool mp_pool;

typedef struct mp_pool_options {
    int processes;   /* how many workers; 0: mp_cpu_count() */
    mp_error *error; /* filled when opening fails, and zeroed when not; borrowed; NULL: not wanted */
    char mp__end;
} mp_pool_options;

typedef struct mp_map_options {
    /* How many items travel together. 0: measured, so that a chunk takes a fraction of a millisecond, and smaller towards
     * the end. Whatever it is, blame and recovery are per item, and items that have not started may move to an idle worker. */
    ptrdiff_t chunksize;
    mp_status *statuses; /* one for each item, written unless an argument was wrong; borrowed; NULL: not wanted */
    mp_error *errors;    /* likewise; zero where the item succeeded; borrowed; NULL: not wanted */
    mp_error *error;     /* the call's own error, or the failed item's with the smallest index; borrowed; NULL: not wanted */
    char mp__end;
} mp_map_options;

/* How many workers a pool gets by default: CPUs in the affinity mask, at most the cgroup's CPU quota rounded up, at least 1;
 * the environment variable MILLPOND_CPU_COUNT (1 to 100000) overrules both. Python: os.process_cpu_count, plus the quota. */
MP__API int mp_cpu_count(void);

/* mp_pool_open(&pool, .processes = 4, .error = &error): starts a pool and its workers, and waits until they run.
 * `pool` is given: end it with mp_pool_free. On failure it is NULL and nothing is left behind.
 * The workers are forked from a process that is itself forked here: open a pool after loading large read-only data, which
 * they then share, and, if you can, before starting threads (a lock that another thread holds now stays locked in them).
 * MP_EINVAL: processes below 0 or above 100000, or MILLPOND_CPU_COUNT is no such number; MP_ENOMEM; MP_ESYSTEM: no process or
 * descriptor to be had; MP_EBROKEN: workers were started, but did not live. Blocks for about a millisecond. Python: Pool(). */
MP__API mp_status mp_pool_open_with(mp_pool **pool, const mp_pool_options *options) __attribute__((warn_unused_result));

/* mp_pool_map(pool, task, items, n, out, .chunksize = 64, ...): runs the task on each of `n` items and waits for all.
 * `items[i]` is the input of item i, `out[i]` receives its result; both are borrowed. For a task without input (mp_none)
 * `items` may be NULL, for one without result `out` may be. Results own their memory: mp_free.
 * All items are tried, whatever happens to some of them. MP_OK: every item succeeded. Otherwise one of three.
 * An argument was wrong, and no array was touched: MP_EINVAL, MP_EFOREIGN, MP_EUNREGISTERED, MP_EDUPLICATE (see task.h).
 * The pool did not take the call, and every item has that status: MP_ECLOSED, MP_EBROKEN.
 * Items failed, and it is the status of the one with the smallest index: what the task passed to mp_fail; MP_ECRASHED: its
 * worker died running it; MP_ELOST: it ran to its end, but its worker then died or went wrong so that the result was lost;
 * MP_EINVAL, MP_EENCODING, MP_ELIMIT, MP_ENOMEM: its input or result cannot be sent (the message names the field); MP_ETYPE,
 * MP_ERANGE, MP_EFORMAT: what came is no result (a task has written where it should not); MP_ETERMINATED: the pool was
 * terminated first; MP_EBROKEN: no worker is left and none can be started.
 * In the last two cases `out` is zero where an item failed, and `.error` has that item, or MP_NO_ITEM in the first two. Each
 * item runs at most once. Python: Pool.map, but per item. */
MP__API mp_status mp_pool_map_task(mp_pool *pool, const mp_task *task, const void *items, size_t n, void *out,
                                   const mp_map_options *options);

/* mp_pool_apply(pool, task, &input, &result, .error = &error): one call in a worker; waits for it. Python: Pool.apply. */
MP__API mp_status mp_pool_apply_task(mp_pool *pool, const mp_task *task, const void *input, void *output,
                                     const mp_map_options *options);

/* Refuses new work from now on; what was accepted still runs. Then workers leave. Never blocks; again is fine.
 * MP_EINVAL: no pool; MP_EFOREIGN. Python: Pool.close. */
MP__API mp_status mp_pool_close(mp_pool *pool);

/* Close, and ends what waits or runs: every item that has no status yet gets MP_ETERMINATED at once, so that calls which
 * wait return. Workers get SIGTERM, and a second later SIGKILL. Does not wait for them (it takes about 20 ns for each item that
 * gets its status); again is fine. MP_EINVAL, MP_EFOREIGN as close. Python: Pool.terminate. */
MP__API mp_status mp_pool_terminate(mp_pool *pool);

/* Waits until every worker of a closed or terminated pool has left and been reaped, and calls of other threads that waited for
 * items are through with the pool. MP_ERUNNING: neither closed nor terminated. Not for a task's own pool. Python: Pool.join. */
MP__API mp_status mp_pool_join(mp_pool *pool);

/* Frees the pool and sets `*pool` to NULL. A pool that was not joined is terminated and joined first. NULL is fine. No other
 * thread may begin to use the pool any more. In a process that the pool does not belong to, nothing is ended or freed. */
MP__API void mp_pool_free(mp_pool **pool);

/* What has happened to a pool so far; written to `stats` (borrowed). MP_EINVAL: no pool or nowhere to write; MP_EFOREIGN. Does
 * not block. */
typedef struct mp_pool_stats {
    uint64_t accepted, succeeded, failed, pending; /* items; accepted == succeeded + failed + pending, always */
    uint64_t started, lost;                        /* workers: processes started; those that died unasked */
    uint64_t stale;                                /* replies for items that were not running: dropped */
    int workers;                                   /* that run now */
} mp_pool_stats;
MP__API mp_status mp_pool_get_stats(mp_pool *pool, mp_pool_stats *stats);

/* What MP_WITH_POOL is made of. */
MP__API mp_pool *mp__pool_enter(const mp_pool_options *options);
MP__API void mp__pool_leave(mp_pool **pool);
MP__END

#ifndef __cplusplus

#define mp_pool_open(...) MP__POOL_OPEN(__VA_ARGS__, .mp__end = 0)
#define MP__POOL_OPEN(pool, ...) mp_pool_open_with((pool), &(mp_pool_options){__VA_ARGS__})

/* The unevaluated call makes the compiler check the arrays against the task's types. */
#define mp_pool_map(pool, ...) MP__POOL_MAP(pool, __VA_ARGS__, .mp__end = 0)
#define MP__POOL_MAP(pool, f, items, n, out, ...)                                                                          \
    ((void)sizeof(mp__check_##f((items), (out))),                                                                          \
     mp_pool_map_task((pool), &mp__task_##f, (items), (n), (out), &(mp_map_options){__VA_ARGS__}))

/* Python's starmap: several arguments are one struct here, so it is map; kept for those who look for it. */
#define mp_pool_starmap mp_pool_map

#define mp_pool_apply(pool, ...) MP__POOL_APPLY(pool, __VA_ARGS__, .mp__end = 0)
#define MP__POOL_APPLY(pool, f, input, output, ...)                                                                        \
    ((void)sizeof(mp__check_##f((input), (output))),                                                                       \
     mp_pool_apply_task((pool), &mp__task_##f, (input), (output), &(mp_map_options){__VA_ARGS__}))

/* MP_WITH_POOL (pool, .processes = 4) { ... }: Python's `with Pool(4) as pool`: terminates and frees the pool on every way
 * out of the block (its end, break, return, goto; not exit or longjmp). If the pool cannot be opened the block is skipped,
 * and the reason is in `.error`, or on standard error if none was given. */
#define MP_WITH_POOL(...) MP__WITH_POOL(__VA_ARGS__, .mp__end = 0)
#define MP__WITH_POOL(pool, ...) MP__WITH_POOL_(pool, mp__once_##pool, __VA_ARGS__)
#define MP__WITH_POOL_(pool, once, ...)                                                                                    \
    for (mp_pool * pool __attribute__((cleanup(mp__pool_leave))) = mp__pool_enter(&(mp_pool_options){__VA_ARGS__}),        \
                   *once = pool;                                                                                           \
         once; once = NULL)

#endif /* C */
#endif
