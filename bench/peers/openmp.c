/* openmp tasks|map [ITEMS [CHUNKSIZE]]: OpenMP on two threads: tasks that do nothing, made one by one by one of them; or a parallel
 * loop with a dynamic schedule over the function that thread_map runs. */
#include "bench/measure.h"
#include "bench/tiny.h"
#include <omp.h>

enum { ROUNDS = 3 };

static double tasks(long n)
{
    double begin = now();
#pragma omp parallel num_threads(WORKERS)
#pragma omp single
    for (long i = 0; i < n; i++)
#pragma omp task firstprivate(i)
        __asm__ volatile("" ::"r"(i)); /* so that there is a task */
    return now() - begin;
}

static double map(const int64_t *in, int64_t *out, long n, int chunksize)
{
    double begin = now();
    omp_set_schedule(omp_sched_dynamic, chunksize);
#pragma omp parallel for num_threads(WORKERS) schedule(runtime)
    for (long i = 0; i < n; i++)
        out[i] = tiny(in[i]);
    return now() - begin;
}

int main(int argc, char **argv)
{
    int loop = strcmp(word(argc, argv, 1, "tasks"), "map") == 0;
    long n = number(argc, argv, 2, loop ? 10000000 : 1000000);
    int chunksize = (int)number(argc, argv, 3, 16);
    int64_t *in = memory(loop ? (size_t)n : 1, sizeof *in), *out = memory(loop ? (size_t)n : 1, sizeof *out);
    double took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
        took[round] = loop ? map(in, out, n, chunksize) : tasks(n);
    report("item", median(took, ROUNDS) / (double)n * 1e9, "ns");
    report_usage((double)n * ROUNDS);
    free(in);
    free(out);
}
