/* What a worker looks at between items: the clock, how much memory it has, what it stands on. Decides how often, so that it is little of
 * the items' time whatever that is. The worker's only thread of ours. */
#include "pool/clock.h"
#include "pool/process/worker_state.h"
#include "serial/block.h"

enum {
    LOOK_NS = 50000,  /* look at the clock about this often */
    LONG_NS = 500000, /* all that footing.c looks at is little of that */
    GLANCE_MOST_NS = 10000,
    LOOK_ITEMS = 1024
};

typedef mp__process_worker worker;

/* One that has run nothing yet is not too large for its limit: its limit is too small for any, and each gets one item at least. */
static void weigh(worker *w)
{
    uint64_t most = w->shared->limits.rss, bytes = most && mp__worker_started(w) ? mp__footing_resident(&w->footing) : 0;
    if (bytes > most && mp__block_let_go())
        bytes = mp__footing_resident(&w->footing);
    if (bytes > most)
        atomic_store_explicit(&w->shared->rss, bytes, memory_order_relaxed);
}

bool mp__worker_account(worker *w)
{
    uint64_t now = mp__now(), spent = now - w->looked_at;
    atomic_fetch_add_explicit(&w->shared->busy_ns, spent, memory_order_relaxed);
    uint64_t items = spent ? (uint64_t)w->looked_items * LOOK_NS / spent : LOOK_ITEMS;
    w->until_look = items < 1 ? 1 : items > LOOK_ITEMS ? LOOK_ITEMS : (unsigned)items;
    bool long_ones = w->looked_items && spent / w->looked_items >= LONG_NS;
    w->urgent |= w->looked_items && spent / w->looked_items >= MP__WINDOW_NS / 2; /* there is one more of these at most */
    w->looked_items = 0;
    w->looked_at = now;
    weigh(w);
    return long_ones;
}

/* A glance costs what system calls cost here, by which machines differ tenfold: no more than a hundredth of the time is for that. One
 * that was interrupted says nothing of it. */
static void glance(worker *w)
{
    uint64_t began = mp__now();
    w->restless |= mp__footing_glance(&w->footing);
    w->glanced_at = mp__now();
    uint64_t cost = w->glanced_at - began;
    if (cost < GLANCE_MOST_NS)
        w->glance_ns = (7 * w->glance_ns + cost) / 8;
}

void mp__worker_look_round(worker *w, bool long_ones)
{
    if (long_ones || w->restless)
        w->restless |= mp__footing_mend(&w->footing);
    else if (w->looked_at - w->glanced_at >= 100 * w->glance_ns)
        glance(w);
}
