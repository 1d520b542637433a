/* Futures: concurrent.futures.Future, wait and as_completed.
 *
 *     mp_future *page = mp_submit(executor, download, (&(request){url, 3.0}));
 *     if (mp_future_result(page, &got, 10.0) == MP_OK) ...
 *     mp_future_free(&page);
 *
 *     PENDING --> RUNNING --> FINISHED     running: on a worker, now. A future is done when it is FINISHED or CANCELLED, and
 *        `------> CANCELLED                everybody who waits for it learns that at once
 *
 * A future is shared: mp_future_ref and mp_future_free count. Its result is its own: what it points to lives as long as
 * the future. Any thread, several at once; also after its executor was freed. In a process that it does not belong to:
 * MP_EFOREIGN, or false. */
#ifndef MILLPOND_FUTURE_H
#define MILLPOND_FUTURE_H
#include <millpond/async.h>

MP__BEGIN
typedef struct mp_future mp_future;

/* mp_future_cancel(future, .force = true): tries to cancel it. True: it is CANCELLED, now or already; a task that had not started
 * never starts. False: it runs, or is FINISHED. With `.force` one that runs in a worker process is CANCELLED too, and ended, as when
 * its time were up (policy.h); one that runs on a thread is told (mp_call_cancelled), and the answer is false. Does not wait. Its
 * callbacks run. Python: Future.cancel, which has no force. */
MP__API bool mp_future_cancel(mp_future *future);
MP__API bool mp_future_cancel_with(mp_future *future, const mp_cancel_options *options);

/* What state it is in. Do not wait. Python: Future.cancelled, running, done. */
MP__API bool mp_future_cancelled(mp_future *future);
MP__API bool mp_future_running(mp_future *future);
MP__API bool mp_future_done(mp_future *future);

/* mp_future_result(future, &out, timeout): waits until it is done, for at most `timeout` seconds (MP_FOREVER; 0: a look),
 * and shows its result; what that points to is borrowed from the future. NULL: not wanted. MP_OK; MP_ECANCELLED;
 * MP_ETIMEDOUT: not done yet, nothing is lost; MP_EDEADLK: a task would wait for its own pool, on its last free thread;
 * MP_ETYPE: `out` points to something of another size; MP_EINVAL: no future; MP_EFOREIGN. Anything else is how the task
 * failed: `out` is zero. Python: Future.result. */
MP__API mp_status mp_future_result_sized(mp_future *future, void *out, size_t size, double timeout);

/* Waits likewise; why it has no result: status MP_OK: it has one; MP_ECANCELLED; MP_ETIMEDOUT: not done yet. Borrowed
 * until the future is freed. Python: Future.exception. */
MP__API const mp_error *mp_future_exception(mp_future *future, double timeout);

/* Calls `callback` once with the future (borrowed) and `user` when it is done, any number of them, in the order in which
 * they were added, on the callback thread of its pool; for a future of one's own on the thread that sets its result,
 * cancels it or frees it undone. If everything of it is over already: now, on this thread, while others may run on theirs.
 * One that ends its thread has returned. mp_future_result may return before they run. Inside one every call works, but
 * mp_executor_shutdown with wait and mp_executor_free of its own executor do not wait. MP_OK; MP_ENOMEM; MP_ESYSTEM: no thread for callbacks;
 * MP_EINVAL; MP_EFOREIGN. Python: Future.add_done_callback. */
MP__API mp_status mp_future_add_done_callback(mp_future *future, void (*callback)(mp_future *future, void *user),
                                              void *user);

/* One more holder of the future; returns it. And one less: sets `*future` to NULL; the last one frees it, but its task
 * goes on and its callbacks run; those of one of one's own that is not done run now, here. NULL is fine. Futures of an
 * executor that are submitted one behind the other share a page, which is used again when all of them are freed; an executor
 * keeps 8 MB of such pages at most, and fewer if it goes on without them. */
MP__API mp_future *mp_future_ref(mp_future *future);
MP__API void mp_future_free(mp_future **future);

/* The same with each of an array: all are NULL then. The array itself is borrowed; a NULL in it is fine. */
MP__API void mp_futures_free(mp_future **futures, size_t n);

/* --- futures of one's own: for who produces results without an executor, and for tests ------------------------------------ */

/* mp_future_new(double): PENDING, for a result of this type. Given; NULL: no memory. One that is freed by its last holder before it is
 * done is cancelled: its callbacks run, and what was to follow it is cancelled too. */
MP__API mp_future *mp_future_new_of(const mp_type *type);
#define mp_future_new(T) mp_future_new_of(&MP__TYPE(T))

/* True: it is RUNNING now, and cannot be cancelled any more. False: it was cancelled, or is no longer PENDING: do not
 * begin. Python: Future.set_running_or_notify_cancel. */
MP__API bool mp_future_set_running_or_notify_cancel(mp_future *future);

/* Finishes it, from PENDING or RUNNING. The value is copied with all it points to, the error likewise (its status must not
 * be MP_OK; MP_ETIMEDOUT and MP_END, which calls that wait say for themselves, become MP_EFAILED, as from a task). MP_OK; MP_EDONE: it is done already, or an executor's; MP_ENOMEM, MP_EINVAL. Python: Future.set_result,
 * set_exception. */
MP__API mp_status mp_future_set_result(mp_future *future, const void *value);
MP__API mp_status mp_future_set_exception(mp_future *future, const mp_error *error);

/* --- several of them ------------------------------------------------------------------------------------------------------ */

typedef enum mp_return_when { MP_ALL_COMPLETED = 0, MP_FIRST_COMPLETED, MP_FIRST_EXCEPTION } mp_return_when;

typedef struct mp_wait_result {
    size_t done, not_done; /* a future that stands twice in the array counts once */
    mp_status status;      /* MP_OK; MP_ETIMEDOUT; MP_ENOMEM, MP_EINVAL (a NULL among them, or no such return_when),
                              MP_EFOREIGN, MP_EDEADLK: it did not wait */
} mp_wait_result;

/* Waits until all are done, or the first one is, or the first one has failed (a cancelled one has not; if none fails:
 * all); for at most `timeout` seconds. Futures of any executors, and of one's own, together. No futures: returns at once.
 * `futures` is borrowed. Python: concurrent.futures.wait. */
MP__API mp_wait_result mp_wait(mp_future *const *futures, size_t n, mp_return_when return_when, double timeout);

/* mp_as_completed_new(futures, n, timeout): gives them one by one as they become done, those that are done already first;
 * each once. The deadline is for all, and counts from this call. The array is borrowed for the call; the futures are held
 * until it is freed. A completion costs the same however many there are. Given; never NULL. Python: as_completed. */
typedef struct mp_as_completed mp_as_completed;
MP__API mp_as_completed *mp_as_completed_new(mp_future *const *futures, size_t n, double timeout);

/* The next one that is done; borrowed until `each` is freed. MP_OK; MP_END: that were all; MP_ETIMEDOUT: the deadline is
 * over (those that are done are given even then); MP_ENOMEM, MP_EINVAL, MP_EFOREIGN: why mp_as_completed_new could not;
 * MP_EDEADLK. Waits. */
MP__API mp_status mp_as_completed_next(mp_as_completed *each, mp_future **future);

/* A descriptor that polls readable while mp_as_completed_next would not wait for a future. Owned by `each`. -1: none to be
 * had. */
MP__API int mp_as_completed_fd(mp_as_completed *each);
MP__API void mp_as_completed_free(mp_as_completed **each);

/* The first of them that succeeds: the others that have not started are cancelled. NULL: none did (all failed or were
 * cancelled, or the time is up; see each). Borrowed from the array. */
MP__API mp_future *mp_when_any(mp_future *const *futures, size_t n, double timeout);
MP__END

#ifndef __cplusplus
#define mp_future_cancel(...) MP__FUTURE_CANCEL(__VA_ARGS__, .mp__end = 0)
#define MP__FUTURE_CANCEL(future, ...) mp_future_cancel_with((future), &(mp_cancel_options){__VA_ARGS__})
#define mp_future_result(future, out, timeout) mp_future_result_sized((future), (out), MP__SIZE_AT(out), (timeout))
#endif /* C */
#endif
