/* Handles of calls that are not waited for: apply_async, map_async, and what AsyncResult does.
 *
 * A handle is a call that was sent (sent.h). Two hold it: the user, and the engine until the job is done and its callback has run; the last to let go frees it. All of
 * it is guarded by the pool's lock; it keeps the dispatch, and so the lock, alive when the pool is freed.
 *
 *     SENT -> DONE -> READY      DONE: every item has ended, and its callback waits or runs
 *       `---------------^        no callback
 *
 * A call that is refused is a handle that was READY at once and never met the engine: it has no dispatch, and nothing changes in
 * it, so no lock is needed. The one for want of memory is a constant. */
#include "pool/callbacks.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/sent.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <millpond/async.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef enum async_state { SENT, DONE, READY } async_state;

struct mp_async {
    mp__sent sent; /* first: the job's pointer is ours */
    /* fixed at submit */
    mp__dispatch *dispatch; /* NULL: it was refused */
    pid_t owner;
    bool all; /* a map's callback gets all results */
    mp_async_options options;
    mp__callback callback;
    /* guarded by the pool's lock */
    async_state state;
    unsigned holders;
    mp_error error;
    int fd; /* -1: nobody asked for it */
    pthread_cond_t changed;
};

static mp_async no_memory = {.state = READY,
                             .fd = -1,
                             .error = {.status = MP_ENOMEM,
                                       .item = MP_NO_ITEM,
                                       .worker = MP_NO_WORKER,
                                       .exit_code = -1,
                                       .message = "no memory for the call"}};

static const mp_error not_ready = {.status = MP_ERUNNING,
                                   .item = MP_NO_ITEM,
                                   .worker = MP_NO_WORKER,
                                   .exit_code = -1,
                                   .message = "the call is not complete: wait for it first"};

static mp_async *async_of(mp__job *job)
{
    return (mp_async *)job;
}

static mp_async *async_of_callback(mp__callback *callback)
{
    return (mp_async *)((char *)callback - offsetof(mp_async, callback));
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

static void free_async(mp_async *async)
{
    mp__sent_fini(&async->sent);
    if (async->fd >= 0)
        close(async->fd);
    pthread_cond_destroy(&async->changed);
    free(async);
}

/* Of the engine's hold, with the lock: a reference to the dispatch is not its last while it runs. */
static void let_go(mp_async *async)
{
    mp__dispatch *d = async->dispatch;
    if (--async->holders)
        return;
    free_async(async);
    mp__dispatch_unref(d);
}

static void become_ready(mp_async *async)
{
    async->state = READY;
    if (async->fd >= 0) {
        ssize_t written = write(async->fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* it holds one count only: cannot fail */
    }
    mp__dispatch_tell(async->dispatch, &async->changed);
    let_go(async);
}

static void run_callback(mp__callback *callback)
{
    mp_async *async = async_of_callback(callback);
    const mp_task *task = async->sent.array.job.task;
    static const mp_none nothing;
    const void *values = async->sent.array.out ? async->sent.array.out : (const void *)&nothing;
    if (async->sent.array.failed)
        async->options.error_callback(&async->error, async->options.user);
    else
        task->tell(async->options.callback, values, async->sent.array.job.core.n, async->all, async->options.user);
}

static void ran_callback(mp__callback *callback)
{
    become_ready(async_of_callback(callback));
}

static bool has_callback(const mp_async *async)
{
    return async->sent.array.failed ? async->options.error_callback != NULL : async->options.callback != NULL;
}

static void async_done(mp__job *job)
{
    mp_async *async = async_of(job);
    mp__sent_done(&async->sent);
    if (async->sent.array.failed)
        async->error = async->sent.array.first;
    if (!has_callback(async)) {
        become_ready(async);
        return;
    }
    async->state = DONE;
    mp__callbacks_push(async->dispatch, &async->callback);
    mp__dispatch_tell(async->dispatch, &async->changed); /* other callbacks wait for no more than this */
}

static const mp__job_kind async_kind = {.locate = mp__array_job_locate, .ended = mp__array_job_ended, .done = async_done};

/* --- its beginning ------------------------------------------------------------------------------------------------------- */

static mp_async *make(void)
{
    mp_async *async = mp__memory.calloc(1, sizeof *async);
    if (!async)
        return NULL;
    async->fd = -1;
    async->owner = getpid();
    async->holders = 1;
    async->callback = (mp__callback){.run = run_callback, .ran = ran_callback};
    mp__dispatch_cond_init(&async->changed);
    return async;
}

static mp_status submit(mp_async *async, mp__dispatch *d)
{
    mp__guard guard;
    bool calls = async->options.callback || async->options.error_callback;
    mp__dispatch_enter(d, &guard);
    calls = calls && mp__core_get_state(mp__dispatch_core(d)) == MP__RUNNING; /* else there will be none */
    mp_status status = calls ? mp__callbacks_start(d, &async->error) : MP_OK;
    if (!status)
        status = mp__dispatch_submit(d, &async->sent.array.job, &async->error);
    if (!status) {
        async->dispatch = d;
        mp__dispatch_ref(d);
        async->holders++;
        if (!async->sent.array.job.core.n)
            async_done(&async->sent.array.job);
        mp__dispatch_acted(d);
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

static mp_async *start(mp_pool *pool, const mp_task *task, const void *items, size_t n, bool all,
                       const mp_async_options *options)
{
    mp_async *async = make();
    if (!async)
        return &no_memory;
    async->all = all;
    if (options)
        async->options = *options;
    async->sent.array.job.kind = &async_kind;
    mp_status status = mp__sent_prepare(&async->sent, pool, task, items, n, async->options.chunksize, &async->error);
    if (!status)
        status = submit(async, pool->dispatch);
    if (status) {
        async->state = READY;
        async->sent.array.failed = n ? n : 1;
        for (size_t i = 0; async->sent.array.statuses && i < n; i++)
            async->sent.array.statuses[i] = status;
    }
    return async;
}

mp_async *mp_pool_apply_async_task(mp_pool *pool, const mp_task *task, const void *input, const mp_async_options *options)
{
    return start(pool, task, input, 1, false, options);
}

mp_async *mp_pool_map_async_task(mp_pool *pool, const mp_task *task, const void *items, size_t n,
                                 const mp_async_options *options)
{
    return start(pool, task, items, n, true, options);
}

/* --- what users ask ------------------------------------------------------------------------------------------------------ */

/* A callback is as far as it gets: to wait for others there would be to wait for itself. */
static bool is_ready(const void *of)
{
    const mp_async *async = of;
    return async->state == READY || (async->state == DONE && mp__callbacks_here(async->dispatch));
}

static bool is_foreign(const mp_async *async)
{
    return async != &no_memory && async->owner != getpid();
}

/* With the lock of a handle that has one. */
static bool look(mp_async *async)
{
    mp__guard guard;
    if (!async->dispatch)
        return true;
    mp__dispatch_enter(async->dispatch, &guard);
    bool ready = is_ready(async);
    mp__dispatch_leave(async->dispatch, &guard);
    return ready;
}

mp_status mp_async_wait(mp_async *async, double timeout)
{
    if (!async || is_foreign(async))
        return async ? MP_EFOREIGN : MP_EINVAL;
    if (!async->dispatch)
        return MP_OK;
    mp__guard guard;
    mp__dispatch_enter(async->dispatch, &guard);
    mp_status status =
        mp__dispatch_wait(async->dispatch, &guard, &(mp__awaited){is_ready, async, &async->changed}, timeout);
    mp__dispatch_leave(async->dispatch, &guard);
    return status;
}

/* Nothing changes in a handle that is ready: no lock. */
mp_status mp_async_get_sized(mp_async *async, void *out, size_t size, double timeout)
{
    mp_status status = mp_async_wait(async, timeout);
    if (status)
        return status;
    if (mp__sent_misfits(&async->sent, out, size))
        return MP_ETYPE;
    mp__sent_show(&async->sent, out);
    return async->error.status;
}

bool mp_async_ready(mp_async *async)
{
    return async && !is_foreign(async) && look(async);
}

bool mp_async_successful(mp_async *async)
{
    return mp_async_ready(async) && async->error.status == MP_OK;
}

const mp_error *mp_async_error(mp_async *async)
{
    static const mp_error none = {.status = MP_EINVAL,
                                  .item = MP_NO_ITEM,
                                  .worker = MP_NO_WORKER,
                                  .exit_code = -1,
                                  .message = "no handle: it was freed already, or belongs to another process"};
    if (!async || is_foreign(async))
        return &none;
    return look(async) ? &async->error : &not_ready;
}

const mp_status *mp_async_statuses(mp_async *async)
{
    return mp_async_ready(async) ? async->sent.array.statuses : NULL;
}

mp_status mp_async_cancel(mp_async *async)
{
    if (!async || is_foreign(async))
        return async ? MP_EFOREIGN : MP_EINVAL;
    if (!async->dispatch)
        return MP_OK;
    mp__guard guard;
    mp__dispatch_enter(async->dispatch, &guard);
    if (async->state == SENT) {
        mp__core_time(mp__dispatch_core(async->dispatch), mp__now());
        mp__core_cancel(mp__dispatch_core(async->dispatch), &async->sent.array.job.core);
        mp__dispatch_acted(async->dispatch);
    }
    mp__dispatch_leave(async->dispatch, &guard);
    return MP_OK;
}

static int make_fd(bool ready)
{
    return mp__above_standard(mp__system.eventfd(ready, EFD_CLOEXEC | EFD_NONBLOCK));
}

int mp_async_fd(mp_async *async)
{
    if (!async || async == &no_memory || is_foreign(async))
        return -1;
    mp__guard guard;
    if (async->dispatch)
        mp__dispatch_enter(async->dispatch, &guard);
    if (async->fd < 0)
        async->fd = make_fd(async->state == READY);
    if (async->dispatch)
        mp__dispatch_leave(async->dispatch, &guard);
    return async->fd;
}

void mp_async_free(mp_async **async)
{
    if (!async || !*async)
        return;
    mp_async *old = *async;
    *async = NULL;
    if (old == &no_memory || is_foreign(old))
        return;
    mp__dispatch *d = old->dispatch;
    mp__guard guard;
    int cancelling;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling); /* close(2) is a cancellation point */
    if (d)
        mp__dispatch_enter(d, &guard);
    bool last = !--old->holders;
    if (d)
        mp__dispatch_leave(d, &guard);
    if (last)
        free_async(old);
    if (last && d)
        mp__dispatch_unref(d);
    pthread_setcancelstate(cancelling, NULL);
}
