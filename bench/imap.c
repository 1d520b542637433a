/* imap [CHUNKSIZE [ITEMS]]: what an item costs in imap_unordered, read one by one, when its task does nothing. */
#include "bench/pool.h"

enum { ROUNDS = 3 };

static double read_all(mp_pool *pool, const int64_t *in, size_t n, ptrdiff_t chunksize)
{
    int64_t result, sum = 0;
    double begin = now();
    mp_iter *results = mp_pool_imap_unordered(pool, nothing, in, n, .chunksize = chunksize);
    mp_status status;
    while ((status = mp_iter_next(results, &result, MP_FOREVER)) == MP_OK)
        sum += result;
    double took = now() - begin;
    must(status == MP_END ? MP_OK : status, mp_iter_error(results));
    mp_iter_free(&results);
    int64_t wanted = (int64_t)(n * (n - 1) / 2);
    must_equal(&wanted, &sum, 1);
    return took;
}

int main(int argc, char **argv)
{
    ptrdiff_t chunksize = number(argc, argv, 1, 1);
    size_t n = (size_t)number(argc, argv, 2, 500000);
    int64_t *in = integers(n);
    double took[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        for (int round = 0; round < ROUNDS; round++)
            took[round] = read_all(pool, in, n, chunksize);
    }
    must(error.status, &error);
    report("item", median(took, ROUNDS) / (double)n * 1e9, "ns");
    report_usage((double)n * ROUNDS);
    free(in);
}
