/* One turn of the engine: what workers say becomes the core's events, what the core asks for becomes calls of the backend.
 *
 * Runs under the lock, on whichever thread drives (driver.c). Never sleeps. A failure that belongs to an item goes to its job;
 * how a worker ended is kept while the items that it takes with it are told, and why one could not be started until the pool
 * is given up for it. */
#include "pool/clock.h"
#include "pool/cpu.h"
#include "pool/dispatch_state.h"
#include "pool/failure.h"
#include "pool/interrupt.h"
#include "pool/output.h"
#include "pool/record.h"
#include <millpond/interrupt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RESULTS_BEFORE_ACTIONS = 512 }; /* so that other workers are fed while one floods us */

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

static bool send_some(mp__dispatch *d, uint32_t slot)
{
    mp__core_item first;
    size_t count = d->backend->room(d->workers, slot) ? mp__core_unsent(d->core, slot, &first) : 0;
    if (!count)
        return false;
    mp__job *job = job_of(first.job);
    mp__items items = {
        .job = job, .task = job->core.task, .attempt = first.attempt, .patient = job->core.patient, .count = count};
    job->kind->locate(job, first.index, &items);
    mp__core_sent(d->core, slot, d->backend->send(d->workers, slot, &items));
    return true;
}

/* Until the slot's way is full or it has everything. */
static void send_items(mp__dispatch *d, uint32_t slot)
{
    while (mp__output_has_room(d) && send_some(d, slot)) {
        while (send_some(d, slot))
            continue;
        d->backend->flush(d->workers, slot);
    }
    d->backend->flush(d->workers, slot);
}

void mp__dispatch_send_all(mp__dispatch *d)
{
    for (uint32_t i = 0; i < d->slots; i++)
        send_items(d, i);
}

/* Else none can be started at all. */
static bool others_work(const mp__dispatch *d)
{
    mp__core_state state = mp__core_get_state(d->core);
    return state == MP__RUNNING || state == MP__CLOSED;
}

void mp__dispatch_why(const mp__dispatch *d, mp_status status, mp_error *error)
{
    if (status == MP_ECRASHED || status == MP_ELOST)
        *error = d->blame;
    else if (status == MP_ECLOSED)
        mp__failure(error, status, "the pool was closed or terminated: open another one");
    else if (status == MP_ELIMIT)
        mp__failure(error, status, "these are more items than a pool can count: open another one");
    else if (status == MP_EINTERRUPTED)
        mp__failure(error, status, "Ctrl-C: the pool takes no more work; see mp_interrupt_clear");
    else
        mp__failure(error, status, "%s", mp_status_text(status));
    error->status = status;
    if (status == MP_ELOST)
        snprintf(error->message, sizeof error->message, "%s: %.200s",
                 d->vanished ? "nobody knows whether the item ran" : "the item ran, but its result was lost",
                 d->blame.message);
    if (status == MP_EBROKEN && d->trouble.message[0]) {
        const char *what = d->fragile.by_initializer ? "the executor is broken"
                           : others_work(d)          ? "its worker is gone and none can be started there"
                                                     : "no worker is left and none can be started";
        error->os_error = d->trouble.os_error;
        snprintf(error->message, sizeof error->message, "%s: %.250s", what, d->trouble.message);
    }
}

/* Why an item that was started has ended by force, or by itself after it was told: `how` is how. */
static void overdue(const mp__job *job, mp_status verdict, const char *how, mp_error *error)
{
    char said[256]; /* `how` may be the error's own message */
    const mp__core_job *core = &job->core;
    snprintf(said, sizeof said, "%.255s", how);
    if (verdict != MP_ETIMEDOUT)
        snprintf(error->message, sizeof error->message, "the item was cancelled while it ran: %s", said);
    else if (core->forced == MP_ETIMEDOUT)
        snprintf(error->message, sizeof error->message, "the deadline of the call was over while the item ran: %s", said);
    else
        snprintf(error->message, sizeof error->message, "the item ran for longer than its .timeout of %g s: %s",
                 (double)core->timeout_ns * 1e-9, said);
    error->status = verdict;
}

/* Items that ended without a result of theirs. */
static void why_ended(const mp__dispatch *d, const mp__core_action *action, mp_error *error)
{
    bool ran = action->slot != MP__NO_SLOT;
    if (ran && (action->status == MP_ETIMEDOUT || action->status == MP_ECANCELLED)) {
        *error = d->blame;
        overdue(job_of(action->job), action->status, d->blame.message, error);
    } else if (action->status == MP_ETIMEDOUT) {
        mp__failure(error, MP_ETIMEDOUT, "the deadline of the call was over before the item started%s",
                    action->attempt ? " again" : "");
    } else {
        mp__dispatch_why(d, action->status, error);
    }
    error->attempt = (int)action->attempt;
}

/* What is worth a record: an end of its own, while it ran; but who has cancelled an item knows why it has ended. */
static void keep_record(mp__job *job, size_t index, const mp__evidence *evidence, mp_error *error)
{
    mp__items place = {.count = 1};
    job->kind->locate(job, index, &place);
    error->item = place.index;
    strcpy(error->task, job->task->name); /* its length was checked when it was registered */
    if (error->status != MP_ECANCELLED)
        mp__record_keep(error, job->task, place.value, evidence);
}

/* Items that were in the life of a worker have a record each. */
static void fail_items(mp__dispatch *d, const mp__core_action *action)
{
    mp__job *job = job_of(action->job);
    bool ran = action->slot != MP__NO_SLOT;
    mp_error error;
    why_ended(d, action, &error);
    for (size_t i = 0; i < action->count && ran; i++) {
        mp_error one = error;
        keep_record(job, action->first + i, d->evidence, &one);
        mp__job_fail(job, action->first + i, 1, &one);
    }
    if (!ran)
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

static void watch_worker(mp__dispatch *d, const mp__core_action *action)
{
    if (d->backend->watch && d->backend->watch(d->workers, action->slot))
        return;
    uint64_t started = d->backend->started(d->workers, action->slot);
    mp__heed heed = d->backend->heeds ? d->backend->heeds(d->workers, action->slot) : MP__HEED_NO;
    mp__core_time(d->core, mp__now()); /* later than what was seen: it had begun by then */
    mp__core_progress(d->core, action->slot, action->generation, started, heed);
}

static void end_item(mp__dispatch *d, const mp__core_action *action)
{
    mp__ending ending = d->backend->end(d->workers, action->slot, action->ordinal);
    if (ending != MP__END_LATER)
        mp__core_ended(d->core, action->slot, action->generation, ending == MP__END_YES);
}

void mp__dispatch_act(mp__dispatch *d)
{
    mp__core_action action;
    mp__driver_tell_busy(d);
    while (mp__core_next(d->core, &action))
        switch (action.kind) {
        case MP__ACT_FAIL: fail_items(d, &action); break;
        case MP__ACT_DONE: job_of(action.job)->kind->done(job_of(action.job)); break;
        case MP__ACT_START: start_worker(d, &action); break;
        case MP__ACT_SEND: send_items(d, action.slot); break;
        case MP__ACT_RECALL: recall_items(d, &action); break;
        case MP__ACT_CANCEL: d->backend->cancel(d->workers, action.slot); break;
        case MP__ACT_WATCH: watch_worker(d, &action); break;
        case MP__ACT_END: end_item(d, &action); break;
        case MP__ACT_STOP: d->backend->stop(d->workers, action.slot); break;
        case MP__ACT_KILL: d->backend->kill(d->workers, action.slot, action.hard); break;
        case MP__ACT_NONE: break;
        }
}

void mp__dispatch_act_and_feed(mp__dispatch *d)
{
    do {
        mp__posted_take(d);
        mp__dispatch_act(d);
        while (mp__streams_feed(d))
            mp__dispatch_act(d);
    } while (mp__posted_look(d));
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

/* It is killed now, as one that is told to; why is noted when it has died of it. */
static void condemn(mp__dispatch *d, const mp__event *event)
{
    uint64_t lost = mp__core_get_counts(d->core).lost;
    mp__core_condemn(d->core, event->slot, event->generation);
    d->measures[event->slot].condemned |= mp__core_get_counts(d->core).lost > lost;
}

/* The next result: of how many items it is; 0: of none. */
static size_t next_result(mp__dispatch *d, const mp__event *event, size_t count, mp__core_item *item)
{
    bool nonsense;
    size_t got = mp__core_results(d->core, event->slot, event->generation, count, item, &nonsense);
    if (!got && nonsense)
        condemn(d, event);
    if (got)
        measure(d, event, got, item->job);
    return got;
}

static void take_frames(mp__dispatch *d, mp__event *event)
{
    mp__core_item item;
    for (size_t left = event->count, got; left; left -= got) {
        got = next_result(d, event, left, &item);
        if (!got)
            return;
        if (left < event->count)
            mp__frame_follow(event->frame);
        size_t failed = mp__job_store(job_of(item.job), item.index, got, event->frame, event->error);
        for (size_t i = 0; i < failed; i++)
            mp__core_spoilt(d->core, item.job);
        d->failed += failed;
        d->succeeded += got - failed;
    }
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

/* It may run again: then nobody hears of it. */
static void take_failure(mp__dispatch *d, mp__event *event)
{
    mp__core_item item;
    bool nonsense;
    mp_error *error = event->error;
    mp_status status = error->status;
    mp__failed end = mp__core_failed(d->core, event->slot, event->generation, &status, event->by_task, &item, &nonsense);
    if (end == MP__FAILED_NONE && nonsense)
        condemn(d, event);
    if (end == MP__FAILED_NONE)
        return;
    measure(d, event, 1, item.job);
    if (end == MP__FAILED_RETRIED)
        return;
    mp__job *job = job_of(item.job);
    if (status != error->status)
        overdue(job, status, error->message, error);
    error->attempt = (int)item.attempt;
    keep_record(job, item.index, event->evidence, error);
    mp__job_fail(job, item.index, 1, error);
    d->failed++;
}

static void take_result(mp__dispatch *d, mp__event *event)
{
    if (event->frame)
        take_frames(d, event);
    else if (event->count)
        take_in_place(d, event);
    else
        take_failure(d, event);
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

/* For want of memory or processes it may go better the next time. */
static bool may_go_better(const mp_error *error)
{
    return error->status == MP_ENOMEM || error->status == MP_ESYSTEM;
}

static void bury(mp__dispatch *d, const mp__event *event)
{
    uint64_t lost = mp__core_get_counts(d->core).lost;
    mp__core_state state = mp__core_get_state(d->core);
    d->blame = *event->error;
    d->evidence = event->evidence;
    d->vanished = event->vanished;
    if (event->evidence)
        mp__output_print(d, event->evidence);
    if (event->vanished)
        mp__core_vanished(d->core, event->slot, event->generation);
    else
        mp__core_lost(d->core, event->slot, event->generation, event->started);
    const mp__measure *life = &d->measures[event->slot];
    if (mp__core_get_counts(d->core).lost > lost ||
        life->condemned) { /* one that leaves because it was told to is no trouble */
        note_trouble(d, state, event->error);
        if (!life->condemned || !may_go_better(event->error))
            break_for(d, d->has_initializer && !life->ready && !event->vanished);
    }
    mp__dispatch_act(d); /* now, while `blame` and `evidence` are this life's */
    d->evidence = NULL;
}

static void start_failed(mp__dispatch *d, const mp__event *event)
{
    note_trouble(d, mp__core_get_state(d->core), event->error);
    mp__core_start_failed(d->core, event->slot, event->generation);
    if (!may_go_better(event->error))
        break_for(d, true);
}

static void become_ready(mp__dispatch *d, const mp__event *event)
{
    d->measures[event->slot].ready = true;
    mp__core_ready(d->core, event->slot, event->generation);
}

static void hear_progress(mp__dispatch *d, const mp__event *event)
{
    mp__core_time(d->core, mp__now()); /* later than what was seen */
    mp__core_progress_since(d->core, event->slot, event->generation, event->started, event->heed, event->asked_at);
}

uint32_t mp__dispatch_part(const mp__dispatch *d, uint32_t workers)
{
    return d->most_cpus ? (uint32_t)(((uint64_t)workers * d->cpus + d->most_cpus - 1) / d->most_cpus) : workers;
}

/* A worker for each CPU; or, where the user has said how many, as large a part of them as is there of all CPUs that have been. Without memory
 * for more of them it stays as it is. */
static void change_workers(mp__dispatch *d, uint32_t cpus)
{
    d->cpus = cpus;
    if (cpus > d->most_cpus)
        d->most_cpus = cpus;
    uint64_t wanted = d->asked_workers ? mp__dispatch_part(d, d->asked_workers) : cpus;
    wanted = wanted < 1 ? 1 : wanted < MP__PROCESSES_MAX ? wanted : MP__PROCESSES_MAX;
    if (wanted != mp__core_get_counts(d->core).wanted)
        (void)mp__dispatch_change(d, (uint32_t)wanted);
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
    case MP__EV_NONSENSE: condemn(d, event); break;
    case MP__EV_START_FAILED: start_failed(d, event); break;
    case MP__EV_SPENT: mp__core_spent(d->core, event->slot, event->generation); break;
    case MP__EV_OUTPUT: mp__output_print(d, event->evidence); break;
    case MP__EV_PROGRESS: hear_progress(d, event); break;
    case MP__EV_ENDED: mp__core_ended(d->core, event->slot, event->generation, event->ended); break;
    case MP__EV_HOSTS: change_workers(d, event->cpus); break;
    case MP__EV_BROKEN:
        note_trouble(d, mp__core_get_state(d->core), event->error);
        mp__core_break(d->core);
        break;
    }
}

mp_status mp__dispatch_admits(mp__dispatch *d, mp_error *error)
{
    mp__driver_mind(d);
    if (!d->minds || !mp_interrupted())
        return MP_OK;
    mp__dispatch_why(d, MP_EINTERRUPTED, error);
    return MP_EINTERRUPTED;
}

mp_status mp__dispatch_take(mp__dispatch *d, mp__job *job, mp_error *error)
{
    mp__posted_flush(d);
    mp__core_time(d->core, mp__now());
    mp_status status = mp__core_submit(d->core, &job->core);
    if (status)
        mp__dispatch_why(d, status, error);
    return status;
}

mp_status mp__dispatch_submit(mp__dispatch *d, mp__job *job, mp_error *error)
{
    mp_status status = mp__dispatch_admits(d, error);
    return status ? status : mp__dispatch_take(d, job, error);
}

bool mp__dispatch_runs(mp__dispatch *d, const mp__job *job, size_t index)
{
    uint32_t slot;
    uint64_t ordinal;
    return mp__core_find(d->core, &job->core, index, &slot, &ordinal) && d->backend->started(d->workers, slot) >= ordinal;
}

bool mp__dispatch_can_end(const mp__dispatch *d)
{
    return d->backend->end;
}

/* The answer to a recall is there at once, or is waited for; whoever drives may find nothing more of it. */
void mp__dispatch_catch_up(mp__dispatch *d)
{
    if (d->ended) /* there is nobody to hear from any more */
        return;
    mp__dispatch_act(d);
    if (d->backend->settle)
        d->backend->settle(d->workers);
    mp__dispatch_turn(d);
    mp__dispatch_acted(d);
}

void mp__dispatch_revoke(mp__dispatch *d, mp__job *job, bool force)
{
    mp__core_time(d->core, mp__now());
    mp__core_cancel(d->core, &job->core, MP_ECANCELLED, force);
    mp__dispatch_catch_up(d);
}

mp__core *mp__dispatch_core(mp__dispatch *d)
{
    return d->core;
}

/* All events that there are, and what follows from them; false: there was none. */
static bool take_events(mp__dispatch *d, bool looked)
{
    mp__event event;
    size_t handled = 0;
    bool results = false, any = false;
    while (d->backend->next(d->workers, &event)) {
        any = true;
        results |= event.kind == MP__EV_RESULT;
        handle(d, &event);
        handled += event.count ? event.count : 1;
        if (handled >= RESULTS_BEFORE_ACTIONS) {
            handled = 0;
            mp__core_time(d->core, mp__now());
            mp__dispatch_act(d);
        }
    }
    plan_look(d, looked, results);
    mp__dispatch_act_and_feed(d);
    if (mp__core_get_state(d->core) == MP__ENDED && !d->ended) {
        d->ended = true;
        pthread_cond_broadcast(&d->ended_now);
    }
    return any;
}

void mp__dispatch_turn(mp__dispatch *d)
{
    mp__core_time(d->core, mp__now());
    (void)take_events(d, begin_look(d));
}

bool mp__dispatch_turn_spun(mp__dispatch *d)
{
    mp__core_time(d->core, mp__now());
    return take_events(d, false);
}
