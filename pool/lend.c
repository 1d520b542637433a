/* Threads that callers lend to a pool whose workers have none: who runs its items, and when.
 *
 * One thread at a time runs, without the lock, a step at a time (mp__backend.run), with a turn of the engine behind each. Who lends:
 * a thread that waits for something, in place of sleeping; and each that lets go of the lock, until nothing is pending. So what was
 * handed in has been run when the call returns; but for what a task hands in to its own pool, which is run behind it. A thread that
 * comes and finds another one running leaves at once: that one goes on with what has come meanwhile. It stops when what it had found
 * has been run and somebody stays: sleeps here until nothing is pending, or for something without a time-out, and goes on then. So there
 * is always somebody as long as anything is pending, and nobody is kept by the work of others for ever.
 *
 *     runs: done with its own;  sees a lender asleep, wakes it, leaves          asleep: wakes, and runs, or sees that another one does
 *
 * Both under the lock. What is not due yet (a retry's back-off, a life that could not begin) is waited for by the last one. The I/O
 * thread runs nothing of the user's; it sees to deadlines and cancels meanwhile, and wakes who sleeps here when something is due. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"

static bool can_run(mp__dispatch *d)
{
    return d->backend->run && !d->ended && !d->lent && d->backend->wants_run(d->workers);
}

bool mp__lend(mp__dispatch *d)
{
    if (!d->backend->run || mp__dispatch_on_worker(d) || !can_run(d))
        return false;
    d->lent = true;
    mp__dispatch_stay(d);
    pthread_mutex_unlock(&d->lock);
    d->backend->run(d->workers);
    mp__driver_lock(d);
    d->lent = false;
    mp__driver_mind(d);
    mp__dispatch_turn(d);
    mp__dispatch_acted(d);
    mp__dispatch_go(d);
    return true;
}

static uint64_t left(const mp__dispatch *d)
{
    return mp__core_get_counts(d->core).pending + d->line_count;
}

void mp__lend_or_sleep(mp__dispatch *d, const mp__awaited *what, uint64_t deadline)
{
    if (mp__lend(d))
        return;
    mp__lender self = {.next = d->lenders, .what = what, .deadline = deadline}, **at = &d->lenders;
    d->lenders = &self;
    mp__clock_wait(&d->may_lend, &d->lock, deadline);
    while (*at != &self)
        at = &(*at)->next;
    *at = self.next;
}

/* Somebody is asleep who will not leave before all is done, or what it waits for has come: it may just be about to wake for that. */
static bool somebody_stays(const mp__dispatch *d)
{
    for (const mp__lender *lender = d->lenders; lender; lender = lender->next)
        if (lender->deadline == MP__NEVER && !(lender->what && lender->what->is_there(lender->what->of)))
            return true;
    return false;
}

/* `mine`: how many items will have ended when those have that were there. To wait for what is not due one is enough. */
static bool is_needed(mp__dispatch *d, uint64_t mine)
{
    if (d->ended || !(left(d) || d->lent || can_run(d)))
        return false;
    return (can_run(d) && mp__core_get_counts(d->core).finished < mine) || !somebody_stays(d);
}

void mp__lend_until_done(mp__dispatch *d, bool all_here, uint64_t deadline)
{
    if (!d->backend->run || d->ended || d->lent || mp__dispatch_on_worker(d))
        return;
    uint64_t mine = all_here ? mp__core_get_counts(d->core).finished + left(d) : 0;
    mp__dispatch_stay(d);
    while (is_needed(d, mine) && mp__now() < deadline)
        mp__lend_or_sleep(d, NULL, deadline);
    mp__dispatch_go(d);
    mp__lend_tell(d);
}
