/* Workers that are threads of this program: a backend (backend.h). Each has a lane (lanes.c), and here is how its thread comes to
 * be, and is joined. Under the pool's lock. */
#include "pool/system.h"
#include "pool/thread/lanes.h"
#include "pool/thread/worker.h"

static int create_thread(mp__lane *lane)
{
    return mp__thread_create(&lane->thread, mp__thread_run, lane);
}

/* It has nothing more to do. */
static void join_thread(mp__lane *lane)
{
    pthread_join(lane->thread, NULL);
}

static mp_status open_threads(mp__workers **workers, const mp__backend_config *config, mp_error *error)
{
    static const mp__carrier threads = {.prefix = "mp-thread", .begin = create_thread, .end = join_thread};
    return mp__lanes_open(workers, config, &threads, error);
}

static bool spin(mp__workers *w, uint64_t ns, const atomic_uint *wanted)
{
    return mp__news_spin(&w->news, ns, wanted);
}

const mp__backend mp__thread_backend = {
    .name = "thread",
    .in_program = true,
    .open = open_threads,
    .spin = spin,
    MP__LANES_HOOKS,
};
