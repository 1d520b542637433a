/* One program, every kind of worker: how many primes there are up to each of these numbers.
 *
 *     ./anywhere 1000 1000000                          on processes, as many as there are CPUs
 *     ./anywhere --millpond=threads:4 1000 1000000     on four threads
 *     MILLPOND=cluster MILLPOND_CLUSTER=7000,agents=1 ./anywhere 1000 1000000 &
 *     MILLPOND_AGENT=7000 ./anywhere                   on this and that: see MP_CLUSTER in pool.h
 *     MILLPOND=serial gdb --args ./anywhere 1000       one after the other, on the stack below main: break in count_primes */
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>

static mp_status count_primes(const uint32_t *most, uint32_t *count, mp_call *call)
{
    if (*most > 10000000)
        return mp_fail(call, MP_EINVAL, "%u is more than 10000000", *most);
    for (uint32_t n = 2; n <= *most; n++) {
        uint32_t divisor = 2;
        while (divisor * divisor <= n && n % divisor)
            divisor++;
        *count += divisor * divisor > n;
    }
    return MP_OK;
}
MP_TASK(count_primes, uint32_t, uint32_t);

int main(int argc, char **argv)
{
    enum { MOST = 100 };
    uint32_t numbers[MOST], counts[MOST];
    mp_status statuses[MOST];
    mp_pool *pool;
    mp_error error;

    mp_main(argc, argv); /* where this is an agent of another one, it ends here */
    if (mp_pool_from_args(&pool, &argc, argv, .error = &error) != MP_OK) /* what is left of the arguments is ours */
        return mp_perror(&error), 2;

    int n = 0;
    for (; n < MOST && n + 1 < argc; n++)
        numbers[n] = (uint32_t)strtoul(argv[n + 1], NULL, 10);
    if (mp_pool_map(pool, count_primes, numbers, (size_t)n, counts, .statuses = statuses, .error = &error) != MP_OK)
        mp_perror(&error);
    for (int i = 0; i < n; i++)
        if (statuses[i] == MP_OK)
            printf("%u primes up to %u\n", counts[i], numbers[i]);
    mp_pool_free(&pool);
    return error.status != MP_OK;
}
