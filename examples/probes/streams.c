/* An input without end, and results that nobody reads: memory must stay where it is. */
#include "examples/probes/probes.h"
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WANTED = 1000, LARGE = 100000, STALL_S = 4, BOUND_MB = 64 };

static mp_status twice(const int64_t *item, int64_t *out, mp_call *call)
{
    (void)call;
    *out = 2 * *item;
    return MP_OK;
}
MP_TASK(twice, int64_t, int64_t);

static mp_status large(const int64_t *item, mp_bytes *out, mp_call *call)
{
    char *bytes = mp_call_alloc(call, LARGE);
    if (!bytes)
        return mp_fail(call, MP_ENOMEM, "no memory for the result");
    memset(bytes, (char)*item, LARGE);
    *out = (mp_bytes){bytes, LARGE};
    return MP_OK;
}
MP_TASK(large, int64_t, mp_bytes);

static bool count_up(int64_t *item, void *user) /* never ends */
{
    *item = (*(int64_t *)user)++;
    return true;
}

static double megabytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return (double)pages * 4096 / 1e6;
}

outcome endless_generator(void)
{
    outcome o = {0};
    int64_t pulled = 0, out, right = 0;
    MP_WITH_POOL (pool, .processes = 2) {
        mp_iter *results = mp_pool_imap_from(pool, twice, count_up, &pulled);
        for (int64_t i = 0; i < WANTED; i++)
            right += mp_iter_next(results, &out, MP_FOREVER) == MP_OK && out == 2 * i;
        mp_iter_free(&results);
        say(&o, right == WANTED, "works: %d read, %lld pulled", (int)right, (long long)pulled);
    }
    return o;
}

outcome stalled_reader(void)
{
    outcome o = {0};
    int64_t pulled = 0;
    mp_bytes out;
    MP_WITH_POOL (pool, .processes = 2) {
        double before = megabytes();
        mp_iter *results = mp_pool_imap_from(pool, large, count_up, &pulled);
        if (mp_iter_next(results, &out, MP_FOREVER) == MP_OK)
            mp_free(mp_bytes, &out, 1);
        nanosleep(&(struct timespec){.tv_sec = STALL_S}, NULL);
        double more = megabytes() - before;
        mp_iter_free(&results);
        say(&o, more < BOUND_MB, "%.0f MB, %lld pulled", more, (long long)pulled);
    }
    return o;
}
