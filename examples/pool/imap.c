/* pool.imap(f, iterable): results in the order of the input, each as soon as it and those before it are there. The input is an
 * array, or a function that is asked for the next item when there is room for it. */
#include <millpond.h>
#include <stdio.h>

static mp_status invert(const int *x, double *y, mp_call *call)
{
    if (*x == 0)
        return mp_fail(call, MP_EINVAL, "0 has no inverse");
    *y = 1.0 / *x;
    return MP_OK;
}
MP_TASK(invert, int, double);

/* for x in range(1, 1000001): yield x */
static bool count_up(int *item, void *user)
{
    int *last = user;
    *item = ++*last;
    return *item <= 1000000;
}

int main(int argc, char **argv)
{
    (void)argv;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        int items[] = {1, 2, 0, 4}, last = 0;
        double y, sum = 0;
        mp_status status;

        mp_iter *inverses = mp_pool_imap(pool, invert, items, 4);
        while ((status = mp_iter_next(inverses, &y, MP_FOREVER)) != MP_END)
            if (status == MP_OK)
                printf("%g\n", y);
            else
                printf("%s\n", mp_iter_error(inverses)->message); /* and the stream goes on */
        mp_iter_free(&inverses);

        /* Leaving early is fine: what has not started is cancelled, and the input is not asked any more. */
        inverses = mp_pool_imap_from(pool, invert, count_up, &last, .chunksize = 10, .buffersize = 1000);
        for (int i = 0; i < 100 && mp_iter_next(inverses, &y, 5.0, .error = &error) == MP_OK; i++)
            sum += y;
        mp_iter_free(&inverses);
        printf("the first hundred add up to %.6f; at most 1100 items were asked for: %s\n", sum,
               last <= 1100 ? "yes" : "no");
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
