/* unequal rising|falling: a map of tasks from 1 us to 10 ms, sorted, with automatic chunks, against the best fixed chunk size that a
 * search finds: every power of two once, then the best three in turn with the automatic ones. */
#include "bench/pool.h"
#include "bench/work.h"
#include <math.h>

enum { ITEMS = 300, SIZES = 8, BEST = 3, ROUNDS = 5 };

static int64_t steps[ITEMS], out[ITEMS];

static mp_status work(const int64_t *in, int64_t *result, mp_call *call)
{
    (void)call;
    *result = (int64_t)chain(*in);
    return MP_OK;
}
MP_TASK(work, int64_t, int64_t);

static double time_of(mp_pool *pool, ptrdiff_t chunksize)
{
    mp_error error;
    double begin = now();
    must(mp_pool_map(pool, work, steps, ITEMS, out, .chunksize = chunksize, .error = &error), &error);
    return now() - begin;
}

/* The chunk sizes that were fastest, the fastest one first. */
static void search(mp_pool *pool, ptrdiff_t best[BEST])
{
    double took[BEST + 1];
    for (int k = 0; k <= BEST; k++)
        took[k] = 1e9;
    for (int k = 0; k < SIZES; k++) {
        double t = time_of(pool, (ptrdiff_t)1 << k);
        int at = BEST;
        for (; at > 0 && took[at - 1] > t; at--) {
            took[at] = took[at - 1];
            if (at < BEST)
                best[at] = best[at - 1];
        }
        if (at < BEST)
            best[at] = (ptrdiff_t)1 << k;
        took[at] = t;
    }
}

int main(int argc, char **argv)
{
    bool falling = strcmp(word(argc, argv, 1, "rising"), "falling") == 0;
    double shortest = steps_of(1e-6), automatic[ROUNDS], fixed[BEST][ROUNDS];
    for (int i = 0; i < ITEMS; i++)
        steps[falling ? ITEMS - 1 - i : i] = (int64_t)(shortest * pow(1e4, (double)i / (ITEMS - 1)));
    ptrdiff_t best[BEST];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        search(pool, best);
        for (int round = 0; round < ROUNDS; round++) {
            automatic[round] = time_of(pool, 0);
            for (int k = 0; k < BEST; k++)
                fixed[k][round] = time_of(pool, best[k]);
        }
    }
    must(error.status, &error);
    int first = 0;
    for (int k = 0; k < BEST; k++)
        if (median(fixed[k], ROUNDS) < median(fixed[first], ROUNDS))
            first = k;
    report("automatic", median(automatic, ROUNDS) * 1e3, "ms");
    report("fixed", median(fixed[first], ROUNDS) * 1e3, "ms");
    report("chunksize", (double)best[first], "");
}
