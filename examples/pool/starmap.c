/* pool.starmap(pow, [(2, 10), (3, 4), ...]): map over the function's arguments, which are one struct. */
#include <math.h>
#include <millpond.h>
#include <stdio.h>

MP_FUNCTION(double, pow, (double, base), (double, exponent));

int main(int argc, char **argv)
{
    (void)argv;
    pow_args items[] = {{2, 10}, {3, 4}, {10, -2}, {16, 0.25}};
    double powers[4];
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error)
        mp_pool_starmap(pool, pow, items, 4, powers, .error = &error); /* mp_pool_map is the same */

    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    for (int i = 0; i < 4; i++)
        printf("pow(%g, %g) = %g\n", items[i].base, items[i].exponent, powers[i]);
}
