/* The same work one after the other and in parallel: what comes out is the same. How long it took stands on standard error. */
#include <millpond.h>
#include <stdio.h>
#include <time.h>

typedef struct {
    int from, to;
} range;
MP_TYPE(range, from, to);

static mp_status count_primes(const range *in, int *primes, mp_call *call)
{
    (void)call;
    *primes = 0;
    for (int n = in->from; n < in->to; n++) {
        bool prime = n > 1;
        for (int i = 2; prime && i <= n / i; i++)
            prime = n % i != 0;
        *primes += prime;
    }
    return MP_OK;
}
MP_TASK(count_primes, range, int);

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./speed processes */
    range ranges[100];
    for (int i = 0; i < 100; i++)
        ranges[i] = (range){10000 * i, 10000 * (i + 1)};

    int primes, serial = 0, parallel = 0;
    double begin = seconds();
    for (int i = 0; i < 100; i++)
        if (count_primes(&ranges[i], &primes, NULL) == MP_OK) /* a task is a function like any other */
            serial += primes;
    fprintf(stderr, "one after the other: %.2f s\n", seconds() - begin);

    begin = seconds();
    MP_WITH_EXECUTOR (executor, .kind = kind) {
        mp_iter *counts = mp_executor_map(executor, count_primes, ranges, 100);
        while (mp_iter_next(counts, &primes, MP_FOREVER) == MP_OK)
            parallel += primes;
        mp_iter_free(&counts);
    }
    fprintf(stderr, "in parallel: %.2f s\n", seconds() - begin);
    printf("there are %d primes below a million; in parallel as many: %s\n", serial, parallel == serial ? "yes" : "no");
}
