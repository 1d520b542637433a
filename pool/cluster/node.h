/* What a launcher has made of this process's CPUs, and what its workers should make of theirs. */
#ifndef MP__POOL_CLUSTER_NODE_H
#define MP__POOL_CLUSTER_NODE_H
#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

/* For any rank of a job, before its workers begin: both of what follows. */
void mp__node_prepare(void);

/* Whether the launcher says that no other rank of the job is on this host. */
bool mp__node_is_alone(void);

/* The first of these for a while, and for the calling thread alone (and what it starts): a program goes on behind it. Then back. */
typedef struct mp__node_mask {
    cpu_set_t *set; /* NULL: it has not been changed */
    size_t size;
} mp__node_mask;
mp__node_mask mp__node_widen(void);
void mp__node_narrow(mp__node_mask *before);

/* Takes the affinity mask of `pid`; false: cannot. */
bool mp__node_widen_like(pid_t pid);

/* Libraries that have threads of their own shall have one in each worker, for there is a worker for each CPU: the environment says
 * so, unless the user says something there. */
void mp__node_single_threads(void);
#endif
