/* pool.apply(f, (x, y)): one call in a worker; several arguments are one struct. */
#include <math.h>
#include <millpond.h>
#include <stdio.h>

typedef struct {
    int dividend, divisor;
} division;
MP_TYPE(division, dividend, divisor);

static mp_status divide(const division *in, int *quotient, mp_call *call)
{
    if (in->divisor == 0)
        return mp_fail(call, MP_EINVAL, "%d cannot be divided by 0", in->dividend); /* Python: raise */
    *quotient = in->dividend / in->divisor;
    return MP_OK;
}
MP_TASK(divide, division, int);

MP_FUNCTION(double, hypot, (double, x), (double, y)); /* a function that exists already; hypot_args is its input */

int main(int argc, char **argv)
{
    (void)argv;
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 2, .error = &error) {
        int quotient;
        double length;
        if (mp_pool_apply(pool, divide, (&(division){84, 2}), &quotient, .error = &error) == MP_OK)
            printf("84 / 2 = %d\n", quotient);
        if (mp_pool_apply(pool, divide, (&(division){1, 0}), &quotient, .error = &error) != MP_OK)
            printf("%s: %s\n", mp_status_name(error.status), error.message);
        if (mp_pool_apply(pool, hypot, (&(hypot_args){3, 4}), &length, .error = &error) == MP_OK)
            printf("hypot(3, 4) = %g\n", length);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
}
