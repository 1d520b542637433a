/* What becomes of items that take too long or fail. The same options in every call, and in mp_pool_options as defaults:
 *
 *     mp_pool_map(pool, f, items, n, out, .timeout = 0.5, .retries = 2, .retry_on = MP_ON_CRASHED, .statuses = statuses);
 *
 * `.timeout`: how long an item may run, in seconds from when its task starts, wherever in a chunk it stands; 0: the pool's
 * default; MP_FOREVER: no limit. Never early; late by a sixteenth of it at most (at least a millisecond, at most a quarter of a
 * second), where its worker has a CPU. A program that was stopped meanwhile (Ctrl-Z, a debugger, a suspended machine) is not held to
 * it. When an item's time is up
 *   - its task is told: mp_call_cancelled is true from now on. One that has asked before has `.grace` to return (mp_pool_options):
 *     what it returns with MP_OK counts, the best it has found so far say. So has one that asks then, if the system had given its
 *     worker no CPU to do so before: it has a millisecond of CPU time for that, and no longer than until it sleeps for
 *     something of its own;
 *   - otherwise, or when the grace is over, its worker process gets SIGTERM, and SIGKILL after another `.grace` if it is still
 *     there; what it has started dies with it, and it is replaced. The item is MP_ETIMEDOUT. All others of its chunk are as if
 *     nothing had happened: finished ones keep their results, the rest runs elsewhere;
 *   - a thread cannot be ended: its task is told, and that is all. What it fails with after that is MP_ETIMEDOUT.
 * `.deadline`: when all items of the call must have ended, in seconds from the call; 0: never. Then those that have not started
 * are MP_ETIMEDOUT, and those that run are overdue, as above.
 *
 * `.retries`: how often an item that failed is run again; 0: the pool's default; MP_NO_RETRY: never. It runs before the items that
 * have not run yet, on any worker; mp_call_attempt tells the task. When it has failed for good it has its last failure.
 * `.retry_on`: which failures; 0: all four. Never: what cannot be sent or read, what was cancelled, a call's deadline.
 * `.retry_delay`: seconds before the first retry, twice as long before each further one, at most a minute; 0: the pool's default,
 * and at once if it has none.
 *
 * `.stop_at`: when so many items have failed for good the rest is cancelled: those that have not started are MP_ECANCELLED, those
 * that run are told (mp_call_cancelled) and run on; one that waits for another attempt is MP_ECANCELLED too. 1: stop at the first.
 * 0: never; all items are tried. `.stop_at_percent`: when more than this part of the items have failed; not for streams, whose
 * length nobody knows. Neither is for mp_pool_broadcast, where each worker's item is by itself. In any case every item has its status,
 * and results that are there are kept. The call's own error is that of the failed item with the smallest index, and of one that was
 * cancelled only if no other failed.
 *
 * Where these come from: Python has none of them. */
#ifndef MILLPOND_POLICY_H
#define MILLPOND_POLICY_H
#include <millpond/version.h>
#include <stddef.h>

#define MP_FOREVER 1e300 /* seconds */
#define MP_NO_RETRY (-1)

/* For `.retry_on`, in any combination. */
enum {
    MP_ON_FAILED = 1,   /* the task said so: mp_fail, or another status than MP_OK */
    MP_ON_CRASHED = 2,  /* MP_ECRASHED: its worker died running it */
    MP_ON_TIMEDOUT = 4, /* MP_ETIMEDOUT, for `.timeout` */
    MP_ON_LOST = 8,     /* MP_ELOST: it ran to its end, but its result was lost. It runs twice then */
};

#define MP__POLICY                                                                                                         \
    double timeout;                                                                                                        \
    double deadline;                                                                                                       \
    int retries;                                                                                                           \
    unsigned retry_on;                                                                                                     \
    double retry_delay;                                                                                                    \
    ptrdiff_t stop_at;                                                                                                     \
    double stop_at_percent;

/* The fields of one struct that has them, as initializers of another. */
#define MP__POLICY_OF(o)                                                                                                   \
    .timeout = (o).timeout, .deadline = (o).deadline, .retries = (o).retries, .retry_on = (o).retry_on,                    \
    .retry_delay = (o).retry_delay, .stop_at = (o).stop_at, .stop_at_percent = (o).stop_at_percent

MP__BEGIN
typedef struct mp_policy {
    MP__POLICY
} mp_policy;
MP__END
#endif
