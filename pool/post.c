/* Calls that are handed in without the lock: nobody waits for them yet, and they come one by one, as fast as a program can make them.
 *
 * Decides when a call may wait to be looked at, and when it begins: goes to the core, in a batch with those behind it that are like it.
 * Who takes the lock puts what was posted into line, so that behind the lock nothing is unknown. The first of the line begin, as many as
 * the core needs to keep workers busy, for a call in line takes less memory; all of them before something else is handed in, which must
 * not overtake them, and before the pool is closed. As long as every worker has something to do somebody takes what is posted soon, for
 * results come; else the one who posts does so itself:
 *
 *     poster: posts;  looks at `hungry`              who holds the lock: hungry = true;  looks at `posted`
 *
 * All four are sequentially consistent, so that one of the two sees the other's.
 *
 * Short calls that are posted one behind the other meet idle workers again and again, and each would go to one alone, for the price of
 * a wake-up. So after a few in a row who drives takes naps: it looks every NAP_NS for what has gathered, until nothing has, and nobody
 * else sees to it meanwhile. As long as nobody waits for items it does not hear of results either (driver.c).
 *
 * One whose callers run the items is always hungry: who posts is the one to run it, and naps would be in nobody's favour. A pool that
 * takes nothing any more is hungry for good: who posts finds out at once. Any thread posts; all else is under the lock. What
 * is refused fails item by item. */
#include "pool/batch.h"
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/interrupt.h"
#include <millpond/interrupt.h>

enum {
    NAP_NS = 50000,
    LONG_NAP_NS = 150000, /* where so many came during the last one that each nap costs little */
    MANY = 200,
    SOON_NS = 30000, /* a poster that comes so soon behind the last one is in a row with it */
    ROW = 4,
    AHEAD = 512 /* calls that wait in the core, beside those that workers have: a job takes some hundred bytes */
};

static void begin_naps(mp__dispatch *d, uint64_t now)
{
    d->nap_at = now + NAP_NS;
    d->came = 0;
}

/* With the lock. */
static void see_to_posted(mp__dispatch *d)
{
    uint64_t now = mp__core_now(d->core);
    d->in_a_row = now - d->posted_at < SOON_NS ? d->in_a_row + 1 : 0;
    d->posted_at = now;
    if (d->in_a_row >= ROW && d->nap_at == MP__NEVER && !d->ended && !d->backend->run)
        begin_naps(d, now);
    mp__dispatch_acted(d);
}

void mp__posted_nap(mp__dispatch *d)
{
    uint64_t now = mp__now();
    if (now < d->nap_at)
        return;
    bool more = atomic_load_explicit(&d->posted, memory_order_relaxed);
    d->nap_at = more ? now + (d->came >= MANY ? LONG_NAP_NS : NAP_NS) : MP__NEVER;
    d->came = 0;
}

void mp__dispatch_post(mp__dispatch *d, mp__posted *call)
{
    mp__guard guard;
    call->interrupts = d->minds ? mp__interrupt_count() : 0;
    call->next = atomic_load_explicit(&d->posted, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&d->posted, &call->next, call))
        continue;
    if (!atomic_load(&d->hungry))
        return;
    mp__dispatch_enter(d, &guard);
    see_to_posted(d);
    mp__dispatch_leave(d, &guard);
}

bool mp__dispatch_is_shut(const mp__dispatch *d)
{
    return atomic_load_explicit(&d->shut, memory_order_relaxed) || (d->minds && mp_interrupted());
}

/* What was posted before a Ctrl-C that has been minded is stopped by it; and nothing is taken until that is cleared: who posts may have
 * looked before it, and have counted behind it. */
static bool is_stopped(const mp__dispatch *d, const mp__posted *call)
{
    return d->minds && ((int)(d->interrupts - call->interrupts) > 0 || mp_interrupted());
}

/* Its kind first, whatever becomes of it then: who was not admitted is not to be told that it is over. */
static mp_status admit(mp__dispatch *d, mp__posted *call, mp_error *error)
{
    mp_status status = call->kind->admit ? call->kind->admit(call, error) : MP_OK;
    if (status || !is_stopped(d, call))
        return status;
    mp__dispatch_why(d, MP_EINTERRUPTED, error);
    return MP_EINTERRUPTED;
}

static void get_into_line(mp__dispatch *d, mp__posted *call)
{
    mp_error error;
    if (admit(d, call, &error) != MP_OK) {
        call->kind->refuse(call, &error);
        return;
    }
    call->next = NULL;
    if (d->line)
        d->line_end->next = call;
    else
        d->line = call;
    d->line_end = call;
    d->line_count++;
    d->came++;
}

/* They are found the newest first. */
static mp__posted *in_order(mp__posted *call)
{
    mp__posted *before = NULL;
    while (call) {
        mp__posted *next = call->next;
        call->next = before;
        before = call;
        call = next;
    }
    return before;
}

static void take_inbox(mp__dispatch *d)
{
    mp__driver_mind(d); /* before what came behind it is there: that is not stopped by it */
    mp__posted *call = in_order(atomic_exchange_explicit(&d->posted, NULL, memory_order_acquire));
    while (call) {
        mp__posted *next = call->next;
        get_into_line(d, call);
        call = next;
    }
}

static mp__posted *leave_line(mp__dispatch *d)
{
    mp__posted *call = d->line;
    d->line = call->next;
    d->line_count--;
    return call;
}

/* The first of those in line that are wanted, as many as fit together. */
static size_t first_in_line(mp__dispatch *d, mp__posted **calls, size_t most)
{
    size_t n = 0, fit = most;
    while (d->line && n < fit) {
        mp__posted *call = d->line;
        bool wanted = !call->kind->is_wanted || call->kind->is_wanted(call);
        if (wanted && n && !mp__batch_fits(calls[0], call))
            break;
        (void)leave_line(d);
        if (!wanted) {
            call->kind->forget(call);
            continue;
        }
        calls[n++] = call;
        if (n == 1 && mp__batch_most(call) < fit)
            fit = mp__batch_most(call);
    }
    return n;
}

/* False: no memory. */
static bool begin_together(mp__dispatch *d, mp__posted **calls, size_t n)
{
    mp_error error;
    mp__job *job = mp__batch_make(d, calls, n);
    mp_status status = job ? mp__core_add(d->core, &job->core) : MP_OK;
    if (!status)
        return job;
    mp__dispatch_why(d, status, &error);
    mp__job_fail(job, 0, n, &error);
    mp__batch_drop(job);
    return true;
}

/* Each by itself needs less memory. */
static void begin(mp__dispatch *d, mp__posted **calls, size_t n)
{
    mp_error error;
    if (n > 1 && begin_together(d, calls, n))
        return;
    for (size_t i = 0; i < n; i++) {
        if (begin_together(d, &calls[i], 1))
            continue;
        (void)mp__failure(&error, MP_ENOMEM, "no memory to run the call");
        calls[i]->kind->refuse(calls[i], &error);
    }
}

/* Of those in line, until `most` wait in the core. */
static void begin_some(mp__dispatch *d, uint64_t most)
{
    mp__posted *calls[MP__BATCH_MAX];
    for (uint64_t queued; d->line && (queued = mp__core_queued(d->core)) < most;) {
        size_t room = most - queued < MP__BATCH_MAX ? (size_t)(most - queued) : MP__BATCH_MAX;
        begin(d, calls, first_in_line(d, calls, room));
    }
    mp__core_expect(d->core, d->line_count);
    mp__core_plan(d->core);
}

/* Of many that are short workers get more at a time: but no more than half of those that there are. */
static uint64_t wanted_ahead(const mp__dispatch *d)
{
    uint64_t appetite = mp__core_appetite(d->core, d->line->task);
    return AHEAD + (appetite < d->line_count / 2 ? appetite : d->line_count / 2);
}

void mp__posted_take(mp__dispatch *d)
{
    if (atomic_load_explicit(&d->posted, memory_order_relaxed))
        take_inbox(d);
    if (!d->line)
        return;
    mp__core_time(d->core, mp__now());
    begin_some(d, wanted_ahead(d));
}

void mp__posted_flush(mp__dispatch *d)
{
    if (!d->line)
        return;
    mp__core_time(d->core, mp__now());
    begin_some(d, UINT64_MAX);
}

void mp__posted_each(mp__dispatch *d, const mp__posted_kind *kind, void (*what)(mp__posted *call, const void *user),
                     const void *user)
{
    mp__batches_each(d, kind, what, user);
    for (mp__posted *call = d->line; call; call = call->next) /* what ends stays in line, until its turn */
        if (call->kind == kind)
            what(call, user);
}

bool mp__posted_look(mp__dispatch *d)
{
    bool shut = mp__core_get_state(d->core) != MP__RUNNING,
         hungry = shut || d->backend->run || (d->nap_at == MP__NEVER && mp__core_hungry(d->core));
    if (shut != atomic_load_explicit(&d->shut, memory_order_relaxed))
        atomic_store_explicit(&d->shut, shut, memory_order_relaxed);
    if (hungry != atomic_load_explicit(&d->hungry, memory_order_relaxed))
        atomic_store(&d->hungry, hungry);
    else
        atomic_thread_fence(memory_order_seq_cst); /* what made it so may be newer */
    return (hungry && atomic_load(&d->posted)) || (d->line && !mp__core_queued(d->core));
}
