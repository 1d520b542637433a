/* Where two processes that talk to each other run: wherever the kernel likes, both on one CPU, or each on its own. Waking a process
 * costs ten times as much on another CPU, so a round trip compares only with one of the same placement. */
#ifndef BENCH_PLACE_H
#define BENCH_PLACE_H
#include "bench/measure.h"
#include <sched.h>
#include <stdbool.h>

typedef enum { ANY_CPU, ONE_CPU, TWO_CPUS } place;

static inline place place_of(const char *name)
{
    return strcmp(name, "one") == 0 ? ONE_CPU : strcmp(name, "two") == 0 ? TWO_CPUS : ANY_CPU;
}

/* Pins the calling thread to the first or the last of the CPUs that it may use. */
static inline void stay_on(bool last)
{
    cpu_set_t may, only;
    CPU_ZERO(&only);
    if (sched_getaffinity(0, sizeof may, &may) != 0)
        give_up("sched_getaffinity");
    size_t chosen = CPU_SETSIZE;
    for (size_t cpu = 0; cpu < CPU_SETSIZE && (last || chosen == CPU_SETSIZE); cpu++)
        chosen = CPU_ISSET(cpu, &may) ? cpu : chosen;
    CPU_SET(chosen, &only);
    if (sched_setaffinity(0, sizeof only, &only) != 0)
        give_up("sched_setaffinity");
}
#endif
