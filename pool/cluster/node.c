/* A node of a job, as an agent finds it.
 *
 * Decides which CPUs workers may use. Open MPI binds each of up to two ranks to one core, and what a rank starts inherits that: an
 * agent's workers would share a core. The daemon that has started the rank is not bound; its mask is what the job has on this host. So
 * a rank that is alone there takes the daemon's mask, never more, and one that is not leaves its share as it is. srun gives a rank the
 * CPUs that were asked for: nothing is widened there.
 *
 * Reads the environment and /proc, keeps nothing; what writes the environment is called before there are threads. What cannot be found out
 * changes nothing. */
#include "pool/cluster/node.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GENERATIONS = 5 }; /* a rank may be started by a script, which a daemon has started */

bool mp__node_is_alone(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *text = getenv(variables[i]);
        if (text)
            return strtol(text, NULL, 10) == 1;
    }
    return false;
}

/* The process's name and parent; false: there is no such process. */
static bool process_read(pid_t pid, char name[32], pid_t *parent)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    char *open = read ? strchr(line, '(') : NULL, *end = read ? strrchr(line, ')') : NULL;
    if (!open || !end)
        return false;
    snprintf(name, 32, "%.*s", (int)(end - open) - 1, open + 1);
    int above = 0;
    if (sscanf(end, ") %*c %d", &above) != 1)
        return false;
    *parent = above;
    return true;
}

static bool is_daemon(const char *name)
{
    static const char *const daemons[] = {"orted", "prted", "mpirun", "orterun", "prterun", "mpiexec", "hydra_pmi_proxy"};
    for (size_t i = 0; i < sizeof daemons / sizeof *daemons; i++)
        if (strncmp(name, daemons[i], strlen(daemons[i])) == 0) /* mpirun.openmpi, too */
            return true;
    return false;
}

static pid_t daemon_find(void)
{
    pid_t pid = getppid(), parent = 0;
    char name[32];
    for (int i = 0; i < GENERATIONS && pid > 1 && process_read(pid, name, &parent); i++, pid = parent)
        if (is_daemon(name))
            return pid;
    return 0;
}

/* Of a process, or (0) of the thread that calls; to be freed. NULL: there is no such process. */
static cpu_set_t *mask_of(pid_t pid, size_t *size)
{
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) { /* the kernel says EINVAL while it is too small */
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        *size = CPU_ALLOC_SIZE((size_t)cpus);
        if (!set || sched_getaffinity(pid, *size, set) == 0)
            return set;
        CPU_FREE(set);
    }
    return NULL;
}

bool mp__node_widen_like(pid_t pid)
{
    size_t size;
    cpu_set_t *set = mask_of(pid, &size);
    bool done = set && sched_setaffinity(0, size, set) == 0;
    CPU_FREE(set);
    return done;
}

mp__node_mask mp__node_widen(void)
{
    mp__node_mask before = {.set = NULL};
    pid_t daemon = mp__node_is_alone() ? daemon_find() : 0;
    if (daemon)
        before.set = mask_of(0, &before.size);
    if (before.set)
        (void)mp__node_widen_like(daemon);
    return before;
}

void mp__node_narrow(mp__node_mask *before)
{
    if (before->set)
        (void)sched_setaffinity(0, before->size, before->set);
    CPU_FREE(before->set);
    before->set = NULL;
}

void mp__node_single_threads(void)
{
    setenv("OMP_NUM_THREADS", "1", 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    setenv("MKL_NUM_THREADS", "1", 0);
}

void mp__node_prepare(void)
{
    pid_t daemon = mp__node_is_alone() ? daemon_find() : 0;
    if (daemon)
        (void)mp__node_widen_like(daemon);
    mp__node_single_threads();
}
