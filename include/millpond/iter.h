/* Streams: Pool.imap and imap_unordered, over an array or over what a generator yields.
 *
 *     mp_iter *counts = mp_pool_imap_unordered_from(pool, count_words, next_line, stdin, .chunksize = 64);
 *     while ((status = mp_iter_next(counts, &words, MP_FOREVER)) != MP_END)
 *         ...
 *     mp_iter_free(&counts);
 *
 * A failed item is that item's status, and the stream goes on. Memory is bounded: at most `.buffersize` items, and about
 * `.bufferbytes` bytes, are on their way or wait to be read; the input is asked only when there is room.
 *
 * A generator is `bool next(input *item, void *user)`, false when the input has ended; or, for one that can fail,
 * `mp_status next(input *item, void *user, mp_error *error)`: MP_OK; MP_END; anything else ends the input with that
 * failure (mp_error_set), which the stream reports in its place, behind the results of what came before it. The item is
 * copied, with all it points to, when `next` returns. It is called on a thread of the stream's own, by one thread at a
 * time, and may block: nothing but this stream waits for it.
 *
 * What is called is served in the order in which it came; of a stream, what it has taken of its input at that time. So one whose input does
 * not end does not keep other calls from being served, nor does another stream. */
#ifndef MILLPOND_ITER_H
#define MILLPOND_ITER_H
#include <millpond/async.h>
#include <stdio.h>

MP__BEGIN
typedef struct mp_iter mp_iter;

typedef struct mp_imap_options {
    ptrdiff_t chunksize;  /* how many items travel together; 0: chosen, as for map. Python: 1 */
    ptrdiff_t buffersize; /* how many items may be on their way or unread; 0: 1024 for each worker, or two chunks where that is
                             more. At least as many as there are workers, or some idle */
    size_t bufferbytes;   /* how many bytes these may take, inputs and results; 0: 16 MiB. One item may always be on its way */
    FILE *progress;       /* a line about how far it is, at most twice a second, written by who reads; borrowed until the end */
    void (*release)(void *user); /* called once when the generator will not be called again, on whichever thread; for `user` */
    MP__POLICY                   /* see policy.h; the deadline counts from the call, and ends the input as well */
    char mp__end;
} mp_imap_options;

typedef struct mp_next_options {
    size_t *index;   /* which item of the input it is, from 0; SIZE_MAX at the end, and where the input failed; borrowed */
    mp_error *error; /* why there is no result; zero where there is one; borrowed */
    char mp__end;
} mp_next_options;

/* Where items come from. */
typedef struct mp__source {
    const void *items; /* an array of `n`: `next` is NULL */
    size_t n;
    void (*next)(void);
    bool plain; /* it returns a bool */
    void *user;
} mp__source;

/* mp_pool_imap(pool, task, items, n, ...), mp_pool_imap_unordered(...): over an array, borrowed until the stream has ended
 * or is freed. mp_pool_imap_from(pool, task, next, user, ...), mp_pool_imap_unordered_from(...): over a generator; `user`
 * is borrowed until mp_iter_free returns, or taken, with `.release`. Ordered: results come in the order of the input;
 * unordered: as they come. Given: end it with mp_iter_free; never NULL: what is wrong with the call is the first thing
 * that mp_iter_next says, with the statuses of mp_pool_map, and then MP_END. Does not wait. Python: Pool.imap,
 * imap_unordered. */
MP__API mp_iter *mp_pool_imap_task(mp_pool *pool, const mp_task *task, bool ordered, const mp__source *source,
                                   const mp_imap_options *options);

/* mp_iter_next(iter, &out, timeout, .index = &i, .error = &e): the next result, waiting for at most `timeout` seconds.
 * MP_OK: `out` has it, and owns what it points to (mp_free). MP_END: there are no more, now and later. MP_ETIMEDOUT: none
 * yet, nothing is lost. MP_EDEADLK: a task of this very pool, on its last free thread; MP_EINVAL: no stream; MP_EFOREIGN;
 * MP_ETYPE: `out` points to something of another size than a result; nothing is lost. Anything else is the failure of that
 * item: `out` is zero. NULL: the value is not wanted. With several threads that read, each result goes to one of them.
 * After close a stream is read to its end; after terminate what was taken from the input is MP_ETERMINATED, item by item,
 * and so, once, is the rest; then MP_END. Python: IMapIterator.next. */
MP__API mp_status mp_iter_next_sized(mp_iter *iter, void *out, size_t size, double timeout, const mp_next_options *options);

/* Why the last mp_iter_next of this thread's gave no result; status MP_OK: it gave one. Borrowed until this thread's next
 * call of mp_iter_next, on any stream. */
MP__API const mp_error *mp_iter_error(const mp_iter *iter);

/* A descriptor that polls readable while mp_iter_next would not wait: for poll, epoll, libuv, GLib. Owned by the stream:
 * neither read nor close it. -1: none to be had, or not a stream of this process. */
MP__API int mp_iter_fd(mp_iter *iter);

/* Leaves the stream, at its end or early, and sets `*iter` to NULL: what has not started is cancelled, what runs can see
 * it (mp_call_cancelled), and its results are thrown away. No other thread may read it any more. Waits for a call of the
 * generator that is under way, but not from inside it, and not if `.release` was given: so one that may block for ever
 * wants that, or to be woken first. NULL is fine. */
MP__API void mp_iter_free(mp_iter **iter);
MP__END

#ifndef __cplusplus

#define mp_iter_next(iter, ...) MP__ITER_NEXT(iter, __VA_ARGS__, .mp__end = 0)
#define MP__ITER_NEXT(iter, out, timeout, ...)                                                                             \
    mp_iter_next_sized((iter), (out), MP__SIZE_AT(out), (timeout), &(mp_next_options){__VA_ARGS__})

#define mp_pool_imap(pool, ...) MP__IMAP(pool, true, __VA_ARGS__, .mp__end = 0)
#define mp_pool_imap_unordered(pool, ...) MP__IMAP(pool, false, __VA_ARGS__, .mp__end = 0)
#define MP__IMAP(pool, ordered, f, array, count, ...)                                                                      \
    ((void)sizeof(mp__check_##f((array), (mp__output_of_##f *)0)),                                                         \
     mp_pool_imap_task((pool), &mp__task_##f, (ordered), &(mp__source){.items = (array), .n = (count)},                    \
                       &(mp_imap_options){__VA_ARGS__}))

/* A generator of another type fits no association: a diagnostic. */
#define mp_pool_imap_from(pool, ...) MP__IMAP_FROM(pool, true, __VA_ARGS__, .mp__end = 0)
#define mp_pool_imap_unordered_from(pool, ...) MP__IMAP_FROM(pool, false, __VA_ARGS__, .mp__end = 0)
#define MP__IMAP_FROM(pool, ordered, f, generator, argument, ...)                                                          \
    mp_pool_imap_task((pool), &mp__task_##f, (ordered),                                                                    \
                      &(mp__source){.next = (void (*)(void))(generator), .plain = MP__IS_PLAIN(f, generator),              \
                                    .user = (argument)},                                                                   \
                      &(mp_imap_options){__VA_ARGS__})
#define MP__IS_PLAIN(f, generator)                                                                                         \
    _Generic((generator), bool (*)(mp__input_of_##f *, void *): true,                                                      \
             mp_status (*)(mp__input_of_##f *, void *, mp_error *): false)

#endif /* C */
#endif
