/* Futures of one's own: for who has results to give without an executor.
 *
 * The states are the same, and so is all that can be asked; here are the three calls that only their maker makes. They have a lock
 * of their own, and no thread: what happens, happens on the thread that calls. */
#include "futures/future.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/types.h"
#include <stdio.h>

mp_future *mp_future_new_of(const mp_type *type)
{
    mp__fault fault = {0};
    if (mp__type_check(type, &fault) != MP_OK)
        return NULL;
    return mp__future_make(type);
}

/* One that was refused is its executor's. */
static bool is_own(const mp_future *future)
{
    return future->own;
}

static mp_status check(const mp_future *future)
{
    mp_status status = mp__future_check(future);
    return status ? status : is_own(future) ? MP_OK : MP_EDONE;
}

bool mp_future_set_running_or_notify_cancel(mp_future *future)
{
    mp__guard guard;
    if (check(future) != MP_OK)
        return false;
    mp__future_lock(future, &guard);
    bool pending = future->state == MP__PENDING;
    if (pending)
        future->state = MP__RUNNING_OWN;
    mp__future_unlock(future, &guard);
    return pending;
}

/* `value` is taken if it gets that far; `error` is how it ends. */
static mp_status finish(mp_future *future, mp__future_state state, void *value, const mp_error *error)
{
    mp__guard guard;
    bool calls = false;
    mp__future_lock(future, &guard);
    bool open = !mp__future_is_done(future);
    if (open) {
        ((mp__own_future *)future)->value = value;
        mp__single_refuse(&future->single, error);
        calls = mp__future_complete(future, state);
    }
    mp__future_unlock(future, &guard);
    if (calls)
        mp__future_call_back(future);
    return open ? MP_OK : MP_EDONE;
}

mp_status mp_future_set_result(mp_future *future, const void *value)
{
    mp__fault fault = {0};
    mp_status status = check(future);
    if (status)
        return status;
    static const mp_none none;
    const mp_type *type = ((mp__own_future *)future)->type;
    if (!value && !mp__is_none(type))
        return MP_EINVAL;
    void *copy = mp__values_copy(type, value ? value : &none, 1, &fault);
    if (!copy)
        return fault.status;
    mp__block_hold(type, copy, true);
    status = finish(future, MP__FINISHED, copy, &(mp_error){0});
    if (status) {
        mp__block_hold(type, copy, false);
        mp__values_free(type, copy, 1);
    }
    return status;
}

mp_status mp_future_set_exception(mp_future *future, const mp_error *error)
{
    if (!error || error->status == MP_OK)
        return MP_EINVAL;
    mp_status status = check(future);
    if (status)
        return status;
    mp_error told = *error;
    if (told.status == MP_END || told.status == MP_ETIMEDOUT) { /* whoever waits would take them for an answer to itself */
        told.status = MP_EFAILED;
        if (!told.message[0])
            (void)snprintf(told.message, sizeof told.message, "the future was given %s", mp_status_name(error->status));
    }
    return finish(future, MP__FINISHED, NULL, &told);
}

void mp__future_end_like(mp_future *future, const mp_error *error)
{
    (void)finish(future, error->status == MP_ECANCELLED ? MP__CANCELLED : MP__FINISHED, NULL, error);
}
