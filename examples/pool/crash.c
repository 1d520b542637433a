/* A worker that dies costs the item that it ran, and the pool goes on. In Python the map waits for ever. */
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static mp_status risky(const int *x, int *y, mp_call *call)
{
    (void)call;
    if (*x == 3)
        raise(SIGKILL); /* a segmentation fault, the OOM killer: it is the same */
    if (*x == 6)
        _exit(42);
    *y = 10 * *x;
    return MP_OK;
}
MP_TASK(risky, int, int);

int main(void)
{
    int items[] = {0, 1, 2, 3, 4, 5, 6, 7}, results[8] = {0};
    mp_error errors[8], error = {0};
    MP_WITH_POOL (pool, .processes = 2, .error = &error)
        mp_pool_map(pool, risky, items, 8, results, .chunksize = 4, .errors = errors, .error = &error);

    if (error.item == MP_NO_ITEM) /* no pool, or it did not take the call */
        return mp_perror(&error), 1;
    for (int i = 0; i < 8; i++)
        if (errors[i].status == MP_OK)
            printf("%d: %d\n", items[i], results[i]);
        else
            printf("%d: %s, signal %d, exit code %d\n", items[i], mp_status_name(errors[i].status), errors[i].signal,
                   errors[i].exit_code);
}
