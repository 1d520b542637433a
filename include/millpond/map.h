/* Calls that wait: a task over an array (map), once (apply), or once on every worker (broadcast). */
#ifndef MILLPOND_MAP_H
#define MILLPOND_MAP_H
#include <millpond/pool.h>

MP__BEGIN
typedef struct mp_map_options {
    /* How many items travel together. 0: measured, so that a chunk takes a fraction of a millisecond, and smaller towards
     * the end. Whatever it is, blame and recovery are per item, and items that have not started may move to an idle worker. */
    ptrdiff_t chunksize;
    mp_status *statuses; /* one for each item, written unless an argument was wrong; borrowed; NULL: not wanted */
    mp_error *errors;    /* likewise; zero where the item succeeded; borrowed; NULL: not wanted */
    mp_error *error;     /* the call's own error, or the failed item's with the smallest index; borrowed; NULL: not wanted */
    MP__POLICY           /* .timeout .deadline .retries .retry_on .retry_delay .stop_at .stop_at_percent: see policy.h */
    char mp__end;
} mp_map_options;

/* mp_pool_map(pool, task, items, n, out, .chunksize = 64, ...): runs the task on each of `n` items and waits for all.
 * `items[i]` is the input of item i, `out[i]` receives its result; both are borrowed. For a task without input (mp_none)
 * `items` may be NULL, for one without result `out` may be. Results own their memory: mp_free.
 * All items are tried, whatever happens to some of them. MP_OK: every item succeeded. Otherwise one of three.
 * An argument was wrong, and no array was touched: MP_EINVAL, MP_EFOREIGN, MP_EUNREGISTERED, MP_EDUPLICATE (see task.h),
 * MP_ETYPE (an mp_ptr, which means nothing in another process), MP_EDEADLK (a task of this very pool, on its last free thread).
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

/* mp_pool_broadcast(pool, task, &input, out, n, .statuses = s): runs the task once on every worker, with the same input, and
 * waits for all. `n` is how many results there is room for in `out`: MP_EINVAL unless it is the number of workers wanted
 * (mp_pool_stats.processes). out[k] is the result of worker k, likewise statuses and errors. It takes its turn behind what was
 * submitted before. A worker that dies before it has begun passes the item to its replacement; where none can be started:
 * MP_EBROKEN; one that is no longer wanted by then: MP_ECANCELLED. `.chunksize` is not looked at. Statuses as mp_pool_map;
 * MP_EDEADLK from any task of this very pool, whose own worker could not do its part; MP_ENOMEM. There is no such call in Python. */
MP__API mp_status mp_pool_broadcast_task(mp_pool *pool, const mp_task *task, const void *input, void *out, size_t n,
                                         const mp_map_options *options);
MP__END

#ifndef __cplusplus

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

#define mp_pool_broadcast(pool, ...) MP__POOL_BROADCAST(pool, __VA_ARGS__, .mp__end = 0)
#define MP__POOL_BROADCAST(pool, f, input, out, n, ...)                                                                    \
    ((void)sizeof(mp__check_##f((input), (out))),                                                                          \
     mp_pool_broadcast_task((pool), &mp__task_##f, (input), (out), (n), &(mp_map_options){__VA_ARGS__}))

#endif /* C */
#endif
