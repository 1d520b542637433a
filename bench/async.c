/* async [ITEMS]: mp_pool_apply_async one by one, then every result, then every handle is freed: what one of them costs. */
#include "bench/pool.h"

enum { ROUNDS = 3 };

static double send_all(mp_pool *pool, mp_async **sent, size_t n)
{
    double begin = now();
    for (size_t i = 0; i < n; i++)
        sent[i] = mp_pool_apply_async(pool, nothing, (&(int64_t){(int64_t)i}));
    for (size_t i = 0; i < n; i++) {
        int64_t result, wanted = (int64_t)i;
        must(mp_async_get(sent[i], &result, MP_FOREVER), mp_async_error(sent[i]));
        must_equal(&wanted, &result, 1);
    }
    for (size_t i = 0; i < n; i++)
        mp_async_free(&sent[i]);
    return now() - begin;
}

int main(int argc, char **argv)
{
    size_t n = (size_t)number(argc, argv, 1, 50000);
    mp_async **sent = memory(n, sizeof(mp_async *));
    double took[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        for (int round = 0; round < ROUNDS; round++)
            took[round] = send_all(pool, sent, n);
    }
    must(error.status, &error);
    report("item", median(took, ROUNDS) / (double)n * 1e9, "ns");
    report_usage((double)n * ROUNDS);
    free(sent);
}
