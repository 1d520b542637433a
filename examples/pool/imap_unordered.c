/* pool.imap_unordered(f, items): results as they come; `.index` says whose each one is. */
#include <millpond.h>
#include <stdio.h>

/* Steps of the Collatz sequence from `start` to 1: short for some, long for others. */
static mp_status count_steps(const int64_t *start, int *steps, mp_call *call)
{
    if (*start < 1)
        return mp_fail(call, MP_EINVAL, "%lld is not positive", (long long)*start);
    *steps = 0;
    for (int64_t n = *start; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
        ++*steps;
    return MP_OK;
}
MP_TASK(count_steps, int64_t, int);

int main(int argc, char **argv)
{
    (void)argv;
    int64_t starts[] = {27, 1, 97, 7, 871, 6171, 0, 77031};
    int steps[8] = {0}, came = 0;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        mp_iter *results = mp_pool_imap_unordered(pool, count_steps, starts, 8, .chunksize = 1);
        size_t index;
        int count;
        mp_status status;
        while ((status = mp_iter_next(results, &count, MP_FOREVER, .index = &index)) != MP_END) {
            steps[index] = status == MP_OK ? count : -1; /* one that fails costs itself, here too */
            came++;
        }
        mp_iter_free(&results);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    printf("%d results came\n", came);
    for (int i = 0; i < 8; i++)
        if (steps[i] < 0)
            printf("%lld: failed\n", (long long)starts[i]);
        else
            printf("%lld: %d steps\n", (long long)starts[i], steps[i]);
}
