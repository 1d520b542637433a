/* cluster_idle [SECONDS]: the workers of a pool are at an agent, they have worked, and there is nothing to do: how much of one CPU the
 * agent takes, from a second after that on. A launcher starts it as two ranks. */
#include "bench/pool.h"
#include "bench/proc.h"
#include <unistd.h>

/* Which child of the launcher this worker belongs to. */
static mp_status find_agent(const int64_t *launcher, int64_t *out, mp_call *call)
{
    (void)call;
    int64_t parent = getpid();
    do {
        *out = parent;
        parent = (int64_t)number_of(*out, "status", "PPid");
    } while (parent != *launcher && parent > 1);
    return MP_OK;
}
MP_TASK(find_agent, int64_t, int64_t);

/* Of all its threads, in seconds; what the kernel has counted in nanoseconds, not in ticks. */
static double cpu_of(int64_t pid)
{
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        give_up("clock_getcpuclockid");
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    mp_kind kind = kind_of("cluster", argc, argv);
    unsigned seconds = (unsigned)number(argc, argv, 1, 5);
    enum { N = 10000 };
    int64_t *in = integers(N), *out = memory(N, sizeof *out), launcher = getppid(), agent, root = getpid();
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .kind = kind, .error = &error) {
        must(mp_pool_map(pool, nothing, in, N, out, .error = &error), &error);
        must(mp_pool_apply(pool, find_agent, &launcher, &agent, .error = &error), &error);
        (void)sleep(1);
        double begin = now(), agents = cpu_of(agent), roots = cpu_of(root);
        (void)sleep(seconds);
        double took = now() - begin;
        report("agent", 100 * (cpu_of(agent) - agents) / took, "%");
        report("root", 100 * (cpu_of(root) - roots) / took, "%");
        if (agent == root)
            give_up("a worker of the root's");
    }
    must(error.status, &error);
    free(in);
    free(out);
}
