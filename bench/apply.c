/* apply [spin|no-spin [any|one|two [CALLS [processes|threads|cluster]]]]: a synchronous apply of a task that does nothing, one after the
 * other. */
#include "bench/place.h"
#include "bench/pool.h"

static mp_status settle(const int64_t *where, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    if ((place)*where != ANY_CPU)
        stay_on(true);
    return MP_OK;
}
MP_TASK(settle, int64_t, mp_none);

int main(int argc, char **argv)
{
    mp_kind kind = kind_of(word(argc, argv, 4, "processes"), argc, argv);
    double spin = strcmp(word(argc, argv, 1, "spin"), "spin") == 0 ? 0 : MP_NO_SPIN;
    int64_t where = place_of(word(argc, argv, 2, "any"));
    size_t calls = (size_t)number(argc, argv, 3, 10000);
    double *took = memory(calls, sizeof *took), sum = 0;
    mp_pool *pool;
    mp_error error;
    (void)spin; /* where there is no such option */
    must(mp_pool_open(&pool, .processes = WORKERS, .kind = kind, .initializer = MP_HOOK(settle, &where),
                      SPIN(spin).error = &error),
         &error);
    if (where != ANY_CPU)
        stay_on(where == ONE_CPU);
    for (size_t i = 0; i < calls; i++) {
        int64_t in = (int64_t)i, out;
        double begin = now();
        must(mp_pool_apply(pool, nothing, &in, &out, .error = &error), &error);
        sum += took[i] = now() - begin;
        must_equal(&in, &out, 1);
    }
    mp_pool_free(&pool);
    report("p50", median(took, calls) * 1e6, "us");
    report("p99", took[calls * 99 / 100] * 1e6, "us");
    report("mean", sum / (double)calls * 1e6, "us");
    if (kind != MP_CLUSTER) /* an agent is no child of ours */
        report_usage((double)calls);
    free(took);
}
