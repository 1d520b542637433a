/* safety [CHUNKSIZE]: what it adds to a no-op map that items have time-outs, retries, a deadline and statuses; and that what
 * workers print is captured. In turn with a plain map, in one process; the median of the ratios, pair by pair. */
#include "bench/pool.h"

enum { ROUNDS = 31, ITEMS = 200000 };

static int64_t *in, *out;
static mp_status *statuses;

/* Seconds for an item. */
static double plain(mp_pool *pool, size_t n, ptrdiff_t chunksize)
{
    mp_error error;
    double begin = now();
    must(mp_pool_map(pool, nothing, in, n, out, .chunksize = chunksize, .error = &error), &error);
    return (now() - begin) / (double)n;
}

static double safe(mp_pool *pool, ptrdiff_t chunksize)
{
    mp_error error;
    double begin = now();
    must(mp_pool_map(pool, nothing, in, ITEMS, out, .chunksize = chunksize, .timeout = 60, .deadline = 3600, .retries = 2,
                     .stop_at_percent = 5, .statuses = statuses, .error = &error),
         &error);
    return (now() - begin) / ITEMS;
}

static double percent_more(double *ratio)
{
    return (median(ratio, ROUNDS) - 1) * 100;
}

int main(int argc, char **argv)
{
    ptrdiff_t chunksize = number(argc, argv, 1, 1);
    in = integers(ITEMS);
    out = memory(ITEMS, sizeof *out);
    statuses = memory(ITEMS, sizeof *statuses);
    double options[ROUNDS], captured[ROUNDS], again[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error)
        MP_WITH_POOL (capturing, .processes = WORKERS, .output = MP_OUTPUT_CAPTURE, .error = &error)
            for (int round = 0; round < ROUNDS; round++) {
                (void)plain(pool, ITEMS, chunksize); /* who has slept while the other pool worked is slower for a moment */
                double base = plain(pool, ITEMS, chunksize);
                options[round] = safe(pool, chunksize) / base;
                again[round] = plain(pool, ITEMS, chunksize) / base;
                captured[round] = plain(capturing, ITEMS / 10, chunksize) / base;
            }
    must(error.status, &error);
    report("options", percent_more(options), "%");
    report("captured", percent_more(captured), "%");
    report("nothing", percent_more(again), "%"); /* a plain map against a plain map: how exact this is */
    free(in);
    free(out);
    free(statuses);
}
