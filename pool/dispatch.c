/* One turn of the engine: what workers say becomes the core's events, what the core asks for becomes calls of the backend.
 *
 * Runs under the lock, on whichever thread drives (driver.c). Never sleeps. A failure that belongs to an item goes to its job;
 * how a worker ended is kept while the items that it takes with it are told, and why one could not be started until the pool
 * is given up for it. */
#include "pool/clock.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include <stdio.h>
#include <unistd.h>

enum { EVENTS_BEFORE_ACTIONS = 512 }; /* so that other workers are fed while one floods us */

/* --- looking -----------------------------------------------------------------------------------------------------------
 *
 * Workers say what they have finished when that is much, when it has waited, or when they have nothing to run: but not in the middle
 * of an item, which may take a second or for ever. So while they may be hiding something, they are looked at; not as long as
 * results come by themselves, but for one that does while others are loud. */

mp__looking mp__looking_times = {.first_ns = 300000, .last_ns = 10000000};

uint64_t mp__dispatch_look_at(mp__dispatch *d)
{
    if (!mp__core_may_hide(d->core)) {
        d->look_at = MP__NEVER;
    } else if (d->look_at == MP__NEVER) {
        d->looked_at = mp__core_now(d->core);
        d->look_wait = mp__looking_times.first_ns;
        d->look_at = d->looked_at + d->look_wait;
    }
    return d->look_at;
}

/* At the beginning of a turn. True: it is one in which workers are looked at. */
static bool begin_look(mp__dispatch *d)
{
    uint64_t now = mp__core_now(d->core);
    if (mp__dispatch_look_at(d) > now)
        return false;
    d->backend->look(d->workers);
    d->looked_at = now;
    return true;
}

/* At its end. */
static void plan_look(mp__dispatch *d, bool looked, bool results)
{
    uint64_t last = mp__looking_times.last_ns;
    if (!looked && !results)
        return;
    d->look_wait = results ? mp__looking_times.first_ns : 2 * d->look_wait < last ? 2 * d->look_wait : last;
    d->look_at = mp__core_now(d->core) + d->look_wait;
    if (d->look_at > d->looked_at + last)
        d->look_at = d->looked_at + last;
}

/* --- actions ----------------------------------------------------------------------------------------------------------- */

/* Until the slot's way is full or it has everything. */
static void send_items(mp__dispatch *d, uint32_t slot)
{
    mp__core_item item;
    while (d->backend->room(d->workers, slot) && mp__core_unsent(d->core, slot, &item)) {
        do {
            mp__job *job = job_of(item.job);
            mp__item sent = {.job = job, .task = job->core.task, .index = item.index};
            job->kind->locate(job, item.index, &sent.value, &sent.out);
            d->backend->send(d->workers, slot, &sent);
            mp__core_sent(d->core, slot);
        } while (d->backend->room(d->workers, slot) && mp__core_unsent(d->core, slot, &item));
        d->backend->flush(d->workers, slot);
    }
    d->backend->flush(d->workers, slot);
}

void mp__dispatch_why(const mp__dispatch *d, mp_status status, mp_error *error)
{
    if (status == MP_ECRASHED || status == MP_ELOST)
        *error = d->blame;
    else if (status == MP_ECLOSED)
        mp__failure(error, status, "the pool was closed or terminated: open another one");
    else if (status == MP_ELIMIT)
        mp__failure(error, status, "these are more items than a pool can count: open another one");
    else
        mp__failure(error, status, "%s", mp_status_text(status));
    error->status = status;
    if (status == MP_ELOST)
        snprintf(error->message, sizeof error->message, "the item ran, but its result was lost: %.200s", d->blame.message);
    if (status == MP_EBROKEN && d->trouble.message[0]) {
        error->os_error = d->trouble.os_error;
        snprintf(error->message, sizeof error->message, "%s: %.250s",
                 d->fragile.by_initializer ? "the executor is broken" : "no worker is left and none can be started",
                 d->trouble.message);
    }
}

static void fail_items(mp__dispatch *d, const mp__core_action *action)
{
    mp__job *job = job_of(action->job);
    mp_error error;
    mp__dispatch_why(d, action->status, &error);
    mp__job_fail(job, action->first, action->count, &error);
    d->failed += action->count;
}

static void start_worker(mp__dispatch *d, const mp__core_action *action)
{
    d->measures[action->slot] = (mp__measure){0};
    d->backend->start(d->workers, action->slot, action->generation, action->place);
}

static void recall_items(mp__dispatch *d, const mp__core_action *action)
{
    if (d->backend->recall)
        d->backend->recall(d->workers, action->slot);
    else
        mp__core_recalled(d->core, action->slot, action->generation, MP__UNKNOWN);
}

void mp__dispatch_act(mp__dispatch *d)
{
    mp__core_action action;
    while (mp__core_next(d->core, &action))
        switch (action.kind) {
        case MP__ACT_FAIL: fail_items(d, &action); break;
        case MP__ACT_DONE: job_of(action.job)->kind->done(job_of(action.job)); break;
        case MP__ACT_START: start_worker(d, &action); break;
        case MP__ACT_SEND: send_items(d, action.slot); break;
        case MP__ACT_RECALL: recall_items(d, &action); break;
        case MP__ACT_CANCEL: d->backend->cancel(d->workers, action.slot); break;
        case MP__ACT_STOP: d->backend->stop(d->workers, action.slot); break;
        case MP__ACT_KILL: d->backend->kill(d->workers, action.slot, action.hard); break;
        case MP__ACT_NONE: break;
        }
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static void measure(mp__dispatch *d, const mp__event *event, size_t items, const mp__core_job *job)
{
    mp__measure *measure = &d->measures[event->slot];
    measure->items += items;
    if (event->busy_ns <= measure->busy_ns)
        return;
    mp__core_measured(d->core, job, measure->items, event->busy_ns - measure->busy_ns);
    measure->items = 0;
    measure->busy_ns = event->busy_ns;
}

/* The next result: of how many items it is; 0: of none. */
static size_t next_result(mp__dispatch *d, const mp__event *event, size_t count, mp__core_item *item)
{
    bool nonsense;
    size_t got = mp__core_results(d->core, event->slot, event->generation, count, item, &nonsense);
    if (!got && nonsense)
        mp__core_condemn(d->core, event->slot, event->generation);
    if (got)
        measure(d, event, got, item->job);
    return got;
}

static void take_in_place(mp__dispatch *d, const mp__event *event)
{
    mp__core_item item;
    size_t got;
    for (size_t left = event->count; left; left -= got) {
        got = next_result(d, event, left, &item);
        if (!got)
            return;
        mp__job *job = job_of(item.job);
        job->kind->ended(job, item.index, got, NULL, MP__BYTES_UNKNOWN);
        d->succeeded += got;
    }
}

static void take_result(mp__dispatch *d, mp__event *event)
{
    mp__core_item item;
    if (event->count) {
        take_in_place(d, event);
        return;
    }
    if (!next_result(d, event, 1, &item))
        return;
    mp__job *job = job_of(item.job);
    bool failed = true;
    if (event->frame)
        failed = mp__job_store(job, item.index, event->frame, event->error) != MP_OK;
    else
        mp__job_fail(job, item.index, 1, event->error);
    d->failed += failed;
    d->succeeded += !failed;
}

/* Once the pool is given up, what came before that stays the reason. */
static void note_trouble(mp__dispatch *d, mp__core_state state, const mp_error *error)
{
    if (state == MP__RUNNING || state == MP__CLOSED)
        d->trouble = *error;
}

/* The pool is given up for what has just been noted, if it is to be. */
static void break_for(mp__dispatch *d, bool initializer)
{
    if (!(initializer ? d->fragile.by_initializer : d->fragile.by_crash))
        return;
    mp__dispatch_act(d); /* whoever is to blame has its own end */
    mp__core_break(d->core);
}

static void bury(mp__dispatch *d, const mp__event *event)
{
    uint64_t lost = mp__core_get_counts(d->core).lost;
    mp__core_state state = mp__core_get_state(d->core);
    d->blame = *event->error;
    mp__core_lost(d->core, event->slot, event->generation, event->started);
    bool unasked = mp__core_get_counts(d->core).lost > lost;
    if (unasked) { /* one that leaves because it was told to is no trouble */
        note_trouble(d, state, event->error);
        break_for(d, d->has_initializer && !d->measures[event->slot].ready);
    }
    mp__dispatch_act(d); /* now, while `blame` is this life's */
}

/* For want of memory or processes it may go better the next time. */
static void start_failed(mp__dispatch *d, const mp__event *event)
{
    note_trouble(d, mp__core_get_state(d->core), event->error);
    mp__core_start_failed(d->core, event->slot, event->generation);
    if (event->error->status != MP_ENOMEM && event->error->status != MP_ESYSTEM)
        break_for(d, true);
}

static void become_ready(mp__dispatch *d, const mp__event *event)
{
    d->measures[event->slot].ready = true;
    mp__core_ready(d->core, event->slot, event->generation);
}

static void handle(mp__dispatch *d, mp__event *event)
{
    switch (event->kind) {
    case MP__EV_GREETED: mp__core_greeted(d->core, event->slot, event->generation); break;
    case MP__EV_READY: become_ready(d, event); break;
    case MP__EV_RESULT: take_result(d, event); break;
    case MP__EV_WRITABLE: send_items(d, event->slot); break;
    case MP__EV_RECALLED: mp__core_recalled(d->core, event->slot, event->generation, event->started); break;
    case MP__EV_LOST: bury(d, event); break;
    case MP__EV_NONSENSE: mp__core_condemn(d->core, event->slot, event->generation); break;
    case MP__EV_START_FAILED: start_failed(d, event); break;
    case MP__EV_BROKEN:
        note_trouble(d, mp__core_get_state(d->core), event->error);
        mp__core_break(d->core);
        break;
    }
}

mp_status mp__dispatch_submit(mp__dispatch *d, mp__job *job, mp_error *error)
{
    mp__core_time(d->core, mp__now());
    mp_status status = mp__core_submit(d->core, &job->core);
    if (status)
        mp__dispatch_why(d, status, error);
    return status;
}

bool mp__dispatch_runs(mp__dispatch *d, const mp__job *job, size_t index)
{
    uint32_t slot;
    uint64_t ordinal;
    return mp__core_find(d->core, &job->core, index, &slot, &ordinal) && d->backend->started(d->workers, slot) >= ordinal;
}

/* The answer to a recall is there at once; whoever drives may find nothing more of it. */
void mp__dispatch_look(mp__dispatch *d)
{
    if (d->ended) /* there is nobody to hear from any more */
        return;
    mp__dispatch_act(d);
    mp__dispatch_turn(d);
    mp__dispatch_acted(d);
}

void mp__dispatch_revoke(mp__dispatch *d, mp__job *job)
{
    mp__core_time(d->core, mp__now());
    mp__core_cancel(d->core, &job->core);
    mp__dispatch_look(d);
}

mp__core *mp__dispatch_core(mp__dispatch *d)
{
    return d->core;
}

void mp__dispatch_turn(mp__dispatch *d)
{
    mp__event event;
    unsigned handled = 0;
    bool results = false;
    mp__core_time(d->core, mp__now());
    bool looked = begin_look(d);
    while (d->backend->next(d->workers, &event)) {
        results |= event.kind == MP__EV_RESULT;
        handle(d, &event);
        if (++handled % EVENTS_BEFORE_ACTIONS == 0) {
            mp__core_time(d->core, mp__now());
            mp__dispatch_act(d);
        }
    }
    plan_look(d, looked, results);
    mp__dispatch_act(d);
    while (mp__streams_feed(d))
        mp__dispatch_act(d);
    if (mp__core_get_state(d->core) == MP__ENDED && !d->ended) {
        d->ended = true;
        pthread_cond_broadcast(&d->ended_now);
    }
}
