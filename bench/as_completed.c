/* as_completed [FUTURES [processes|threads]]: what a future costs that is under way, from mp_as_completed_new to the end. */
#include "bench/pool.h"

enum { ROUNDS = 3 };

static double complete_all(mp_executor *executor, mp_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = mp_submit(executor, nothing, (&(int64_t){(int64_t)i}));
    double begin = now();
    mp_as_completed *each = mp_as_completed_new(futures, n, MP_FOREVER);
    mp_future *done;
    size_t count = 0;
    while (mp_as_completed_next(each, &done) == MP_OK)
        count++;
    mp_as_completed_free(&each);
    double took = now() - begin;
    mp_futures_free(futures, n);
    if (count != n)
        give_up("not all were given");
    return took;
}

int main(int argc, char **argv)
{
    size_t n = (size_t)number(argc, argv, 1, 100000);
    mp_kind kind = strcmp(word(argc, argv, 2, "processes"), "threads") == 0 ? MP_THREADS : MP_PROCESSES;
    mp_future **futures = memory(n, sizeof(mp_future *));
    double took[ROUNDS];
    mp_error error = {0};
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = WORKERS, .error = &error) {
        for (int round = 0; round < ROUNDS; round++)
            took[round] = complete_all(executor, futures, n);
    }
    must(error.status, &error);
    report("future", median(took, ROUNDS) / (double)n * 1e9, "ns");
    report_usage((double)n * ROUNDS);
    free(futures);
}
