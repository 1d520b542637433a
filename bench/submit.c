/* submit [processes|threads [ITEMS]]: mp_submit one by one, then every result, then every future is freed: what one costs.
 * submit processes|threads [CALLS] round-trip: one at a time, from mp_submit to its result. */
#include "bench/pool.h"

enum { ROUNDS = 3 };

static double submit_all(mp_executor *executor, mp_future **futures, size_t n)
{
    double begin = now();
    for (size_t i = 0; i < n; i++)
        futures[i] = mp_submit(executor, nothing, (&(int64_t){(int64_t)i}));
    for (size_t i = 0; i < n; i++) {
        int64_t result, wanted = (int64_t)i;
        must(mp_future_result(futures[i], &result, MP_FOREVER), mp_future_exception(futures[i], 0));
        must_equal(&wanted, &result, 1);
    }
    mp_futures_free(futures, n);
    return now() - begin;
}

static double round_trip(mp_executor *executor)
{
    int64_t result, one = 1;
    double begin = now();
    mp_future *future = mp_submit(executor, nothing, &one);
    must(mp_future_result(future, &result, MP_FOREVER), mp_future_exception(future, 0));
    double took = now() - begin;
    mp_future_free(&future);
    return took;
}

int main(int argc, char **argv)
{
    mp_kind kind = strcmp(word(argc, argv, 1, "processes"), "threads") == 0 ? MP_THREADS : MP_PROCESSES;
    size_t n = (size_t)number(argc, argv, 2, 50000);
    bool alone = argc > 3;
    mp_future **futures = memory(n, sizeof(mp_future *));
    double *took = memory(alone ? n : ROUNDS, sizeof *took);
    size_t count = alone ? n : ROUNDS;
    mp_error error = {0};
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = WORKERS, .error = &error) {
        for (size_t k = 0; k < count; k++)
            took[k] = alone ? round_trip(executor) : submit_all(executor, futures, n);
    }
    must(error.status, &error);
    report("item", median(took, count) / (alone ? 1 : (double)n) * 1e9, "ns");
    report_usage(alone ? (double)n : (double)n * ROUNDS);
    free(futures);
    free(took);
}
