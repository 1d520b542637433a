/* executor.map(f, xs): every call is submitted at once, and the results come in the order of the inputs. */
#include <math.h>
#include <millpond.h>
#include <stdatomic.h>
#include <stdio.h>

static mp_status square(const int *x, int *y, mp_call *call)
{
    (void)call;
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int, int);

MP_FUNCTION(double, pow, (double, base), (double, exponent)); /* two inputs are one struct: pow_args */

static mp_status count(const mp_ptr *counter, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    atomic_fetch_add((atomic_int *)counter->address, 1);
    return MP_OK;
}
MP_TASK(count, mp_ptr, mp_none);

int main(void)
{
    int numbers[] = {1, 2, 3, 4, 5}, y;
    pow_args powers[] = {{2, 10}, {3, 4}, {9, 0.5}};
    double power;
    atomic_int counter = 0;
    mp_ptr counters[] = {{&counter}, {&counter}, {&counter}};

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 4) {
        /* for y in executor.map(square, numbers): print(y) */
        mp_iter *squares = mp_executor_map(executor, square, numbers, 5);
        while (mp_iter_next(squares, &y, MP_FOREVER) == MP_OK)
            printf("%d\n", y);
        mp_iter_free(&squares);

        /* for y in executor.map(pow, bases, exponents): print(y) */
        mp_iter *results = mp_executor_map(executor, pow, powers, 3);
        for (int i = 0; mp_iter_next(results, &power, MP_FOREVER) == MP_OK; i++)
            printf("%g to the power of %g is %g\n", powers[i].base, powers[i].exponent, power);
        mp_iter_free(&results);

        /* executor.map(count, counters): the results are of no interest, and the calls run all the same */
        mp_iter *unread = mp_executor_map(executor, count, counters, 3);
        mp_iter_free(&unread);
    } /* waits for them */
    printf("%d calls have counted\n", atomic_load(&counter));
}
