/* A dot for each task that is done. */
#include <millpond.h>
#include <stdio.h>

static mp_status is_prime(const int *number, bool *prime, mp_call *call)
{
    (void)call;
    *prime = *number > 1;
    for (int i = 2; i <= *number / i; i++)
        if (*number % i == 0)
            *prime = false;
    return MP_OK;
}
MP_TASK(is_prime, int, bool);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./progress processes */
    mp_future *futures[60], *done;
    int primes = 0;
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        for (int i = 0; i < 60; i++)
            futures[i] = mp_submit(executor, is_prime, (&(int){1000000 + i}));
        mp_as_completed *each = mp_as_completed_new(futures, 60, MP_FOREVER);
        while (mp_as_completed_next(each, &done) == MP_OK) {
            bool prime;
            if (mp_future_result(done, &prime, 0) == MP_OK)
                primes += prime;
            putchar('.');
            fflush(stdout);
        }
        mp_as_completed_free(&each);
        for (int i = 0; i < 60; i++)
            mp_future_free(&futures[i]);
    }
    printf("\n%d of them are prime\n", primes);
}
