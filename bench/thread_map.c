/* thread_map [CHUNKSIZE]: a map on threads over ten million items whose task takes about 10 ns: what an item costs. */
#include "bench/pool.h"
#include "bench/tiny.h"

enum { ROUNDS = 3, ITEMS = 10000000 };

static mp_status ten_ns(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = tiny(*in);
    return MP_OK;
}
MP_TASK(ten_ns, int64_t, int64_t);

int main(int argc, char **argv)
{
    ptrdiff_t chunksize = number(argc, argv, 1, 0);
    int64_t *in = integers(ITEMS), *out = memory(ITEMS, sizeof *out);
    double took[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = MP_THREADS, .processes = WORKERS, .error = &error) {
        for (int round = 0; round < ROUNDS; round++) {
            double begin = now();
            must(mp_pool_map(pool, ten_ns, in, ITEMS, out, .chunksize = chunksize, .error = &error), &error);
            took[round] = now() - begin;
        }
    }
    must(error.status, &error);
    report("item", median(took, ROUNDS) / ITEMS * 1e9, "ns");
    report_usage((double)ITEMS * ROUNDS);
    free(in);
    free(out);
}
