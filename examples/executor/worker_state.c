/* threading.local(): what each worker has for itself, from its initializer to its finalizer. Nobody else sees it: no lock. */
#include <millpond.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static mp_status begin(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    int *counter = calloc(1, sizeof *counter);
    if (!counter)
        return mp_fail(call, MP_ENOMEM, "no memory for a counter");
    mp_call_set_state(call, counter);
    return MP_OK;
}
MP_TASK(begin, mp_none, mp_none);

static mp_status count(const int *step, mp_none *out, mp_call *call)
{
    (void)out;
    int *counter = mp_call_state(call);
    *counter += *step;
    return MP_OK;
}
MP_TASK(count, int, mp_none);

static mp_status end(const mp_ptr *total, mp_none *out, mp_call *call)
{
    (void)out;
    int *counter = mp_call_state(call);
    atomic_fetch_add((atomic_int *)total->address, *counter);
    free(counter);
    return MP_OK;
}
MP_TASK(end, mp_ptr, mp_none);

int main(void)
{
    atomic_int total = 0;
    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 4, .initializer = MP_HOOK(begin, NULL),
                      .finalizer = MP_HOOK(end, (&(mp_ptr){&total})))
        for (int i = 1; i <= 100; i++) {
            mp_future *future = mp_submit(executor, count, &i);
            mp_future_free(&future);
        }
    printf("the workers' counters add up to %d\n", atomic_load(&total));
}
