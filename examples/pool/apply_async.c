/* pool.apply_async(f, (x,)): calls that run while the program does something else. */
#include <millpond.h>
#include <stdio.h>

static mp_status fibonacci(const int *n, int64_t *number, mp_call *call)
{
    (void)call;
    int64_t before = 0, now = 1;
    for (int i = 0; i < *n; i++) {
        int64_t next = before + now;
        before = now;
        now = next;
    }
    *number = before;
    return MP_OK;
}
MP_TASK(fibonacci, int, int64_t);

int main(int argc, char **argv)
{
    (void)argv;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        mp_async *calls[5];
        for (int i = 0; i < 5; i++)
            calls[i] = mp_pool_apply_async(pool, fibonacci, (&(int){10 * (i + 1)})); /* the input is copied */
        puts("five calls are on their way");
        for (int i = 0; i < 5; i++) {
            int64_t number;
            if (mp_async_get(calls[i], &number, MP_FOREVER) == MP_OK)
                printf("fibonacci(%d) = %lld\n", 10 * (i + 1), (long long)number);
            else
                error = *mp_async_error(calls[i]);
            mp_async_free(&calls[i]);
        }
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
