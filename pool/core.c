/* The core's events, and the state of the whole. core.h says what it is; core_slots.c knows lives and places, core_items.c moves
 * items, plan.c decides who gets what.
 *
 * Runs under the pool's lock, on whichever thread has an event; takes none itself. What it needs was allocated before; only items that
 * are to be run again may need more.
 *
 * Happy path: submit queues a job, plan hands its items out, mp__core_results takes them off the front of their worker, and the
 * last one makes the job done. Failure: mp__core_lost gives the started item its status and puts the rest back in front; a place
 * whose lives come to nothing waits longer each time, and when all are like that the core is broken. */
#include "pool/core_state.h"
#include <assert.h>

mp__slot *mp__slot_of(mp__core *core, uint32_t index, uint32_t generation)
{
    if (index < core->slot_count && slot_alive(core->slots[index]) && core->slots[index]->generation == generation)
        return core->slots[index];
    core->counts.stale++;
    return NULL;
}

/* The same, if it is in this state. */
static mp__slot *slot_in(mp__core *core, uint32_t index, uint32_t generation, mp__slot_state state)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot || slot->state == state)
        return slot;
    core->counts.stale++;
    return NULL;
}

/* --- the whole --------------------------------------------------------------------------------------------------------- */

static const bool core_edges[MP__ENDED + 1][MP__ENDED + 1] = {
    [MP__RUNNING] = {[MP__CLOSED] = true, [MP__BROKEN] = true, [MP__TERMINATED] = true},
    [MP__CLOSED] = {[MP__TERMINATED] = true, [MP__ENDED] = true},
    [MP__BROKEN] = {[MP__TERMINATED] = true},
    [MP__TERMINATED] = {[MP__ENDED] = true},
};

static void core_enter(mp__core *core, mp__core_state state)
{
    assert(core_edges[core->state][state]);
    core->state = state;
}

/* Jobs with too many failed items; one may be done meanwhile, which is not told yet. */
static void core_stop_jobs(mp__core *core)
{
    mp__core_job *job;
    while ((job = core->stopping)) {
        core->stopping = job->stopped;
        job->stopping = false;
        mp__job_cancel(core, job, MP_ECANCELLED, false);
    }
}

void mp__core_settle(mp__core *core)
{
    core_stop_jobs(core);
    if (core_wants_workers(core)) {
        if (mp__slots_hopeless(core)) {
            mp__core_break(core);
            return;
        }
        mp__slots_start(core);
        mp__plan_all(core, NULL);
    } else if (core->state == MP__CLOSED) {
        mp__slots_stop(core);
    }
    bool ends = core->state == MP__CLOSED || core->state == MP__TERMINATED;
    if (ends && !core->counts.pending && !core->open && !core->alive)
        core_enter(core, MP__ENDED);
}

/* Where workers can be killed, every item ends now. Else what runs ends as it likes: the rest is taken back, and ends when it
 * has come. */
static void core_abandon(mp__core *core)
{
    if (!core->unkillable)
        mp__items_end_all(core, core->verdict);
    else
        mp__items_end_queues(core, core->verdict);
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = core->slots[i];
        if (!core->unkillable) {
            mp__slot_kill(core, slot, false);
        } else if (slot->state == MP__SLOT_STARTING) {
            mp__slot_unwanted(core, slot);
        } else if (slot->state == MP__SLOT_READY) {
            mp__slot_retire(core, slot);
        } else if (slot->state == MP__SLOT_RETIRING) {
            mp__slot_purge(core, slot);
            mp__slot_relieved(core, slot);
        }
    }
}

/* The first reason stays the reason. */
static void core_give_up(mp__core *core, mp__core_state state, mp_status verdict)
{
    core_enter(core, state);
    if (!core->verdict) {
        core->verdict = verdict;
        core_abandon(core);
    }
    mp__core_settle(core);
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static void slot_time(mp__core *core, mp__slot *slot)
{
    if (slot->kill_at <= core->now) {
        if (slot->state == MP__SLOT_KILLED || slot->state == MP__SLOT_DOOMED) {
            slot->kill_at = MP__NEVER; /* the second asking is SIGKILL, and there is no third */
            mp__slot_want(core, slot, MP__ACT_KILL);
        } else {
            mp__slot_kill(core, slot, true);
        }
    }
    if (slot_works(slot))
        mp__overdue_time(core, slot);
    if (slot->purge_at <= core->now && !slot->asked) {
        mp__slot_purge(core, slot);
        mp__slot_relieved(core, slot);
    }
}

void mp__core_time(mp__core *core, uint64_t now)
{
    if (now > core->now)
        core->now = now;
    if (mp__core_deadline(core) > core->now)
        return;
    for (uint32_t i = 0; i < core->slot_count; i++)
        slot_time(core, core->slots[i]);
    mp__jobs_time(core);
    mp__core_settle(core);
}

/* While there is no empty slot, an end of a life is waited for. */
static uint64_t next_start(const mp__core *core)
{
    uint64_t soonest = MP__NEVER;
    if (!core_wants_workers(core) || core->held == core->counts.wanted || core->alive == core->slot_count)
        return soonest;
    for (uint32_t i = 0; i < core->counts.wanted; i++)
        if (!core->places[i].holder && core->places[i].start_at < soonest)
            soonest = core->places[i].start_at;
    return soonest;
}

uint64_t mp__core_deadline(const mp__core *core)
{
    uint64_t soonest = mp__plan_deadline(core), start = next_start(core), jobs = mp__jobs_due(core);
    if (start < soonest)
        soonest = start;
    if (jobs < soonest)
        soonest = jobs;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        uint64_t purge = slot->asked ? MP__NEVER : slot->purge_at, due = slot->kill_at < purge ? slot->kill_at : purge;
        if (slot->watch.at < due)
            due = slot->watch.at;
        if (slot->overdue.end_at < due)
            due = slot->overdue.end_at;
        if (due < soonest)
            soonest = due;
    }
    return soonest;
}

uint64_t mp__core_now(const mp__core *core)
{
    return core->now;
}

/* So many items more in a job. */
static void core_accept(mp__core *core, mp__core_job *job, size_t count)
{
    job->pending += count;
    job->waiting += count;
    core->counts.accepted += count;
    core->counts.pending += count;
    if (job->pin > core->counts.wanted)
        mp__items_end_waiting(core, job, MP_ECANCELLED);
    else if (job->waiting)
        mp__plan_enqueue(core, job);
}

mp_status mp__core_add(mp__core *core, mp__core_job *job)
{
    assert(job->task < core->task_count);
    assert(!job->pin || (job->n == 1 && !job->open));
    assert(!job->calls || !(job->open || job->pin || job->deadline || job->stop_at));
    if (core->state == MP__BROKEN)
        return MP_EBROKEN;
    if (core->state != MP__RUNNING)
        return MP_ECLOSED;
    if (job->n > UINT64_MAX - core->counts.accepted)
        return MP_ELIMIT;
    if (!job->n && !job->open)
        return MP_OK;
    *job = (mp__core_job){.n = job->n,
                          .chunksize = job->chunksize,
                          .task = job->task,
                          .pin = job->pin,
                          .open = job->open,
                          .calls = job->calls,
                          .patient = job->patient,
                          .quiet = job->quiet,
                          .timeout_ns = job->timeout_ns,
                          .grace_ns = job->grace_ns ? job->grace_ns : MP__GRACE_NS,
                          .deadline = job->deadline,
                          .retries = job->retries,
                          .retry_on = job->retry_on,
                          .retry_ns = job->retry_ns,
                          .stop_at = job->stop_at};
    job->number = core->next_number;
    core->next_number += job->calls ? job->n : 1;
    core->open += job->open;
    mp__job_begin_time(core, job);
    core_accept(core, job, job->n);
    if (job->deadline && job->deadline <= core->now)
        mp__core_cancel(core, job, MP_ETIMEDOUT, true);
    return MP_OK;
}

void mp__core_plan(mp__core *core)
{
    mp__plan_all(core, NULL);
}

mp_status mp__core_submit(mp__core *core, mp__core_job *job)
{
    mp_status status = mp__core_add(core, job);
    if (!status)
        mp__core_plan(core);
    return status;
}

uint64_t mp__core_queued(const mp__core *core)
{
    return core->queued;
}

void mp__core_expect(mp__core *core, uint64_t calls)
{
    core->expected = calls;
}

mp_status mp__core_extend(mp__core *core, mp__core_job *job, size_t count)
{
    assert(job->open);
    if (job->cancelled)
        return job->verdict;
    if (core->verdict)
        return core->verdict;
    if (count > SIZE_MAX - job->n || count > UINT64_MAX - core->counts.accepted)
        return MP_ELIMIT;
    job->n += count;
    if (!job->waiting)
        mp__plan_let_pass(core, job);
    core_accept(core, job, count);
    mp__core_plan(core);
    return MP_OK;
}

void mp__core_seal(mp__core *core, mp__core_job *job)
{
    assert(job->open);
    job->open = false;
    core->open--;
    if (!job->pending)
        mp__items_done(core, job);
    mp__core_settle(core);
}

mp_status mp__core_resize(mp__core *core, uint32_t workers)
{
    assert(workers > 0);
    if (core->state != MP__RUNNING)
        return core->state == MP__BROKEN ? MP_EBROKEN : MP_ECLOSED;
    if (!mp__core_grow(core, workers))
        return MP_ENOMEM;
    uint32_t before = core->counts.wanted;
    core->counts.wanted = workers;
    core->held = 0;
    for (uint32_t i = 0; i < core->place_count; i++)
        if (i < workers)
            core->held += core->places[i].holder != NULL;
        else
            mp__items_end_queue(core, &core->places[i].pinned, MP_ECANCELLED);
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = core->slots[i];
        if (slot->state == MP__SLOT_READY && slot_surplus(core, slot))
            mp__slot_retire(core, slot);
        else if (slot->state == MP__SLOT_STARTING && slot_surplus(core, slot))
            mp__slot_unwanted(core, slot);
        else if (slot->state == MP__SLOT_STARTING && slot->place >= before) /* it is wanted again */
            mp__slot_patience(core, slot);
    }
    mp__core_settle(core);
    return MP_OK;
}

uint32_t mp__core_slots(const mp__core *core)
{
    return core->slot_count;
}

void mp__core_close(mp__core *core)
{
    if (core->state == MP__BROKEN)
        mp__core_terminate(core);
    if (core->state != MP__RUNNING)
        return;
    core_enter(core, MP__CLOSED);
    mp__core_settle(core);
}

void mp__core_terminate(mp__core *core)
{
    if (core->state != MP__TERMINATED && core->state != MP__ENDED)
        core_give_up(core, MP__TERMINATED, MP_ETERMINATED);
}

void mp__core_kill(mp__core *core)
{
    mp__core_terminate(core);
    for (uint32_t i = 0; i < core->slot_count && !core->unkillable; i++) {
        mp__slot *slot = core->slots[i];
        if (slot->state != MP__SLOT_KILLED || slot->kill_at == MP__NEVER)
            continue;
        slot->kill_at = MP__NEVER;
        mp__slot_want(core, slot, MP__ACT_KILL);
    }
}

void mp__core_break(mp__core *core)
{
    if (core->state == MP__RUNNING || core->state == MP__CLOSED)
        core_give_up(core, core->state == MP__RUNNING ? MP__BROKEN : MP__TERMINATED, MP_EBROKEN);
}

/* Unless it is not wanted any more: then its time runs. */
void mp__core_greeted(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = slot_in(core, index, generation, MP__SLOT_STARTING);
    if (!slot)
        return;
    slot->greeted = true;
    if (core_wants_workers(core) && !slot_surplus(core, slot))
        mp__slot_patience(core, slot);
}

void mp__core_ready(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = slot_in(core, index, generation, MP__SLOT_STARTING); /* else it was killed meanwhile */
    if (!slot)
        return;
    mp__slot_ready(core, slot);
    mp__core_settle(core);
}

/* Settles only at the end: what the life gave back may go to a worker that takes this very slot. */
void mp__core_start_failed(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot)
        return;
    mp__slot_end(core, slot, slot_started(slot, 0));
    mp__core_settle(core);
}

void mp__core_lost(mp__core *core, uint32_t index, uint32_t generation, uint64_t started)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot)
        return;
    core->counts.lost += slot->state == MP__SLOT_STARTING || slot_works(slot); /* else it was wanted */
    mp__slot_end(core, slot, slot_started(slot, started));
    mp__core_settle(core);
}

void mp__core_vanished(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot)
        return;
    core->counts.lost += slot->state == MP__SLOT_STARTING || slot_works(slot);
    mp__slot_vanish(core, slot);
    mp__core_settle(core);
}

void mp__core_condemn(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot || slot->state == MP__SLOT_KILLED)
        return;
    if (core->unkillable) {
        core->counts.stale++;
        return;
    }
    core->counts.lost += slot->state != MP__SLOT_DOOMED;
    mp__slot_kill(core, slot, true);
    mp__core_settle(core);
}

void mp__core_spent(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot || slot->state != MP__SLOT_READY)
        return;
    core->counts.recycled++;
    slot->spent = true;
    mp__slot_retire(core, slot);
    mp__core_settle(core);
}

/* The answer to a recall for a purge. What it was sent and keeps has been started, if it could say, and the last of that may be
 * running. */
static void slot_purged(mp__core *core, mp__slot *slot, bool known)
{
    const mp__chunk *last = slot->chunks.tail;
    if (known)
        mp__overdue_alone(core, slot);
    if (known && last && job_unwanted(core, last->job) &&
        (core->verdict || !last->job->quiet || last->job->verdict == MP_EINTERRUPTED))
        mp__slot_want(core, slot, MP__ACT_CANCEL);
    if (known && !mp__slot_stuck(slot)) {
        slot->purge_wait = MP__RECALL_NS;
        slot->purge_at = MP__NEVER;
        return;
    }
    slot->purge_wait = 2 * slot->purge_wait < MP__BACKOFF_MAX_NS ? 2 * slot->purge_wait : MP__BACKOFF_MAX_NS;
    slot->purge_at = core->now + slot->purge_wait;
}

void mp__core_recalled(mp__core *core, uint32_t index, uint32_t generation, uint64_t started)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    bool known = started != MP__UNKNOWN;
    if (!slot)
        return;
    if (!slot->asked || slot_wants(slot, MP__ACT_RECALL)) { /* killed meanwhile, or never asked */
        core->counts.stale++;
        return;
    }
    if (known) /* else what was sent stays with it, though it may never start it */
        slot->sent = slot->started = slot_started(slot, started);
    mp__overdue_look(core, slot);
    slot->kept = slot->sent;
    slot->asked = false;
    mp__items_give_back(core, slot, (size_t)(slot->kept - slot->done));
    slot->moved_at = core->now; /* it has given what it could: not again at once */
    if (slot->purge_at != MP__NEVER || mp__slot_stuck(slot))
        slot_purged(core, slot, known);
    mp__slot_relieved(core, slot);
    mp__plan_all(core, slot);
    if (!core->counts.pending) /* what came back may have ended */
        mp__core_settle(core);
}

/* --- actions ----------------------------------------------------------------------------------------------------------- */

static bool next_wanted(mp__core *core, mp__core_action *action)
{
    static const mp__action_kind order[] = {MP__ACT_KILL, MP__ACT_START, MP__ACT_RECALL, MP__ACT_CANCEL,
                                            MP__ACT_END,  MP__ACT_WATCH, MP__ACT_STOP,   MP__ACT_SEND};
    mp__slot *slot;
    while ((slot = core->wanting_head)) {
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
            if (!slot_wants(slot, order[i]))
                continue;
            slot->wants &= ~(1u << order[i]);
            core->counts.started += order[i] == MP__ACT_START;
            *action = (mp__core_action){.kind = order[i],
                                        .slot = slot->index,
                                        .generation = slot->generation,
                                        .place = slot->place,
                                        .ordinal = slot->overdue.ordinal,
                                        .hard = order[i] == MP__ACT_KILL && slot->kill_at == MP__NEVER};
            return true;
        }
        core->wanting_head = slot->next_wanting;
        slot->next_wanting = NULL;
        if (!core->wanting_head)
            core->wanting_tail = NULL;
    }
    return false;
}

/* Chunks become spare when ends are told, and with results of workers that take no more: others may idle for want of one. */
static void feed_starved(mp__core *core)
{
    if (!core->starved || core->spare_count <= chunk_reserve(core))
        return;
    core->starved = false;
    mp__plan_all(core, NULL);
}

bool mp__core_next(mp__core *core, mp__core_action *action)
{
    if (mp__items_next_end(core, action) || mp__items_next_done(core, action))
        return true;
    feed_starved(core);
    return next_wanted(core, action);
}

/* Nothing while a recall is under way, nor before what runs has been told that nobody waits for it: what comes behind would be
 * told too. */
size_t mp__core_unsent(const mp__core *core, uint32_t index, mp__core_item *item)
{
    const mp__slot *slot = core->slots[index];
    const mp__chunk *chunk = slot->cursor;
    if (slot->state != MP__SLOT_READY || slot->asked || !chunk || chunk->job->cancelled ||
        slot_wants(slot, MP__ACT_CANCEL) || slot->overdue.ordinal)
        return 0;
    *item = (mp__core_item){chunk->job, chunk->first + chunk->count - chunk->unsent, chunk->attempt};
    return chunk->unsent;
}

/* A life holds no more items than it may have, so none of these is one too many. */
void mp__core_sent(mp__core *core, uint32_t index, size_t count)
{
    mp__slot *slot = core->slots[index];
    assert(slot->cursor && count && count <= slot->cursor->unsent);
    slot->sent += count;
    slot->cursor->unsent -= count;
    if (slot->cursor->job->timeout_ns)
        mp__slot_watch(core, slot, slot->cursor->job);
    if (!slot->cursor->unsent)
        slot->cursor = slot->cursor->next;
    if (slot->sent != core->life_items)
        return;
    core->counts.recycled++;
    mp__slot_retire(core, slot);
    mp__core_settle(core);
}

/* Also of a life that is being killed: what it has begun is not to be taken for what never did, though its results do not count. */
bool mp__core_find(const mp__core *core, const mp__core_job *job, size_t index, uint32_t *found, uint64_t *ordinal)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = core->slots[i];
        uint64_t before = slot->done;
        for (const mp__chunk *chunk = slot->chunks.head; chunk; chunk = chunk->next) {
            size_t sent = chunk->count - chunk->unsent;
            if (chunk->job == job && index >= chunk->first && index - chunk->first < sent) {
                *found = i;
                *ordinal = before + (index - chunk->first) + 1;
                return true;
            }
            before += sent;
        }
    }
    return false;
}

mp__core_state mp__core_get_state(const mp__core *core)
{
    return core->state;
}

mp__core_counts mp__core_get_counts(const mp__core *core)
{
    return core->counts;
}

bool mp__core_all_ready(const mp__core *core)
{
    return core->takers == core->counts.wanted;
}

uint32_t mp__core_place(const mp__core *core, uint32_t index)
{
    return core->slots[index]->place;
}
