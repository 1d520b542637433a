/* How futures come to an executor: checked, with a copy of their input, and posted (pool/post.c), which costs no lock.
 *
 * Any thread. A call with a deadline, one that may have to wait for room (`.max_queue`), and one for which a worker may have to be
 * started, is handed in at once, with the lock. What is refused is a future that is done. */
#include "futures/executor.h"
#include "pool/batch.h"
#include "pool/callbacks.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include <millpond/executor.h>

static mp_future *future_of_posted(mp__posted *call)
{
    return (mp_future *)call;
}

static bool can_revoke(mp_future *future)
{
    return future->state == MP__PENDING && !mp__future_runs(future);
}

void mp__future_has_ended(const mp_future *future)
{
    if (future->executor)
        mp__executor_is_done(future->executor);
}

void mp__future_over(mp_future *future)
{
    mp_executor *executor = future->executor;
    future->executor = NULL;
    if (executor)
        mp__executor_gets_back(executor);
}

/* In line it would get its turn when others have left the core: it is cancelled at once. */
static void recall_posted(mp__posted *call, const void *executor)
{
    mp_future *future = future_of_posted(call);
    if (future->executor == executor && !call->begun && future->state == MP__PENDING)
        (void)mp__future_cancelled(future);
    else if (future->executor == executor && can_revoke(future))
        mp__future_recall(future);
}

static void settle_posted(mp__posted *call, const void *executor)
{
    mp_future *future = future_of_posted(call);
    if (future->executor == executor && can_revoke(future))
        (void)mp__future_cancelled(future);
}

typedef struct wanted_room {
    const mp_executor *executor;
    bool calls_back; /* it is one of its callbacks that waits */
} wanted_room;

/* A future whose callbacks wait for their turn takes its place too, for memory is to be bounded; but not from one of them, which would
 * wait for itself. */
static size_t taken(const wanted_room *room)
{
    return room->calls_back ? room->executor->undone : room->executor->left;
}

static bool has_room(const void *of)
{
    const wanted_room *room = of;
    const mp_executor *executor = room->executor;
    return executor->state != MP__EXECUTOR_OPEN || !executor->max_queue || taken(room) < executor->max_queue;
}

static mp_status wait_for_room(mp_executor *executor, const mp_submit_options *options, mp_error *error)
{
    wanted_room room = {.executor = executor, .calls_back = mp__callbacks_here(executor->dispatch)};
    double timeout = options->nowait ? 0 : options->room_timeout > 0 ? options->room_timeout : MP_FOREVER;
    mp_status status = mp__dispatch_wait(executor->dispatch, &(mp__awaited){has_room, &room, &executor->changed}, timeout);
    if (status == MP_ETIMEDOUT)
        return mp__failure(error, MP_EFULL, "%zu futures are not done yet, as many as .max_queue allows", taken(&room));
    if (status)
        return mp__failure(error, status, "%s", mp_status_text(status));
    return mp__executor_is_open(executor, error);
}

/* The engine holds it from now on. */
static void lend(mp_executor *executor, mp_future *future)
{
    future->dispatch = executor->dispatch;
    mp__single_hold(future->dispatch, future->at);
    atomic_store_explicit(&future->holders, 2, memory_order_relaxed); /* nobody else has it yet */
    future->executor = executor;
}

static mp_status admit_posted(mp__posted *call, mp_error *error)
{
    mp_future *future = future_of_posted(call);
    mp_status status = mp__executor_is_open(future->executor, error);
    if (!status)
        mp__executor_lends(future->executor);
    else
        future->executor = NULL;
    return status;
}

/* Not so if it was cancelled in line. */
static bool is_wanted(const mp__posted *call)
{
    return !mp__future_is_done((const mp_future *)call);
}

static void forget_posted(mp__posted *call)
{
    mp__future_unhold(future_of_posted(call));
}

static void refuse_posted(mp__posted *call, const mp_error *error)
{
    mp_future *future = future_of_posted(call);
    if (!mp__future_is_done(future)) {
        mp__single_refuse(&future->single, error);
        (void)mp__future_complete(future, MP__FINISHED);
    }
    mp__future_unhold(future);
}

static const mp__posted_kind posted_kind = {.admit = admit_posted,
                                            .is_wanted = is_wanted,
                                            .forget = forget_posted,
                                            .ended = mp__future_ended,
                                            .refuse = refuse_posted};

void mp__executor_recall_futures(mp_executor *executor)
{
    mp__posted_each(executor->dispatch, &posted_kind, recall_posted, executor);
}

void mp__executor_settle_futures(mp_executor *executor)
{
    mp__posted_each(executor->dispatch, &posted_kind, settle_posted, executor);
}

/* With the lock. */
static mp_status send_now(mp_executor *executor, mp_future *future, mp_error *error)
{
    mp__posted *call = &future->single.posted;
    mp__job *job = mp__batch_make(executor->dispatch, &call, 1);
    mp_status status =
        job ? mp__dispatch_submit(executor->dispatch, job, error) : mp__failure(error, MP_ENOMEM, "no memory for a call");
    if (!status)
        return status;
    if (job)
        mp__batch_drop(job);
    return status;
}

/* At once: for what has a deadline, or may have to wait for room. */
static mp_status send(mp_executor *executor, mp_future *future, const mp_submit_options *options, mp_error *error)
{
    mp__guard guard;
    mp__dispatch *d = executor->dispatch;
    mp__dispatch_enter(d, &guard);
    mp_status status = wait_for_room(executor, options, error);
    if (!status)
        status = send_now(executor, future, error);
    if (!status) {
        lend(executor, future);
        mp__executor_lends(executor);
        mp__executor_grow(executor);
        mp__dispatch_acted(d);
    }
    mp__dispatch_leave(d, &guard);
    return status;
}

/* Nothing of it has to be known before it is its turn. */
static bool can_be_posted(const mp_executor *executor, const mp_future *future)
{
    return !executor->max_queue && executor->grown && executor->state == MP__EXECUTOR_OPEN &&
           !future->single.terms->deadline && !mp__dispatch_is_shut(executor->dispatch);
}

static mp_status prepare(const mp_executor *executor, mp_future *future, const void *input,
                         const mp_submit_options *options, mp_error *error)
{
    mp__single *single = &future->single;
    /* There cannot be too many of one. */
    mp_status status = input ? MP_OK : mp__pool_check_input(single->task, input, 1, error);
    mp_policy policy = {MP__POLICY_OF(*options)};
    single->terms = &executor->usual;
    if (!status && !mp__policy_is_usual(&policy))
        status = mp__single_take_terms(single, &executor->pool->policy, &policy, error);
    return status ? status : mp__single_take(single, input, error);
}

mp_future *mp_submit_task(mp_executor *executor, const mp_task *task, const void *input, const mp_submit_options *options)
{
    static const mp_submit_options none;
    mp_error error;
    uint32_t index = 0;
    options = options ? options : &none;
    mp_status status = mp__executor_check(executor, &error);
    if (!status)
        status = mp__pool_check_task(executor->pool, task, &index, &error);
    mp_future *future = status ? mp__future_make_for(NULL, NULL) : mp__future_make_for(executor->dispatch, task);
    if (!future)
        return mp__future_no_memory();
    future->single.posted.kind = &posted_kind;
    future->single.posted.task = MP__POSTED_TASK(index);
    future->single.quiet = true; /* one that could not be cancelled is not to see that somebody tried */
    if (!status)
        status = prepare(executor, future, input, options, &error);
    if (!status && can_be_posted(executor, future)) {
        lend(executor, future);
        mp__dispatch_post(executor->dispatch, &future->single.posted);
        return future;
    }
    if (!status)
        status = send(executor, future, options, &error);
    if (status)
        mp__future_refuse(future, &error);
    return future;
}
