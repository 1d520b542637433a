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

/* --- actions ----------------------------------------------------------------------------------------------------------- */

/* Until the slot's way is full or it has everything. */
static void send_items(mp__dispatch *d, uint32_t slot)
{
    mp__core_item item;
    while (d->backend->room(d->workers, slot) && mp__core_unsent(d->core, slot, &item)) {
        do {
            const mp__job *job = job_of(item.job);
            d->backend->send(
                d->workers, slot,
                &(mp__item){.job = job, .task = job->core.task, .index = item.index, .value = job_item(job, item.index)});
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
    else
        mp__failure(error, status, "%s", mp_status_text(status));
    error->status = status;
    if (status == MP_ELOST)
        snprintf(error->message, sizeof error->message, "the item ran, but its result was lost: %.200s", d->blame.message);
    if (status == MP_EBROKEN && d->trouble.message[0]) {
        error->os_error = d->trouble.os_error;
        snprintf(error->message, sizeof error->message, "no worker is left and none can be started: %.250s",
                 d->trouble.message);
    }
}

static void fail_items(mp__dispatch *d, const mp__core_action *action)
{
    mp__job *job = job_of(action->job);
    mp_error error;
    mp__dispatch_why(d, action->status, &error);
    for (size_t i = 0; i < action->count; i++)
        mp__job_fail(job, action->first + i, &error);
    d->failed += action->count;
}

/* The caller may free the job as soon as it has seen `done`: nothing of it is touched afterwards. */
static void finish_job(mp__job *job)
{
    job->done = true;
    pthread_cond_signal(&job->finished);
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
        case MP__ACT_DONE: finish_job(job_of(action.job)); break;
        case MP__ACT_START: start_worker(d, &action); break;
        case MP__ACT_SEND: send_items(d, action.slot); break;
        case MP__ACT_RECALL: recall_items(d, &action); break;
        case MP__ACT_CANCEL: break;
        case MP__ACT_STOP: d->backend->stop(d->workers, action.slot); break;
        case MP__ACT_KILL: d->backend->kill(d->workers, action.slot, action.hard); break;
        case MP__ACT_NONE: break;
        }
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static void measure(mp__dispatch *d, const mp__event *event, const mp__core_job *job)
{
    mp__measure *measure = &d->measures[event->slot];
    measure->items++;
    if (event->busy_ns <= measure->busy_ns)
        return;
    mp__core_measured(d->core, job, measure->items, event->busy_ns - measure->busy_ns);
    *measure = (mp__measure){.busy_ns = event->busy_ns};
}

static void take_result(mp__dispatch *d, mp__event *event)
{
    mp__core_item item;
    bool nonsense;
    if (!mp__core_result(d->core, event->slot, event->generation, &item, &nonsense)) {
        if (nonsense)
            mp__core_condemn(d->core, event->slot, event->generation);
        return;
    }
    mp__job *job = job_of(item.job);
    measure(d, event, item.job);
    bool failed = true;
    if (event->frame)
        failed = mp__job_store(job, item.index, event->frame, event->error) != MP_OK;
    else
        mp__job_fail(job, item.index, event->error);
    d->failed += failed;
    d->succeeded += !failed;
}

/* Once the pool is given up, what came before that stays the reason. */
static void note_trouble(mp__dispatch *d, const mp_error *error)
{
    mp__core_state state = mp__core_get_state(d->core);
    if (state == MP__RUNNING || state == MP__CLOSED)
        d->trouble = *error;
}

static void bury(mp__dispatch *d, const mp__event *event)
{
    d->blame = *event->error;
    note_trouble(d, event->error);
    mp__core_lost(d->core, event->slot, event->generation, event->started);
    mp__dispatch_act(d); /* now, while `blame` is this life's */
}

static void handle(mp__dispatch *d, mp__event *event)
{
    switch (event->kind) {
    case MP__EV_GREETED: break;
    case MP__EV_READY: mp__core_ready(d->core, event->slot, event->generation); break;
    case MP__EV_RESULT: take_result(d, event); break;
    case MP__EV_WRITABLE: send_items(d, event->slot); break;
    case MP__EV_RECALLED: mp__core_recalled(d->core, event->slot, event->generation, event->started); break;
    case MP__EV_LOST: bury(d, event); break;
    case MP__EV_NONSENSE: mp__core_condemn(d->core, event->slot, event->generation); break;
    case MP__EV_START_FAILED:
        note_trouble(d, event->error);
        mp__core_start_failed(d->core, event->slot, event->generation);
        break;
    case MP__EV_BROKEN:
        note_trouble(d, event->error);
        mp__core_break(d->core);
        break;
    }
}

void mp__dispatch_turn(mp__dispatch *d)
{
    mp__event event;
    unsigned handled = 0;
    mp__core_time(d->core, mp__now());
    while (d->backend->next(d->workers, &event)) {
        handle(d, &event);
        if (++handled % EVENTS_BEFORE_ACTIONS == 0) {
            mp__core_time(d->core, mp__now());
            mp__dispatch_act(d);
        }
    }
    mp__dispatch_act(d);
    if (mp__core_get_state(d->core) == MP__ENDED && !d->ended) {
        d->ended = true;
        pthread_cond_broadcast(&d->ended_now);
    }
}
