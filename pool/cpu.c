/* How many workers a pool gets when nobody says: CPUs of the affinity mask, at most the CPU quota of every cgroup above us,
 * rounded up; the environment overrules. Python stops at the mask (os.process_cpu_count) and so starts 64 workers in a
 * container that may use two CPUs.
 *
 * Reads a few small files at each call; keeps nothing. What cannot be read does not limit. */
#include "pool/cpu.h"
#include "pool/failure.h"
#include <errno.h>
#include <limits.h>
#include <millpond/pool.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int affinity_count(void)
{
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) { /* the kernel says EINVAL while the mask is too small */
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int failed = sched_getaffinity(0, size, set), count = failed ? 0 : CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (!failed)
            return count > 0 ? count : 1;
        if (errno != EINVAL)
            return 1;
    }
    return 1;
}

/* CPUs of a quota, rounded up; INT_MAX: no limit. */
static int quota_cpus(double quota, double period)
{
    if (quota <= 0 || period <= 0 || quota / period >= INT_MAX / 2)
        return INT_MAX;
    int whole = (int)(quota / period);
    return whole < quota / period ? whole + 1 : whole;
}

static bool read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool got = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return got;
}

/* cgroup v2: "max 100000" or "150000 100000". */
static int quota_v2(const char *directory)
{
    char path[PATH_MAX + 16], line[64];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", directory);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return INT_MAX;
    return quota_cpus(quota, period);
}

/* cgroup v1: a file each; quota -1 is none. */
static int quota_v1(const char *directory)
{
    char path[PATH_MAX + 32], quota[64], period[64];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    if (!read_line(path, quota, sizeof quota))
        return INT_MAX;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    if (!read_line(path, period, sizeof period))
        return INT_MAX;
    return quota_cpus(atof(quota), atof(period));
}

/* The tightest quota of `root/relative` and every directory above it, down to `root`. */
static int tightest(const char *root, const char *relative, int (*quota)(const char *directory))
{
    char directory[PATH_MAX];
    int length = snprintf(directory, sizeof directory, "%s%s", root, relative);
    if (length < 0 || (size_t)length >= sizeof directory)
        return INT_MAX;
    int limit = INT_MAX;
    for (;;) {
        int here = quota(directory);
        if (here < limit)
            limit = here;
        char *slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < strlen(root))
            return limit;
        *slash = 0;
    }
}

/* Lines of /proc/self/cgroup: "0::/path" (v2), "4:cpu,cpuacct:/path" (v1). */
static int cgroup_limit(const char *proc, const char *mounts)
{
    FILE *file = fopen(proc, "re");
    char line[PATH_MAX], root[PATH_MAX];
    int limit = INT_MAX;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        controllers++;
        bool v2 = !*controllers, v1 = !v2 && strstr(controllers, "cpu");
        if (!v1 && !v2)
            continue;
        if (snprintf(root, sizeof root, "%s%s%s", mounts, v2 ? "" : "/", controllers) >= (int)sizeof root)
            continue;
        int here = tightest(root, strcmp(path, "/") ? path : "", v2 ? quota_v2 : quota_v1);
        if (here < limit)
            limit = here;
    }
    if (file)
        fclose(file);
    return limit;
}

int mp__cpu_count_under(const char *proc, const char *mounts)
{
    int cpus = affinity_count(), quota = cgroup_limit(proc, mounts);
    return cpus < quota ? cpus : quota;
}

mp_status mp__cpu_count(int *count, mp_error *error)
{
    const char *text = getenv("MILLPOND_CPU_COUNT");
    if (text && *text) {
        char *end;
        errno = 0;
        long value = strtol(text, &end, 10);
        if (errno || *end || value < 1 || value > MP__PROCESSES_MAX)
            return mp__failure(error, MP_EINVAL,
                               "the environment variable MILLPOND_CPU_COUNT is '%s': set it to a number from 1 "
                               "to %d, or unset it",
                               text, MP__PROCESSES_MAX);
        *count = (int)value;
        return MP_OK;
    }
    *count = mp__cpu_count_under("/proc/self/cgroup", "/sys/fs/cgroup");
    return MP_OK;
}

int mp_cpu_count(void)
{
    int count;
    return mp__cpu_count(&count, NULL) == MP_OK ? count : mp__cpu_count_under("/proc/self/cgroup", "/sys/fs/cgroup");
}

uint32_t mp__cpu_count_once(void)
{
    static _Atomic uint32_t known;
    uint32_t count = atomic_load_explicit(&known, memory_order_relaxed);
    int found;
    if (count)
        return count;
    count = mp__cpu_count(&found, NULL) == MP_OK ? (uint32_t)found : 1;
    atomic_store_explicit(&known, count, memory_order_relaxed);
    return count;
}
