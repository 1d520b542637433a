/* pool.map(f, items, chunksize=64): how many items travel together. It changes the time that a map takes, never what comes out. */
#include <millpond.h>
#include <stdio.h>

static mp_status square(const int *x, int *y, mp_call *call)
{
    if (*x == 137)
        return mp_fail(call, MP_EINVAL, "I do not like 137");
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    static int items[1000], squares[1000];
    mp_error error = {0};
    for (int i = 0; i < 1000; i++)
        items[i] = i;

    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        ptrdiff_t sizes[] = {0, 1, 64, 5000}; /* 0: measured, so that a chunk is worth its journey */
        for (int k = 0; k < 4; k++) {
            mp_pool_map(pool, square, items, 1000, squares, .chunksize = sizes[k], .error = &error);
            int sum = 0;
            for (int i = 0; i < 1000; i++)
                sum += squares[i];
            printf("chunks of %td: the sum is %d, and item %zu failed\n", sizes[k], sum, error.item);
        }
        printf("chunks of -1: %s\n", mp_status_name(mp_pool_map(pool, square, items, 1000, squares, .chunksize = -1)));
    }
    if (error.item == MP_NO_ITEM) /* no pool, or it did not take the call */
        return mp_perror(&error), 1;
}
