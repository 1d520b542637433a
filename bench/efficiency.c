/* efficiency MICROSECONDS [CHUNKSIZE [WORKERS [processes|threads|cluster]]]: how much of the CPUs' time tasks of this length get, in a map
 * of 0.2 seconds of work, or of 100 tasks where that is more. 100 % is what two bare processes take that share the items between them and do nothing else; they and the pool take turns. */
#include "bench/pool.h"
#include "bench/work.h"
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 3 };

static mp_status work(const int64_t *steps, int64_t *out, mp_call *call)
{
    (void)call;
    *out = (int64_t)chain(*steps);
    return MP_OK;
}
MP_TASK(work, int64_t, int64_t);

/* A process that waits for a word, does its share, and ends. */
static pid_t share(const int64_t *steps, size_t n, int start)
{
    pid_t child = fork();
    if (child < 0)
        give_up("fork");
    if (child > 0)
        return child;
    char word;
    uint64_t sum = read(start, &word, 1) == 1;
    for (size_t i = 0; i < n; i++)
        sum += chain(steps[i]);
    _exit(sum == 0);
}

static double ideal(const int64_t *steps, size_t n)
{
    int start[2], cpus = mp_cpu_count() < WORKERS ? 1 : WORKERS;
    if (pipe(start) != 0)
        give_up("pipe");
    pid_t children[WORKERS];
    size_t each = n / (size_t)cpus;
    for (int k = 0; k < cpus; k++)
        children[k] = share(steps + (size_t)k * each, each, start[0]);
    (void)usleep(1000); /* they are there, and sleep */
    double begin = now();
    if (write(start[1], "go", (size_t)cpus) != cpus)
        give_up("write");
    for (int k = 0; k < cpus; k++)
        (void)waitpid(children[k], NULL, 0);
    double took = now() - begin;
    close(start[0]);
    close(start[1]);
    return took;
}

int main(int argc, char **argv)
{
    mp_kind kind = kind_of(word(argc, argv, 4, "processes"), argc, argv);
    double length = (double)number(argc, argv, 1, 10) * 1e-6;
    ptrdiff_t chunksize = number(argc, argv, 2, 0);
    int workers = (int)number(argc, argv, 3, WORKERS);
    size_t n = length < 0.002 ? (size_t)(0.2 / length) : 100;
    int64_t *steps = memory(n, sizeof *steps), *out = memory(n, sizeof *out);
    int64_t each = (int64_t)steps_of(length);
    for (size_t i = 0; i < n; i++)
        steps[i] = each;
    double bare[ROUNDS], ours[ROUNDS], ratio[ROUNDS];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = workers, .kind = kind, .error = &error) {
        for (int round = 0; round < ROUNDS; round++) {
            bare[round] = ideal(steps, n);
            double begin = now();
            must(mp_pool_map(pool, work, steps, n, out, .chunksize = chunksize, .error = &error), &error);
            ours[round] = now() - begin;
            ratio[round] = bare[round] / ours[round];
        }
    }
    must(error.status, &error);
    report("efficiency", median(ratio, ROUNDS) * 100, "%");
    report("bare", median(bare, ROUNDS) / (double)n * 1e9, "ns");
    report("ours", median(ours, ROUNDS) / (double)n * 1e9, "ns");
    free(steps);
    free(out);
}
