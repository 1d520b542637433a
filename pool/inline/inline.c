/* The worker that has no thread: a backend (backend.h) whose items run on the threads of those who call the pool, MP_SERIAL.
 *
 * Lanes are those of threads (lanes.c), and so is the worker; what differs is that its thread is lent to it for one step at a time
 * (`run`), by who hands items in or waits for them (lend.c). There is one worker, and at most two lives of it: one that leaves goes
 * before the one that takes its place.
 *
 * Under the pool's lock, but for `run`. */
#include "pool/thread/lanes.h"
#include "pool/thread/worker.h"
#include <errno.h>

static int begin(mp__lane *lane)
{
    lane->worker = mp__worker_create(lane);
    return lane->worker ? 0 : ENOMEM;
}

static void end(mp__lane *lane)
{
    mp__worker_free(lane->worker);
    lane->worker = NULL;
}

static mp_status open_inline(mp__workers **workers, const mp__backend_config *config, mp_error *error)
{
    static const mp__carrier callers = {.prefix = "mp-serial", .begin = begin, .end = end};
    return mp__lanes_open(workers, config, &callers, error);
}

static bool can_step(const mp__lane *lane)
{
    return lane->alive && lane->carried && !atomic_load_explicit(&lane->over, memory_order_relaxed) &&
           mp__worker_wants(lane->worker);
}

static bool wants_run(mp__workers *w)
{
    w->next = NULL;
    for (uint32_t i = 0; i < w->config.slots; i++) {
        mp__lane *lane = w->lanes[i];
        bool leaves = atomic_load_explicit(&lane->stopping, memory_order_relaxed);
        if ((leaves || !w->next) && can_step(lane))
            w->next = lane;
    }
    return w->next;
}

static void run(mp__workers *w)
{
    mp__worker_step(w->next->worker);
}

const mp__backend mp__inline_backend = {
    .name = "serial",
    .in_program = true,
    .most = 1,
    .open = open_inline,
    .wants_run = wants_run,
    .run = run,
    MP__LANES_HOOKS,
};
