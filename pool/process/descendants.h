/* Ending a worker with whatever its tasks have started; and, at the end, all that there is below the zygote. */
#ifndef MP__PROCESS_DESCENDANTS_H
#define MP__PROCESS_DESCENDANTS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* What was started from here on, and loses its parent, comes to this process. */
void mp__descendants_adopt(void);

/* The first that a worker does: it leads a process group of its own. */
void mp__descendants_lead(void);
/* Sends a signal to a worker that has not been reaped, and to its group. */
void mp__descendants_signal(pid_t worker, int number);

static inline uint64_t mp__used_cpu_ns(const struct rusage *usage)
{
    return (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000u;
}

/* A child that has died, but is not reaped: so its number is nobody else's. 0: none. */
pid_t mp__descendants_dead(void);
/* Reaps it: its status, and what it has used. If it was a worker: what is left of its group is killed first. */
int mp__descendants_reap(pid_t pid, bool worker, struct rusage *usage);

/* Kills and reaps every child, and every child that comes to this process by that, until there is none. `deaths`: a descriptor that is
 * readable when a child has died. */
void mp__descendants_end(int deaths);

#endif
