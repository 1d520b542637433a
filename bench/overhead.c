/* overhead [WORKERS]: what a pool costs beside the work itself: time per item for tasks that do nothing, the efficiency of
 * short tasks, round trips, starting a pool, moving large values. Figures are medians; compare those of one run. */
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 5, MANY = 1000000 };

static int workers;

/* ---- tasks ---- */

static mp_status nothing(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(nothing, int, int);

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static mp_status work(const double *seconds, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    for (double end = now() + *seconds; now() < end;)
        continue;
    return MP_OK;
}
MP_TASK(work, double, mp_none);

static mp_status swallow(const mp_bytes *in, size_t *size, mp_call *call)
{
    (void)call;
    *size = in->size;
    return MP_OK;
}
MP_TASK(swallow, mp_bytes, size_t);

static mp_status echo(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_bytes, mp_bytes);

/* ---- measuring ---- */

static void must(mp_status status, const mp_error *error)
{
    if (status == MP_OK)
        return;
    mp_perror(error);
    exit(1);
}

static void *memory(size_t count, size_t size)
{
    void *block = calloc(count, size);
    if (!block) {
        fputs("overhead: not enough memory\n", stderr);
        exit(1);
    }
    return block;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static mp_pool *open_pool(void)
{
    mp_pool *pool;
    mp_error error;
    must(mp_pool_open(&pool, .processes = workers, .error = &error), &error);
    return pool;
}

static void measure_nothing(mp_pool *pool)
{
    static const ptrdiff_t sizes[] = {1, 10, 100, 1000, 0};
    int *in = memory(MANY, sizeof *in), *out = memory(MANY, sizeof *out);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        double took[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            mp_error error;
            double begin = now();
            must(mp_pool_map(pool, nothing, in, MANY, out, .chunksize = sizes[s], .error = &error), &error);
            took[round] = now() - begin;
        }
        printf("nothing, %d items, chunk size %4td%s: %8.1f ns an item\n", MANY, sizes[s], sizes[s] ? "" : " (auto)",
               median(took, ROUNDS) / MANY * 1e9);
    }
    free(in);
    free(out);
}

/* Efficiency: the work itself divided by what all workers together had time for. */
static void measure_work(mp_pool *pool)
{
    static const struct {
        double seconds;
        size_t count;
        ptrdiff_t chunksize;
    } cases[] = {{1e-6, 200000, 1}, {1e-6, 200000, 0}, {10e-6, 40000, 1},
                 {10e-6, 40000, 0}, {100e-6, 5000, 1}, {100e-6, 5000, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double *in = memory(cases[c].count, sizeof *in), took[ROUNDS];
        for (size_t i = 0; i < cases[c].count; i++)
            in[i] = cases[c].seconds;
        for (int round = 0; round < ROUNDS; round++) {
            mp_error error;
            double begin = now();
            must(mp_pool_map(pool, work, in, cases[c].count, NULL, .chunksize = cases[c].chunksize, .error = &error),
                 &error);
            took[round] = now() - begin;
        }
        printf("%3.0f us of work an item, chunk size %td%s: %5.1f %% efficient\n", cases[c].seconds * 1e6,
               cases[c].chunksize, cases[c].chunksize ? "" : " (auto)",
               100 * cases[c].seconds * (double)cases[c].count / workers / median(took, ROUNDS));
        free(in);
    }
}

static void measure_apply(mp_pool *pool)
{
    enum { CALLS = 5000 };
    static double took[CALLS];
    for (int i = 0; i < CALLS; i++) {
        int out;
        mp_error error;
        double begin = now();
        must(mp_pool_apply(pool, nothing, &i, &out, .error = &error), &error);
        took[i] = now() - begin;
    }
    double middle = median(took, CALLS);
    printf("apply, one after the other: median %.1f us, 99th percentile %.1f us\n", middle * 1e6,
           took[CALLS * 99 / 100] * 1e6);
}

static void measure_large(mp_pool *pool, size_t size)
{
    mp_bytes in = {memory(size, 1), size};
    double sent[ROUNDS], echoed[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        mp_error error;
        size_t counted;
        double begin = now();
        must(mp_pool_apply(pool, swallow, &in, &counted, .error = &error), &error);
        sent[round] = now() - begin;

        mp_bytes out;
        begin = now();
        must(mp_pool_apply(pool, echo, &in, &out, .error = &error), &error);
        echoed[round] = now() - begin;
        mp_free(mp_bytes, &out, 1);
    }
    printf("%zu MiB: sent in %.2f ms, sent and returned in %.2f ms\n", size >> 20, median(sent, ROUNDS) * 1e3,
           median(echoed, ROUNDS) * 1e3);
    free((void *)in.data);
}

static void measure_start(void)
{
    double opened[ROUNDS], ended[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int one = 1, out;
        mp_error error;
        double begin = now();
        mp_pool *pool = open_pool();
        must(mp_pool_apply(pool, nothing, &one, &out, .error = &error), &error);
        opened[round] = now() - begin;
        begin = now();
        mp_pool_close(pool);
        mp_pool_join(pool);
        mp_pool_free(&pool);
        ended[round] = now() - begin;
    }
    printf("opening a pool of %d until its first result: %.2f ms; close, join, free: %.2f ms\n", workers,
           median(opened, ROUNDS) * 1e3, median(ended, ROUNDS) * 1e3);
}

int main(int argc, char **argv)
{
    workers = argc > 1 ? atoi(argv[1]) : mp_cpu_count();
    if (workers < 1) {
        fputs("overhead [WORKERS]\n", stderr);
        return 2;
    }
    printf("%d workers, %d CPUs\n", workers, mp_cpu_count());
    measure_start();
    mp_pool *pool = open_pool();
    measure_nothing(pool);
    measure_work(pool);
    measure_apply(pool);
    measure_large(pool, 1u << 20);
    measure_large(pool, 64u << 20);
    mp_pool_free(&pool);
    return 0;
}
