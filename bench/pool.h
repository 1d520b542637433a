/* What the programs that measure a pool share: the task that does nothing, and what is done when a call fails. */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H
#include "bench/measure.h"
#include <millpond.h>

/* SPIN(seconds) among a pool's options: how long it spins before it sleeps, in versions that can. */
#ifdef MP_NO_SPIN
#define SPIN(seconds) .spin = (seconds),
#else
#define SPIN(seconds)
#define MP_NO_SPIN (-1)
#endif

static mp_status nothing(const int64_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(nothing, int64_t, int64_t);

static inline void must(mp_status status, const mp_error *error)
{
    if (status == MP_OK)
        return;
    mp_perror(error);
    exit(1);
}

/* The kind of that name. `cluster` comes first in main, for in an agent this does not return; there all workers are, because it says that it
 * has ever so many CPUs. */
static inline mp_kind kind_of(const char *name, int argc, char **argv)
{
    if (strcmp(name, "cluster") != 0)
        return strcmp(name, "threads") == 0 ? MP_THREADS : MP_PROCESSES;
    (void)setenv("MILLPOND_CPU_COUNT", "1000", 1);
    mp_main(argc, argv);
    (void)unsetenv("MILLPOND_CPU_COUNT");
    return MP_CLUSTER;
}

/* 0, 1, 2, ... */
static inline int64_t *integers(size_t n)
{
    int64_t *items = memory(n, sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = (int64_t)i;
    return items;
}

/* A figure of something that came back wrong means nothing. */
static inline void must_equal(const int64_t *in, const int64_t *out, size_t n)
{
    if (memcmp(in, out, n * sizeof *in) == 0)
        return;
    (void)fprintf(stderr, "results are not what was sent\n");
    exit(1);
}
#endif
