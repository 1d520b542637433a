/* idle [SECONDS]: a pool of processes and one of threads have worked, and have nothing to do: how often any of their threads and
 * processes wakes up meanwhile. All threads are counted but the main one, which sleeps here, and all descendants. */
#include "bench/pool.h"
#include <dirent.h>
#include <unistd.h>

/* Both kinds of context switches in a /proc/.../status. */
static double switches_of(const char *path)
{
    FILE *in = fopen(path, "r");
    char line[256];
    double sum = 0;
    while (in && fgets(line, sizeof line, in))
        if (strstr(line, "ctxt_switches:"))
            sum += strtod(strchr(line, ':') + 1, NULL);
    if (in)
        (void)fclose(in);
    return sum;
}

/* Of a process and its descendants. `without`: a thread that does not count. */
static double switches(long pid, long without)
{
    char path[64];
    double sum = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        long tid = strtol(entry->d_name, NULL, 10), child;
        if (tid == 0)
            continue;
        if (tid != without) {
            (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/status", pid, tid);
            sum += switches_of(path);
        }
        (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", pid, tid);
        FILE *children = fopen(path, "r");
        while (children && fscanf(children, "%ld", &child) == 1)
            sum += switches(child, 0);
        if (children)
            (void)fclose(children);
    }
    if (threads)
        (void)closedir(threads);
    return sum;
}

int main(int argc, char **argv)
{
    unsigned seconds = (unsigned)number(argc, argv, 1, 60);
    enum { N = 10000 };
    int64_t *in = integers(N), *out = memory(N, sizeof *out);
    mp_error error = {0};
    MP_WITH_POOL (processes, .processes = WORKERS, .error = &error)
        MP_WITH_POOL (threads, .processes = WORKERS, .kind = MP_THREADS, .error = &error) {
            must(mp_pool_map(processes, nothing, in, N, out, .error = &error), &error);
            must(mp_pool_map(threads, nothing, in, N, out, .error = &error), &error);
            (void)sleep(1); /* what a pool still has to do behind a call is not idling */
            double before = switches(getpid(), getpid());
            (void)sleep(seconds);
            report("wake-ups", switches(getpid(), getpid()) - before, "");
            report("counted-before", before, ""); /* none would mean that nobody was found */
        }
    must(error.status, &error);
    free(in);
    free(out);
}
