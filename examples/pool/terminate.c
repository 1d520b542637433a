/* pool.terminate(): what waits or runs ends now, and whoever waits for it learns so. In Python they wait for ever. */
#include <millpond.h>
#include <stdio.h>
#include <time.h>

/* A process is ended in the middle of this. A thread cannot be: there a long task looks whether anybody still waits for it. */
static mp_status work_for_ever(const int *item, int *result, mp_call *call)
{
    (void)item, (void)result;
    while (!mp_call_cancelled(call))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return mp_fail(call, MP_ETERMINATED, "told to stop");
}
MP_TASK(work_for_ever, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_pool *pool;
    mp_error error;
    int items[100] = {0};
    if (mp_pool_open(&pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) != MP_OK)
        return mp_perror(&error), 1;

    mp_async *work = mp_pool_map_async(pool, work_for_ever, items, 100);
    printf("a tenth of a second later: %s\n", mp_status_name(mp_async_wait(work, 0.1)));
    printf("join says %s\n", mp_status_name(mp_pool_join(pool)));
    mp_pool_terminate(pool);
    printf("after terminate, get says %s\n", mp_status_name(mp_async_get(work, NULL, MP_FOREVER)));

    int terminated = 0;
    for (int i = 0; i < 100; i++)
        terminated += mp_async_statuses(work)[i] == MP_ETERMINATED;
    printf("%d of 100 items were terminated\n", terminated);
    printf("join says %s\n", mp_status_name(mp_pool_join(pool)));
    mp_async_free(&work);
    mp_pool_free(&pool);
}
