/* Futures of one's own: for who has results to give without an executor.
 *
 * The states are the same, and so is all that can be asked; here are the three calls that only their maker makes. They have a lock
 * of their own, and no thread: what happens, happens on the thread that calls. */
#include "futures/future.h"
#include "pool/failure.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/types.h"
#include <string.h>
#include <unistd.h>

mp_future *mp_future_new_of(const mp_type *type)
{
    mp__fault fault = {0};
    if (mp__type_check(type, &fault) != MP_OK)
        return NULL;
    return mp__future_make(type);
}

static bool is_own(const mp_future *future)
{
    return future && future->owner == getpid() && !future->dispatch;
}

bool mp_future_set_running_or_notify_cancel(mp_future *future)
{
    if (!is_own(future))
        return false;
    pthread_mutex_lock(&future->own);
    bool pending = future->state == MP__PENDING;
    if (pending)
        future->state = MP__RUNNING_OWN;
    pthread_mutex_unlock(&future->own);
    return pending;
}

/* `value` is taken if it gets that far; `error` is how it ends. */
static mp_status finish(mp_future *future, mp__future_state state, void *value, const mp_error *error)
{
    bool calls = false;
    pthread_mutex_lock(&future->own);
    bool open = !mp__future_is_done(future);
    if (open) {
        future->value = value;
        future->error = *error;
        calls = mp__future_complete(future, state);
    }
    pthread_mutex_unlock(&future->own);
    if (calls)
        mp__future_call_back(future);
    return open ? MP_OK : MP_EDONE;
}

mp_status mp_future_set_result(mp_future *future, const void *value)
{
    mp__fault fault = {0};
    if (!future)
        return MP_EINVAL;
    if (!is_own(future))
        return future->owner == getpid() ? MP_EDONE : MP_EFOREIGN;
    if (!value && !mp__is_none(future->type))
        return MP_EINVAL;
    static const mp_none none;
    void *copy = mp__values_copy(future->type, value ? value : &none, 1, &fault);
    if (!copy)
        return fault.status;
    mp__block_hold(future->type, copy, true);
    mp_status status = finish(future, MP__FINISHED, copy, &(mp_error){0});
    if (status) {
        mp__block_hold(future->type, copy, false);
        mp__values_free(future->type, copy, 1);
    }
    return status;
}

mp_status mp_future_set_exception(mp_future *future, const mp_error *error)
{
    if (!future || !error || error->status == MP_OK)
        return MP_EINVAL;
    if (!is_own(future))
        return future->owner == getpid() ? MP_EDONE : MP_EFOREIGN;
    return finish(future, MP__FINISHED, NULL, error);
}

void mp__future_end_like(mp_future *future, const mp_error *error)
{
    (void)finish(future, error->status == MP_ECANCELLED ? MP__CANCELLED : MP__FINISHED, NULL, error);
}
