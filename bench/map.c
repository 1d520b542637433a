/* map [CHUNKSIZE [ITEMS [processes|threads|cluster]]]: what an item costs in a map whose task does nothing. */
#include "bench/pool.h"

enum { ROUNDS = 5 };

int main(int argc, char **argv)
{
    mp_kind kind = kind_of(word(argc, argv, 3, "processes"), argc, argv);
    ptrdiff_t chunksize = number(argc, argv, 1, 0);
    size_t n = (size_t)number(argc, argv, 2, 1000000);
    int64_t *in = integers(n), *out = memory(n, sizeof *out);
    double took[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .kind = kind, .error = &error) {
        for (int round = 0; round < ROUNDS; round++) {
            double begin = now();
            must(mp_pool_map(pool, nothing, in, n, out, .chunksize = chunksize, .error = &error), &error);
            took[round] = now() - begin;
        }
        must_equal(in, out, n);
    }
    must(error.status, &error);
    report("item", median(took, ROUNDS) / (double)n * 1e9, "ns");
    if (kind != MP_CLUSTER) /* an agent is no child of ours */
        report_usage((double)n * ROUNDS);
    free(in);
    free(out);
}
