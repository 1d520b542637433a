/* pool.starmap_async(f, [(a, b), ...]): each item is a struct of the arguments; the results are asked for later. */
#include <millpond.h>
#include <stdio.h>

static int gcd(int a, int b)
{
    return b == 0 ? a : gcd(b, a % b);
}
MP_FUNCTION(int, gcd, (int, a), (int, b));

int main(int argc, char **argv)
{
    (void)argv;
    gcd_args pairs[] = {{12, 18}, {17, 5}, {1071, 462}, {0, 9}};
    int divisors[4];
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        mp_async *result = mp_pool_starmap_async(pool, gcd, pairs, 4, .chunksize = 2);
        if (mp_async_get(result, divisors, MP_FOREVER) != MP_OK)
            error = *mp_async_error(result);
        mp_async_free(&result);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    for (int i = 0; i < 4; i++)
        printf("gcd(%d, %d) = %d\n", pairs[i].a, pairs[i].b, divisors[i]);
}
