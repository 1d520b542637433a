/* memory pending [processes|threads]: what a submitted call that waits for its turn needs, beyond its argument and its result.
 * memory worker: memory that a worker process has for itself, after it has run many items.
 * memory map [CHUNKSIZE]: what a map of ten million items needs at its peak, beyond the two arrays. */
#include "bench/pool.h"
#include "bench/proc.h"
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PENDING = 100000, WARM = 2000, MANY = 10000000 };

static sem_t *gate; /* shared with the workers */

static mp_status wait_at_gate(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    (void)sem_wait(gate);
    return MP_OK;
}
MP_TASK(wait_at_gate, mp_none, mp_none);

static mp_status who(const mp_none *in, int64_t *pid, mp_call *call)
{
    (void)in, (void)call;
    *pid = getpid();
    return MP_OK;
}
MP_TASK(who, mp_none, int64_t);

static void submit(mp_executor *executor, mp_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = mp_submit(executor, nothing, (&(int64_t){(int64_t)i}));
}

static void pending(mp_kind kind)
{
    mp_future **futures = memory(PENDING + WARM, sizeof *futures), *busy[WORKERS];
    mp_none none;
    gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)sem_init(gate, 1, 0);
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = WORKERS) {
        for (int k = 0; k < WORKERS; k++)
            busy[k] = mp_submit(executor, wait_at_gate, &none);
        submit(executor, futures, WARM);
        double before = kib_of(getpid(), "status", "VmRSS");
        submit(executor, futures + WARM, PENDING);
        double after = kib_of(getpid(), "status", "VmRSS");
        report("pending", (after - before) / PENDING - 2 * sizeof(int64_t), "B");
        for (int k = 0; k < WORKERS; k++)
            (void)sem_post(gate);
        for (size_t i = 0; i < PENDING + WARM; i++)
            must(mp_future_result(futures[i], NULL, MP_FOREVER), mp_future_exception(futures[i], 0));
        mp_futures_free(futures, PENDING + WARM);
        mp_futures_free(busy, WORKERS);
    }
    free(futures);
}

static void of_worker(void)
{
    size_t n = 200000;
    int64_t *in = integers(n), *out = memory(n, sizeof *out), pids[WORKERS];
    mp_none none;
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        must(mp_pool_map(pool, nothing, in, n, out, .chunksize = 1, .error = &error), &error);
        must(mp_pool_broadcast(pool, who, &none, pids, WORKERS, .error = &error), &error);
        double most = 0;
        for (int k = 0; k < WORKERS; k++) {
            double own = kib_of(pids[k], "smaps_rollup", "Private_Dirty");
            most = own > most ? own : most;
        }
        report("worker", most, "B");
    }
    must(error.status, &error);
    free(in);
    free(out);
}

static void of_map(ptrdiff_t chunksize)
{
    int64_t *in = integers(MANY), *out = memory(MANY, sizeof *out);
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        double before = kib_of(getpid(), "status", "VmRSS");
        FILE *reset = fopen("/proc/self/clear_refs", "w"); /* 5: the peak is what there is now */
        if (!reset || fputs("5", reset) < 0 || fclose(reset) != 0)
            give_up("clear_refs");
        must(mp_pool_map(pool, nothing, in, MANY, out, .chunksize = chunksize, .error = &error), &error);
        report("map", kib_of(getpid(), "status", "VmHWM") - before, "B");
    }
    must(error.status, &error);
    free(in);
    free(out);
}

int main(int argc, char **argv)
{
    const char *what = word(argc, argv, 1, "pending");
    if (strcmp(what, "pending") == 0)
        pending(strcmp(word(argc, argv, 2, "processes"), "threads") == 0 ? MP_THREADS : MP_PROCESSES);
    else if (strcmp(what, "worker") == 0)
        of_worker();
    else
        of_map(number(argc, argv, 2, 1));
}
