/* Executors: concurrent.futures.ThreadPoolExecutor and ProcessPoolExecutor.
 *
 *     MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 10)
 *         futures[i] = mp_submit(executor, download, &requests[i]);
 *
 * An executor has a pool of its own, whose workers start as they are needed, or shares a running one (mp_executor_over). A
 * worker that crashes fails its task and nothing else. What cannot be repaired breaks the executor: then what it had gets
 * MP_EBROKEN, and so does what is submitted. Any thread, several at once; from the process that opened it. */
#ifndef MILLPOND_EXECUTOR_H
#define MILLPOND_EXECUTOR_H
#include <millpond/future.h>
#include <millpond/iter.h>

MP__BEGIN
typedef struct mp_executor mp_executor;

typedef struct mp_executor_options {
    mp_kind kind;    /* as mp_pool_options: 0: MILLPOND says it, else MP_PROCESSES */
    int max_workers; /* 0: MILLPOND says it, else for threads min(32, mp_cpu_count() + 4), for processes mp_cpu_count(),
                        for a cluster what its hosts have, as they come and go. One starts at once, the others when something is
                        submitted and none idles; those of a cluster with 0 start with their hosts */
    const char *thread_name_prefix; /* as mp_pool_options, and so are the next four */
    mp_start_method start_method;
    mp_hook initializer;
    mp_hook finalizer;
    ptrdiff_t max_tasks_per_child;
    ptrdiff_t max_queue; /* how many of its futures may be not done, or have callbacks to run; then mp_submit waits for one, but in
                            such a callback for one that is done. 0: any number */
    double timeout;      /* these ten: as mp_pool_options */
    int retries;
    unsigned retry_on;
    double retry_delay;
    double grace;
    mp_limits limits;
    uint64_t maxrss;
    mp_output output;
    mp_interrupt_action interrupt;
    double spin;
    int *argc;           /* as mp_pool_options */
    char **argv;
    bool break_on_crash; /* a worker that dies breaks the executor, as in Python: what it ran is MP_ECRASHED, all else MP_EBROKEN */
    mp_error *error;     /* filled when opening fails, and zeroed when not; borrowed; NULL: not wanted */
    char mp__end;
} mp_executor_options;

typedef struct mp_submit_options {
    double room_timeout; /* how long to wait for room, where `.max_queue` is set; 0: for ever */
    bool nowait;         /* do not wait for room */
    MP__POLICY           /* see policy.h */
    char mp__end;
} mp_submit_options;

typedef struct mp_executor_map_options {
    double timeout;       /* seconds from this call until the last result must be there; 0: no deadline */
    ptrdiff_t chunksize;  /* how many items travel together; 0: chosen */
    ptrdiff_t buffersize; /* how many may be submitted and not read; 0: all are submitted in this call */
    double item_timeout;  /* how long an item may run: `.timeout` of other calls, which Python uses for something else here */
    int retries;          /* these three: see policy.h */
    unsigned retry_on;
    double retry_delay;
    char mp__end;
} mp_executor_map_options;

/* mp_executor_open(&executor, .kind = MP_THREADS, .max_workers = 8): given: end it with mp_executor_free. On failure NULL;
 * statuses as mp_pool_open. An initializer that fails with the first worker fails the opening, later it breaks the
 * executor. Python: ThreadPoolExecutor(), ProcessPoolExecutor(). */
MP__API mp_status mp_executor_open_with(mp_executor **executor, const mp_executor_options *options)
    __attribute__((warn_unused_result));

/* mp_executor_over(&executor, pool, .max_queue = 100): an executor on the workers of a running pool, which must outlive
 * it; of the options only `.max_queue` and `.error` count. Several may share a pool; shutting one down leaves pool and
 * others alone. */
MP__API mp_status mp_executor_over_with(mp_executor **executor, mp_pool *pool, const mp_executor_options *options)
    __attribute__((warn_unused_result));

/* mp_submit(executor, task, &input): one call of the task. Given; never NULL: what cannot be submitted is a future that is
 * FINISHED with the reason: the statuses of mp_pool_apply; MP_ECLOSED: after shutdown; MP_EBROKEN; MP_EFULL: no room in
 * time. The input is copied with all it points to. Waits only for room. Calls begin in the order in which they were
 * submitted, but that those known to be short travel several at a time. Python: Executor.submit. */
MP__API mp_future *mp_submit_task(mp_executor *executor, const mp_task *task, const void *input,
                                  const mp_submit_options *options);

/* mp_future_then(future, executor, task): a future for `task` on the result of `future`, submitted when that is there; if
 * there is none, it ends as that one did. The task must take what the other gives (MP_ETYPE). Cancelling it does not
 * cancel `future`. Given. */
MP__API mp_future *mp_future_then_task(mp_future *future, mp_executor *executor, const mp_task *task);

/* mp_executor_map(executor, task, items, n, .timeout = 60, ...): results in the order of the items, through mp_iter_next
 * (iter.h), which says MP_ETIMEDOUT when the deadline is over. `items` are copied, unless `.buffersize` is given: then
 * they are borrowed, as in mp_pool_imap. Freeing a stream that has been read cancels what has not started; one that has
 * not been read runs to its end. Python: Executor.map. */
MP__API mp_iter *mp_executor_map_task(mp_executor *executor, const mp_task *task, const void *items, size_t n,
                                      const mp_executor_map_options *options);

typedef struct mp_shutdown_options {
    bool wait; /* the macro's default is true, as Python's */
    bool cancel_futures;
} mp_shutdown_options;

/* mp_executor_shutdown(executor), mp_executor_shutdown(executor, .wait = false, .cancel_futures = true), or both without their
 * names, in this order: refuses new work; with `cancel_futures` cancels what has not started; with `wait` waits until all its
 * futures are done, their callbacks have run and, if they are its own, the workers have left. Again is fine. From a callback or
 * task of its own it does not wait. `options` is borrowed; NULL: as if none was named. MP_OK; MP_EINVAL; MP_EFOREIGN; MP_EDEADLK:
 * it would have waited for itself. Python: Executor.shutdown. */
MP__API mp_status mp_executor_shutdown(mp_executor *executor, bool wait, bool cancel_futures);
MP__API mp_status mp_executor_shutdown_with(mp_executor *executor, const mp_shutdown_options *options);

/* Shuts it down and ends its workers: SIGTERM, a second later SIGKILL; or SIGKILL at once. What has no result yet gets
 * MP_ETERMINATED. Threads: what runs goes on to its end. Does not wait. MP_OK; MP_EINVAL: no executor, or it has no
 * workers of its own; MP_EFOREIGN. Python: terminate_workers, kill_workers. */
MP__API mp_status mp_executor_terminate_workers(mp_executor *executor);
MP__API mp_status mp_executor_kill_workers(mp_executor *executor);

/* Shuts it down, waits, frees it, and sets `*executor` to NULL. NULL is fine. Its futures and streams stay. */
MP__API void mp_executor_free(mp_executor **executor);

/* The pool below: for mp_pool_get_stats, and to use both faces at once. Borrowed. */
MP__API mp_pool *mp_executor_pool(mp_executor *executor);

/* How many workers it may have: `.max_workers`, or what was chosen for it; of a shared pool, as many as that has now. 0: no executor,
 * or another process's. Does not wait. Python: ThreadPoolExecutor._max_workers, which everybody reads. */
MP__API int mp_executor_max_workers(mp_executor *executor);

/* What MP_WITH_EXECUTOR is made of. */
MP__API mp_executor *mp__executor_enter(const mp_executor_options *options);
MP__API void mp__executor_leave(mp_executor **executor);
MP__END

#ifndef __cplusplus

#define mp_executor_open(...) MP__EXECUTOR_OPEN(__VA_ARGS__, .mp__end = 0)
#define MP__EXECUTOR_OPEN(executor, ...) mp_executor_open_with((executor), &(mp_executor_options){__VA_ARGS__})
#define mp_executor_over(executor, ...) MP__EXECUTOR_OVER(executor, __VA_ARGS__, .mp__end = 0)
#define MP__EXECUTOR_OVER(executor, pool, ...)                                                                             \
    mp_executor_over_with((executor), (pool), &(mp_executor_options){__VA_ARGS__})

#define mp_submit(executor, ...) MP__SUBMIT(executor, __VA_ARGS__, .mp__end = 0)
#define MP__SUBMIT(executor, f, input, ...)                                                                                \
    ((void)sizeof(mp__check_##f((input), (mp__output_of_##f *)0)),                                                         \
     mp_submit_task((executor), &mp__task_##f, (input), &(mp_submit_options){__VA_ARGS__}))

#define mp_future_then(future, executor, f) mp_future_then_task((future), (executor), &mp__task_##f)

#define mp_executor_map(executor, ...) MP__EXECUTOR_MAP(executor, __VA_ARGS__, .mp__end = 0)
#define MP__EXECUTOR_MAP(executor, f, items, n, ...)                                                                       \
    ((void)sizeof(mp__check_##f((items), (mp__output_of_##f *)0)),                                                         \
     mp_executor_map_task((executor), &mp__task_##f, (items), (n), &(mp_executor_map_options){__VA_ARGS__}))

/* A default that is not zero: where one option is named it is assigned, for to initialize a member twice is a warning. */
#define mp_executor_shutdown(...)                                                                                          \
    MP__SHUTDOWN(__VA_ARGS__, MP__SHUTDOWN_BOTH, MP__SHUTDOWN_ONE, MP__SHUTDOWN_NONE, 0)(__VA_ARGS__)
#define MP__SHUTDOWN(executor, first, second, which, ...) which
#define MP__SHUTDOWN_NONE(executor) mp_executor_shutdown_with((executor), NULL)
#define MP__SHUTDOWN_ONE(executor, option)                                                                                 \
    __extension__({                                                                                                        \
        mp_shutdown_options mp__told = {true, false};                                                                      \
        mp__told option;                                                                                                   \
        mp_executor_shutdown_with((executor), &mp__told);                                                                  \
    })
#define MP__SHUTDOWN_BOTH(executor, first, second)                                                                         \
    mp_executor_shutdown_with((executor), &(mp_shutdown_options){first, second})

/* MP_WITH_EXECUTOR (executor, ...) { ... }: Python's `with ThreadPoolExecutor() as executor`: waits for everything that
 * was submitted, on every way out of the block. If it cannot be opened the block is skipped, as MP_WITH_POOL. */
#define MP_WITH_EXECUTOR(...) MP__WITH_EXECUTOR(__VA_ARGS__, .mp__end = 0)
#define MP__WITH_EXECUTOR(executor, ...) MP__WITH_EXECUTOR_(executor, mp__once_##executor, __VA_ARGS__)
#define MP__WITH_EXECUTOR_(executor, once, ...)                                                                            \
    for (mp_executor * executor                                                                                            \
             __attribute__((cleanup(mp__executor_leave))) = mp__executor_enter(&(mp_executor_options){__VA_ARGS__}),       \
             *once = executor;                                                                                             \
         once; once = NULL)

#endif /* C */
#endif
