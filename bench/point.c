/* point ITEMS PAYLOAD WORKERS STEPS [CHUNKSIZE]: one point of the curves that bench/scaling draws: a map of so many items, each with so many
 * bytes and a task of so many steps, on so many workers. Prints seconds, seconds of CPU of everybody, and bytes at the peak: of
 * the program beyond its arrays, and of the largest worker. `point steps`: how many steps are a microsecond here. */
#include "bench/pool.h"
#include "bench/proc.h"
#include "bench/work.h"
#include <unistd.h>

typedef struct {
    int64_t steps;
    mp_bytes data;
} load;
MP_TYPE(load, steps, data);

static mp_status work(const load *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = (int64_t)chain(in->steps) + (int64_t)in->data.size;
    return MP_OK;
}
MP_TASK(work, load, int64_t);

int main(int argc, char **argv)
{
    if (argc < 5) {
        report("steps", steps_of(1e-6), "");
        return 0;
    }
    size_t n = (size_t)number(argc, argv, 1, 1), size = (size_t)number(argc, argv, 2, 0);
    load *items = memory(n, sizeof *items), each = {number(argc, argv, 4, 0), {NULL, 0}};
    int64_t *out = memory(n, sizeof *out);
    if (size > 0)
        each.data = (mp_bytes){memory(size, 1), size};
    for (size_t i = 0; i < n; i++)
        items[i] = each;
    mp_pool *pool;
    mp_error error;
    must(mp_pool_open(&pool, .processes = (int)number(argc, argv, 3, 2), .error = &error), &error);
    usage before = used();
    double begin = now();
    must(mp_pool_map(pool, work, items, n, out, .chunksize = number(argc, argv, 5, 0), .error = &error), &error);
    double took = now() - begin;
    mp_pool_free(&pool);
    double arrays = (double)(n * (sizeof *items + sizeof *out) + size);
    struct rusage workers;
    (void)getrusage(RUSAGE_CHILDREN, &workers);
    report("seconds", took, "s");
    report("cpu", used().cpu - before.cpu, "s");
    report("rss", kib_of(getpid(), "status", "VmHWM") - arrays, "B");
    report("worker-rss", (double)workers.ru_maxrss * 1024, "B");
    free(items);
    free(out);
}
