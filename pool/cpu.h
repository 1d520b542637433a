/* The default number of workers; mp_cpu_count (pool.h) is its public face. */
#ifndef MP__POOL_CPU_H
#define MP__POOL_CPU_H
#include <millpond/error.h>
#include <stdint.h>

enum { MP__PROCESSES_MAX = 100000 };

/* MP_EINVAL: MILLPOND_CPU_COUNT is not a number from 1 to MP__PROCESSES_MAX. */
mp_status mp__cpu_count(int *count, mp_error *error);

/* The same, found out once in the life of the program; 1 if it cannot be. */
uint32_t mp__cpu_count_once(void);

/* Without the environment, reading these files: for tests. */
int mp__cpu_count_under(const char *proc, const char *mounts);

#endif
