/* Work of a known length: a chain of multiplications, each of which waits for the one before. A clock would not do: a worker that
 * looks at it while another one has the CPU would count the other's work as its own. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H
#include "bench/measure.h"
#include <stdint.h>

static inline uint64_t chain(int64_t steps)
{
    uint64_t x = 88172645463325252u;
    for (int64_t i = 0; i < steps; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        __asm__ volatile("" : "+r"(x)); /* no step may be left out */
    }
    return x;
}

/* How many steps take so long, on this CPU and now. */
static inline double steps_of(double seconds)
{
    enum { STEPS = 2000000 };
    double best = 1;
    for (int i = 0; i < 5; i++) {
        double begin = now();
        (void)chain(STEPS);
        double took = now() - begin;
        best = took < best ? took : best;
    }
    return seconds * STEPS / best;
}
#endif
