/* Work that is started now and used later: Pool.apply_async, map_async, starmap_async, and AsyncResult.
 *
 *     mp_async *one = mp_pool_apply_async(pool, square, (&(int64_t){12}), .callback = print, .user = "square:");
 *     if (mp_async_get(one, &y, 5.0) == MP_OK) ...
 *     mp_async_free(&one);
 *
 * The inputs are copied, with all they point to: they may be reused or freed as soon as the call returns. What cannot be
 * submitted is a handle too, complete with the reason; so a handle is never NULL, and one place looks at failures.
 *
 * Callbacks. Once the call was accepted exactly one of `.callback` (every item succeeded) and `.error_callback` (an item
 * failed: the error is that of the smallest index) runs, once, whether or not the handle is kept, on the pool's callback
 * thread, one after the other in the order in which calls complete. It runs before mp_async_get and mp_async_wait return,
 * as in Python, and what it is given is borrowed until it returns. A slow one delays other callbacks and who waits for
 * those calls, nothing else. Inside one every call works: what waits there for another handle does not wait for that one's
 * callback. Only mp_pool_join of its own pool is refused (MP_EDEADLK). With n = 0 `.callback` runs as well (Python forgets
 * it). Of a call that was refused neither runs: its handle is ready, and says why.
 *
 * A handle may be used from any thread, several at once, also after its pool was freed: then it is complete. Its results
 * are its own, as a Python object's are: look at them as long as you keep it, and copy what you need longer. */
#ifndef MILLPOND_ASYNC_H
#define MILLPOND_ASYNC_H
#include <millpond/pool.h>

MP__BEGIN
typedef struct mp_async mp_async;

/* As the macros below fill it in; `callback` is of the task's own type there. */
typedef struct mp_async_options {
    ptrdiff_t chunksize;                                   /* as mp_map_options */
    void (*callback)(void);                                /* apply: void (*)(const output *, void *user);
                                                              map: void (*)(const output *, size_t n, void *user) */
    void (*error_callback)(const mp_error *, void *user);
    void *user;                                            /* for both; not looked at */
    MP__POLICY                                             /* see policy.h */
} mp_async_options;

/* mp_pool_apply_async(pool, task, &input, .callback = f, .error_callback = g, .user = p): given, end it with mp_async_free.
 * What was wrong is the handle's error: the statuses of mp_pool_map, or MP_ESYSTEM: no thread for callbacks; and MP_ENOMEM,
 * MP_EINVAL, MP_ELIMIT: the input cannot be copied. Does not wait. Python: Pool.apply_async. */
MP__API mp_async *mp_pool_apply_async_task(mp_pool *pool, const mp_task *task, const void *input,
                                           const mp_async_options *options);

/* mp_pool_map_async(pool, task, items, n, .chunksize = 64, .callback = f, ...): the same over an array. Python:
 * Pool.map_async, starmap_async. */
MP__API mp_async *mp_pool_map_async_task(mp_pool *pool, const mp_task *task, const void *items, size_t n,
                                         const mp_async_options *options);

/* Waits until the call is complete and its callback has run, for at most `timeout` seconds (MP_FOREVER; 0: a look). MP_OK;
 * MP_ETIMEDOUT: nothing is lost, wait again; MP_EDEADLK: a task of this very pool, on its last free thread; MP_EINVAL: no
 * handle; MP_EFOREIGN: it belongs to another process. Python: AsyncResult.wait, which does not say which. */
MP__API mp_status mp_async_wait(mp_async *async, double timeout);

/* mp_async_get(async, &out, timeout): waits, and shows the results: `out` has room for one result, or for the n of a map.
 * What they point to is the handle's, borrowed until it is freed; mp_free of them does nothing but zero them. May be
 * called again. NULL: not wanted. The status is that of the call: MP_OK, or that of the failed item with the smallest
 * index, whose places are zero while the others have their results; or as mp_async_wait, and MP_ETYPE (`out` points to
 * something of another size than a result): `out` is not touched. An item whose own time was up is MP_EOVERTIME.
 * Python: AsyncResult.get. */
MP__API mp_status mp_async_get_sized(mp_async *async, void *out, size_t size, double timeout);

/* True if it is complete and its callback has run. Does not wait. Python: AsyncResult.ready. */
MP__API bool mp_async_ready(mp_async *async);

/* True if it is ready and every item succeeded. False before it is ready: then mp_async_error says MP_ERUNNING.
 * Python: AsyncResult.successful, which raises instead. */
MP__API bool mp_async_successful(mp_async *async);

/* What went wrong; status MP_OK: nothing; MP_ERUNNING: not ready yet. Borrowed until the handle is freed. */
MP__API const mp_error *mp_async_error(mp_async *async);

/* The status of each of its items, once it is ready; NULL before, and of a call that was refused for its arguments.
 * Borrowed until the handle is freed. */
MP__API const mp_status *mp_async_statuses(mp_async *async);

typedef struct mp_cancel_options {
    bool force; /* also what runs */
    char mp__end;
} mp_cancel_options;

/* mp_async_cancel(async, .force = true): ends every item that has not started with MP_ECANCELLED; what runs goes on, and
 * can see it (mp_call_cancelled). With `.force` it is ended as well, as if its time were up, and is MP_ECANCELLED then
 * (policy.h; on a thread it is told, no more). Items that were already sent to a worker are taken back from it: the handle
 * completes when that is done and what runs has ended. MP_OK, also when it was complete; MP_EINVAL; MP_EFOREIGN. Does not
 * wait. Python has no such call. */
MP__API mp_status mp_async_cancel(mp_async *async);
MP__API mp_status mp_async_cancel_with(mp_async *async, const mp_cancel_options *options);

/* A descriptor that polls readable from when the call is ready: for poll, epoll, libuv, GLib. Owned by the handle: neither
 * read nor close it. -1: none to be had, or not a handle of this process. */
MP__API int mp_async_fd(mp_async *async);

/* Frees the handle and sets `*async` to NULL, at any time; work that is not complete goes on, and its callback will run.
 * Python: dropping the AsyncResult. NULL is fine. */
MP__API void mp_async_free(mp_async **async);
MP__END

/* How large what a pointer points to is; of a void pointer it is not known. */
#define MP__UNSIZED 32749
typedef struct mp__unsized {
    char mp__unused[MP__UNSIZED];
} mp__unsized;

#ifndef __cplusplus
#define MP__SIZE_AT(out) sizeof(*_Generic((out), void *: (mp__unsized *)0, default: (out)))

#define mp_async_cancel(...) MP__ASYNC_CANCEL(__VA_ARGS__, .mp__end = 0)
#define MP__ASYNC_CANCEL(async, ...) mp_async_cancel_with((async), &(mp_cancel_options){__VA_ARGS__})

#define mp_async_get(async, out, timeout) mp_async_get_sized((async), (out), MP__SIZE_AT(out), (timeout))

/* The struct gives the callback the task's own type, so that a wrong one is a diagnostic. */
#define mp_pool_apply_async(pool, ...) MP__APPLY_ASYNC(pool, __VA_ARGS__, .mp__end = 0)
#define MP__APPLY_ASYNC(pool, f, input, ...)                                                                               \
    __extension__({                                                                                                        \
        struct {                                                                                                           \
            void (*callback)(const mp__output_of_##f *, void *);                                                           \
            MP__ASYNC_REST                                                                                                 \
        } mp__told = {__VA_ARGS__};                                                                                        \
        (void)sizeof(mp__check_##f((input), (mp__output_of_##f *)0));                                                      \
        mp_pool_apply_async_task((pool), &mp__task_##f, (input), &(mp_async_options)MP__ASYNC_OPTIONS);                    \
    })

#define mp_pool_map_async(pool, ...) MP__MAP_ASYNC(pool, __VA_ARGS__, .mp__end = 0)
#define MP__MAP_ASYNC(pool, f, items, n, ...)                                                                              \
    __extension__({                                                                                                        \
        struct {                                                                                                           \
            void (*callback)(const mp__output_of_##f *, size_t, void *);                                                   \
            MP__ASYNC_REST                                                                                                 \
        } mp__told = {__VA_ARGS__};                                                                                        \
        (void)sizeof(mp__check_##f((items), (mp__output_of_##f *)0));                                                      \
        mp_pool_map_async_task((pool), &mp__task_##f, (items), (n), &(mp_async_options)MP__ASYNC_OPTIONS);                 \
    })
#define mp_pool_starmap_async mp_pool_map_async

#define MP__ASYNC_REST                                                                                                     \
    void (*error_callback)(const mp_error *, void *);                                                                      \
    void *user;                                                                                                            \
    ptrdiff_t chunksize;                                                                                                   \
    MP__POLICY                                                                                                             \
    char mp__end;
#define MP__ASYNC_OPTIONS                                                                                                  \
    {                                                                                                                      \
        .chunksize = mp__told.chunksize, .callback = (void (*)(void))mp__told.callback,                                    \
        .error_callback = mp__told.error_callback, .user = mp__told.user, MP__POLICY_OF(mp__told)                          \
    }

#endif /* C */
#endif
