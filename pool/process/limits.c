/* Limits of a worker. Each is set soft and hard, so that a task cannot raise it again; but for CPU time, where the kernel kills at the
 * hard limit without a word: that is one second later, and SIGXCPU, which says what it is, comes first. A limit above the hard one
 * that we have is refused, also to root, who could raise it: whoever set that meant it. */
#include "pool/process/limits.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NS 1000000000u

typedef struct bound {
    int resource; /* of setrlimit(2) */
    const char *what, *unit;
    uint64_t value, spare; /* the hard one is so much higher, if it may be */
} bound;

static mp_status apply(const bound *limit, char why[MP_MESSAGE_MAX])
{
    struct rlimit set;
    uint64_t wanted = limit->value == MP__LIMIT_NONE ? 0 : limit->value;
    if (!limit->value)
        return MP_OK;
    if (getrlimit((__rlimit_resource_t)limit->resource, &set) < 0) {
        snprintf(why, MP_MESSAGE_MAX, "the worker's limit of %s is not to be had: %s", limit->what, strerrordesc_np(errno));
        return MP_ESYSTEM;
    }
    if (set.rlim_max != RLIM_INFINITY && wanted > set.rlim_max) {
        snprintf(why, MP_MESSAGE_MAX,
                 "the worker cannot be limited to %s of %" PRIu64 " %s, for the system's hard limit is %" PRIu64
                 ": ask for less, or raise that (ulimit -H)",
                 limit->what, wanted, limit->unit, (uint64_t)set.rlim_max);
        return MP_EINVAL;
    }
    set.rlim_cur = wanted;
    if (set.rlim_max == RLIM_INFINITY || wanted + limit->spare < set.rlim_max)
        set.rlim_max = wanted + limit->spare;
    if (setrlimit((__rlimit_resource_t)limit->resource, &set) == 0)
        return MP_OK;
    snprintf(why, MP_MESSAGE_MAX, "the worker cannot be limited to %s of %" PRIu64 " %s: %s", limit->what, wanted,
             limit->unit, strerrordesc_np(errno));
    return MP_ESYSTEM;
}

mp_status mp__limits_apply(const mp__worker_limits *limits, char why[MP_MESSAGE_MAX])
{
    const bound all[] = {
        {RLIMIT_CPU, "a CPU time", "s", limits->cpu_seconds, 1},
        {RLIMIT_FSIZE, "a file size", "bytes", limits->file_size, 0},
        {RLIMIT_CORE, "a core file", "bytes", limits->core, 0},
        {RLIMIT_AS, "an address space", "bytes", limits->address_space, 0}, /* last: a text may need memory */
    };
    mp_status status = MP_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == MP_OK; i++)
        status = apply(&all[i], why);
    return status;
}

void mp__limits_explain(const mp__worker_limits *limits, int signal, uint64_t cpu_ns, char text[MP_MESSAGE_MAX])
{
    bool out_of_time = signal == SIGXCPU || (signal == SIGKILL && cpu_ns / NS >= limits->cpu_seconds);
    *text = 0;
    if (limits->cpu_seconds && out_of_time)
        snprintf(text, MP_MESSAGE_MAX, ": it had used the %" PRIu64 " s of CPU time that .limits.cpu_time gives a worker",
                 limits->cpu_seconds);
    if (limits->file_size && signal == SIGXFSZ)
        snprintf(text, MP_MESSAGE_MAX, ": it wrote a file beyond the %" PRIu64 " bytes that .limits.file_size allows",
                 limits->file_size);
}
