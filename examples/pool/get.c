/* AsyncResult: get with a result, a failure and a time-out; wait, ready, successful. And cancel, which Python does not have. */
#include <millpond.h>
#include <stdio.h>
#include <time.h>

static mp_status half(const int *x, int *y, mp_call *call)
{
    if (*x % 2 != 0)
        return mp_fail(call, MP_EINVAL, "%d is odd", *x);
    *y = *x / 2;
    return MP_OK;
}
MP_TASK(half, int, int);

static mp_status sleep_until_cancelled(const mp_none *in, int *y, mp_call *call)
{
    (void)in, (void)y;
    while (!mp_call_cancelled(call))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return mp_fail(call, MP_ECANCELLED, "nobody waits for it");
}
MP_TASK(sleep_until_cancelled, mp_none, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        int y = 0;
        mp_async *good = mp_pool_apply_async(pool, half, (&(int){42}));
        mp_async *bad = mp_pool_apply_async(pool, half, (&(int){43}));
        mp_async *slow = mp_pool_apply_async(pool, sleep_until_cancelled, NULL);

        if (mp_async_get(good, &y, MP_FOREVER) == MP_OK) /* again and again, if you like */
            printf("get: %d; ready: %d, successful: %d\n", y, mp_async_ready(good), mp_async_successful(good));
        if (mp_async_get(bad, &y, MP_FOREVER) != MP_OK)
            printf("get: %s; ready: %d, successful: %d\n", mp_async_error(bad)->message, mp_async_ready(bad),
                   mp_async_successful(bad));
        printf("get: %s; ready: %d, ", mp_status_name(mp_async_get(slow, &y, 0.05)), mp_async_ready(slow));
        printf("and the error says %s\n", mp_status_name(mp_async_error(slow)->status));

        mp_async_cancel(slow); /* what runs goes on, but its task is told */
        printf("wait: %s; ", mp_status_name(mp_async_wait(slow, MP_FOREVER)));
        printf("get: %s\n", mp_status_name(mp_async_get(slow, &y, 0)));
        mp_async_free(&good);
        mp_async_free(&bad);
        mp_async_free(&slow);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
