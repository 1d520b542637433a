/* A follow-up task: a future for a task on another future's result.
 *
 * The future that is given is one of one's own (own.c): nobody can submit what is not there yet. When the first is done, its last
 * callback submits the task with its result, where it lies; when that is done, its callback hands the result on. Whichever fails,
 * is cancelled or cannot be submitted, ends it likewise. Runs where callbacks run. The link between the two holds all that it
 * needs, the executor too: once that is shut down or freed the submission is refused. */
#include "futures/executor.h"
#include "pool/failure.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <millpond/executor.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct follower {
    mp_future *given;      /* held, */
    mp_executor *executor; /* likewise */
    const mp_task *task;
} follower;

/* By `value`, if there is one, else by `error`. What is done already stays as it is. */
static void finish(mp_future *given, const void *value, const mp_error *error)
{
    mp_error failed;
    mp_status status = value ? mp_future_set_result(given, value) : MP_OK;
    if (status) {
        (void)mp__failure(&failed, status, "the result cannot be handed on");
        error = &failed;
    }
    if (status || !value)
        mp__future_end_like(given, error);
}

/* Its callbacks, which run here, may end this thread: nothing but the future is held by then. */
static void end(follower *l, const void *value, const mp_error *error)
{
    mp_future *given = l->given;
    mp__executor_unhold(l->executor);
    free(l);
    pthread_cleanup_push(mp__future_unhold_on_exit, given);
    finish(given, value, error);
    pthread_cleanup_pop(1);
}

static void hand_on(mp_future *second, void *user)
{
    const mp_error *error = mp_future_exception(second, 0);
    end(user, error->status == MP_OK ? mp__future_value(second) : NULL, error);
}

/* It may have been freed, or is meanwhile. */
static mp_future *submit(follower *l, const void *value)
{
    mp_error error;
    if (mp__executor_keep_open(l->executor, &error)) {
        mp_future *refused = mp__future_make_for(NULL, NULL);
        if (refused)
            mp__future_refuse(refused, &error);
        return refused ? refused : mp__future_no_memory();
    }
    mp_future *second = mp_submit_task(l->executor, l->task, value, NULL);
    mp__executor_let_go(l->executor);
    return second;
}

static void follow_up(mp_future *first, void *user)
{
    follower *l = user;
    const mp_error *error = mp_future_exception(first, 0);
    mp_error none = {.status = MP_ECANCELLED};
    if (error->status != MP_OK || !mp_future_set_running_or_notify_cancel(l->given)) {
        end(l, NULL, error->status ? error : &none);
        return;
    }
    mp_future *second = submit(l, mp__future_value(first));
    mp_status status = mp_future_add_done_callback(second, hand_on, l);
    mp_future_free(&second);
    if (status) {
        mp_error failed;
        (void)mp__failure(&failed, status, "no memory for a follow-up task");
        end(l, NULL, &failed);
    }
}

static mp_status check(const mp_future *future, const mp_executor *executor, const mp_task *task, mp_error *error)
{
    if (!future || !executor || !task)
        return mp__failure(error, MP_EINVAL, "no %s", !future ? "future" : !executor ? "executor" : "task");
    const mp_type *type = mp__future_type(future);
    if (type && task->layout == sizeof *task && !mp__type_same(type, task->input))
        return mp__failure(error, MP_ETYPE, "task '%s' takes a '%s', and the future gives a '%s'", task->name,
                           task->input->name, type->name);
    return mp__executor_check(executor, error);
}

mp_future *mp_future_then_task(mp_future *future, mp_executor *executor, const mp_task *task)
{
    mp_future *given = mp__future_make(task && task->layout == sizeof *task ? task->output : NULL);
    follower *l = mp__memory.malloc(sizeof *l);
    if (!given || !l) {
        mp_future_free(&given);
        free(l);
        return mp__future_no_memory();
    }
    *l = (follower){.given = mp_future_ref(given), .executor = executor, .task = task};
    mp_error error;
    mp_status status = check(future, executor, task, &error);
    if (status) {
        mp__future_refuse(given, &error);
    } else {
        mp__executor_hold(executor);
        status = mp_future_add_done_callback(future, follow_up, l);
        if (status) {
            (void)mp__failure(&error, status, "no memory for a follow-up task");
            mp__future_refuse(given, &error);
            mp__executor_unhold(executor);
        }
    }
    if (status) {
        mp_future_free(&l->given);
        free(l);
    }
    return given;
}
