/* The default number of workers; mp_cpu_count (pool.h) is its public face. */
#ifndef MP__POOL_CPU_H
#define MP__POOL_CPU_H
#include <millpond/error.h>

enum { MP__PROCESSES_MAX = 100000 };

/* MP_EINVAL: MILLPOND_CPU_COUNT is not a number from 1 to MP__PROCESSES_MAX. */
mp_status mp__cpu_count(int *count, mp_error *error);

/* Without the environment, reading these files: for tests. */
int mp__cpu_count_under(const char *proc, const char *mounts);

#endif
