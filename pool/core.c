/* The core's events and states. core.h says what it is; core_items.c moves items, plan.c decides who gets what.
 *
 * Runs under the pool's lock, on whichever thread has an event; takes none itself. Everything it needs was allocated at create.
 *
 * Happy path: submit queues a job, plan hands its items out, mp__core_result takes them off the front of their worker one by
 * one, and the last one makes the job done. Failure: mp__core_lost gives the started item its status and puts the rest back in
 * front; a slot whose lives come to nothing waits longer each time, and when all are like that the core is broken. */
#include "pool/core_state.h"
#include "serial/memory.h"
#include <assert.h>

enum { CHUNKS_PER_SLOT = 32 };

/* --- slots ------------------------------------------------------------------------------------------------------------- */

/* The edges of core.h's diagram; slot_enter is the only writer of a slot's state. */
static const bool slot_edges[MP__SLOT_STATES][MP__SLOT_STATES] = {
    [MP__SLOT_EMPTY] = {[MP__SLOT_STARTING] = true},
    [MP__SLOT_STARTING] = {[MP__SLOT_READY] = true, [MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_READY] = {[MP__SLOT_STOPPING] = true, [MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_STOPPING] = {[MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_KILLED] = {[MP__SLOT_EMPTY] = true},
};

/* Nobody is asked or waited for any more as the old state was: a slot that wants nothing leaves that list when its turn comes. */
static void slot_enter(mp__core *core, mp__slot *slot, mp__slot_state state)
{
    assert(slot_edges[slot->state][state]);
    if (slot->state == MP__SLOT_READY)
        core->counts.ready--;
    if (state == MP__SLOT_READY)
        core->counts.ready++;
    if (slot->cut)
        mp__chunk_put(core, slot->cut);
    slot->cut = NULL;
    slot->kill_at = MP__NEVER;
    slot->wants = 0;
    slot->state = state;
}

void mp__slot_want(mp__core *core, mp__slot *slot, mp__action_kind kind)
{
    slot->wants |= 1u << kind;
    if (slot->next_wanting || core->wanting_tail == slot)
        return;
    if (core->wanting_tail)
        core->wanting_tail->next_wanting = slot;
    else
        core->wanting_head = slot;
    core->wanting_tail = slot;
}

/* STARTING, and nobody has been told yet. */
static bool slot_unborn(const mp__slot *slot)
{
    return slot->state == MP__SLOT_STARTING && slot->wants & 1u << MP__ACT_START;
}

/* The slot, if this is the life it is in; late events are counted. */
static mp__slot *slot_of(mp__core *core, uint32_t index, uint32_t generation)
{
    if (index < core->slot_count && slot_alive(&core->slots[index]) && core->slots[index].generation == generation)
        return &core->slots[index];
    core->counts.stale++;
    return NULL;
}

/* What a worker says it has started cannot be less than what is known, nor more than it was sent. */
static uint64_t slot_started(const mp__slot *slot, uint64_t claimed)
{
    uint64_t least = slot->started > slot->done ? slot->started : slot->done;
    return claimed < least ? least : claimed > slot->sent ? slot->sent : claimed;
}

/* `hard`: without asking first. One that was asked is not asked again; its time runs. */
static void slot_kill(mp__core *core, mp__slot *slot, bool hard)
{
    if (!slot_alive(slot) || slot->state == MP__SLOT_KILLED)
        return;
    if (slot_unborn(slot)) {
        slot_enter(core, slot, MP__SLOT_EMPTY);
        return;
    }
    slot_enter(core, slot, MP__SLOT_KILLED);
    slot->kill_at = hard ? MP__NEVER : core->now + MP__GRACE_NS;
    mp__slot_want(core, slot, MP__ACT_KILL);
}

static uint64_t backoff(uint32_t failures)
{
    if (failures < 2)
        return 0;
    uint64_t wait = (uint64_t)MP__BACKOFF_NS << (failures < 12 ? failures - 2 : 10);
    return wait < MP__BACKOFF_MAX_NS ? wait : MP__BACKOFF_MAX_NS;
}

/* A life has ended that started nothing. One that was ready and had nothing to do may have died of something else: it makes the
 * slot wait, so that a worker that always dies is not started in a circle, but it is no reason to give up; and none at all to
 * wait if it was well for a while. */
static void slot_count_failure(const mp__core *core, mp__slot *slot)
{
    bool idle = slot->state == MP__SLOT_READY && !slot->items;
    if (idle && core->now - slot->moved_at >= MP__BACKOFF_MAX_NS)
        slot->failures = 0;
    else if (slot->failures < MP__FAILURES_MAX - 1 || !idle)
        slot->failures++;
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

/* Every item ends with `status`, every worker is killed. */
static void core_abandon(mp__core *core, mp_status status)
{
    mp__items_end_all(core, status);
    for (uint32_t i = 0; i < core->slot_count; i++)
        slot_kill(core, &core->slots[i], false);
}

static bool core_wants_workers(const mp__core *core)
{
    return core->state == MP__RUNNING || (core->state == MP__CLOSED && core->counts.pending);
}

/* True if no worker is there and every slot has failed too often: waiting longer helps nobody who waits for a result. Slots
 * that are being started once more count as failed: with many of them there is always one. */
static bool core_hopeless(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = &core->slots[i];
        if ((slot->state != MP__SLOT_EMPTY && slot->state != MP__SLOT_STARTING) || slot->failures < MP__FAILURES_MAX)
            return false;
    }
    return true;
}

static void core_start_slots(mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = &core->slots[i];
        if (slot_alive(slot) || slot->start_at > core->now)
            continue;
        slot_enter(core, slot, MP__SLOT_STARTING);
        slot->generation++;
        slot->kill_at = core->now + MP__START_NS;
        slot->done = slot->sent = slot->started = slot->kept = 0;
        slot->moved_at = slot->recalled_at = core->now;
        mp__slot_want(core, slot, MP__ACT_START);
    }
}

/* There is nothing more to do. One that is still starting can be told only when it is ready: it has as long for that as it will
 * then have for leaving. */
static void core_stop_slots(mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = &core->slots[i];
        if (slot_unborn(slot)) {
            slot_enter(core, slot, MP__SLOT_EMPTY);
        } else if (slot->state == MP__SLOT_STARTING && slot->kill_at > core->now + MP__GRACE_NS) {
            slot->kill_at = core->now + MP__GRACE_NS;
        } else if (slot->state == MP__SLOT_READY) {
            slot_enter(core, slot, MP__SLOT_STOPPING);
            slot->kill_at = core->now + MP__GRACE_NS;
            mp__slot_want(core, slot, MP__ACT_STOP);
        }
    }
}

static bool core_empty(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (slot_alive(&core->slots[i]))
            return false;
    return true;
}

/* After every event: makes the slots what the state asks for. */
static void core_settle(mp__core *core)
{
    if (core_wants_workers(core)) {
        if (core_hopeless(core)) {
            mp__core_break(core);
            return;
        }
        core_start_slots(core);
        mp__plan_all(core, NULL);
    } else if (core->state == MP__CLOSED) {
        core_stop_slots(core);
    }
    if ((core->state == MP__CLOSED || core->state == MP__TERMINATED) && !core->counts.pending && core_empty(core))
        core_enter(core, MP__ENDED);
}

mp__core *mp__core_create(const mp__core_config *config)
{
    mp__core *core = mp__memory.calloc(1, sizeof *core);
    if (!core)
        return NULL;
    assert(config->workers > 0);
    core->slot_count = config->workers;
    core->task_count = config->tasks ? config->tasks : 1;
    core->memory_count =
        (size_t)config->workers * (config->chunks ? config->chunks : CHUNKS_PER_SLOT) + chunk_reserve(core);
    core->slots = mp__memory.calloc(core->slot_count, sizeof *core->slots);
    core->paces = mp__memory.calloc(core->task_count, sizeof *core->paces);
    core->memory = mp__memory.calloc(core->memory_count, sizeof *core->memory);
    if (!core->slots || !core->paces || !core->memory) {
        mp__core_free(&core);
        return NULL;
    }
    for (size_t i = core->memory_count; i-- > 0;)
        mp__chunk_put(core, &core->memory[i]);
    for (uint32_t i = 0; i < core->slot_count; i++)
        core->slots[i].kill_at = MP__NEVER;
    core_settle(core);
    return core;
}

void mp__core_free(mp__core **core)
{
    if (!*core)
        return;
    free((*core)->slots);
    free((*core)->paces);
    free((*core)->memory);
    free(*core);
    *core = NULL;
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

void mp__core_time(mp__core *core, uint64_t now)
{
    if (now > core->now)
        core->now = now;
    if (mp__core_deadline(core) > core->now)
        return;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = &core->slots[i];
        if (slot->kill_at > core->now)
            continue;
        if (slot->state == MP__SLOT_KILLED) {
            slot->kill_at = MP__NEVER; /* the second asking is SIGKILL, and there is no third */
            mp__slot_want(core, slot, MP__ACT_KILL);
        } else {
            slot_kill(core, slot, true);
        }
    }
    core_settle(core);
}

uint64_t mp__core_deadline(const mp__core *core)
{
    uint64_t soonest = mp__plan_deadline(core);
    bool starts = core_wants_workers(core);
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const mp__slot *slot = &core->slots[i];
        uint64_t due = slot_alive(slot) ? slot->kill_at : starts ? slot->start_at : MP__NEVER;
        if (due < soonest)
            soonest = due;
    }
    return soonest;
}

mp_status mp__core_submit(mp__core *core, mp__core_job *job)
{
    assert(job->task < core->task_count);
    if (core->state == MP__BROKEN)
        return MP_EBROKEN;
    if (core->state != MP__RUNNING)
        return MP_ECLOSED;
    if (job->n > UINT64_MAX - core->counts.accepted)
        return MP_ELIMIT;
    if (!job->n)
        return MP_OK;
    *job = (mp__core_job){.n = job->n, .chunksize = job->chunksize, .task = job->task};
    job->number = core->next_number++;
    job->pending = job->waiting = job->n;
    core->counts.accepted += job->n;
    core->counts.pending += job->n;
    mp__plan_enqueue(core, job);
    mp__plan_all(core, NULL);
    return MP_OK;
}

void mp__core_close(mp__core *core)
{
    if (core->state == MP__BROKEN)
        mp__core_terminate(core);
    if (core->state != MP__RUNNING)
        return;
    core_enter(core, MP__CLOSED);
    core_settle(core);
}

void mp__core_terminate(mp__core *core)
{
    if (core->state == MP__TERMINATED || core->state == MP__ENDED)
        return;
    core_enter(core, MP__TERMINATED);
    core_abandon(core, MP_ETERMINATED);
    core_settle(core);
}

void mp__core_break(mp__core *core)
{
    if (core->state != MP__RUNNING && core->state != MP__CLOSED)
        return;
    core_enter(core, core->state == MP__RUNNING ? MP__BROKEN : MP__TERMINATED);
    core_abandon(core, MP_EBROKEN);
    core_settle(core);
}

void mp__core_ready(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = slot_of(core, index, generation);
    if (!slot)
        return;
    if (slot->state != MP__SLOT_STARTING) { /* killed meanwhile */
        core->counts.stale++;
        return;
    }
    slot_enter(core, slot, MP__SLOT_READY);
    slot->moved_at = core->now;
    core_settle(core);
}

/* A life is over. Settles only at the end: what it gave back may go to a worker that takes this very place. */
static void slot_end_life(mp__core *core, mp__slot *slot, uint64_t claimed)
{
    uint64_t started = slot_started(slot, claimed);
    if (started)
        slot->failures = 0;
    else
        slot_count_failure(core, slot);
    if (started > slot->done && slot->items) { /* not so if they have got another end meanwhile */
        mp__items_end_front(core, slot, (size_t)(started - slot->done - 1), MP_ELOST); /* ran, but the results never came */
        mp__items_end_front(core, slot, 1, MP_ECRASHED);
    }
    mp__items_give_back(core, slot, 0);
    slot_enter(core, slot, MP__SLOT_EMPTY);
    slot->start_at = core->now + backoff(slot->failures);
    core_settle(core);
}

void mp__core_start_failed(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = slot_of(core, index, generation);
    if (slot)
        slot_end_life(core, slot, 0);
}

void mp__core_lost(mp__core *core, uint32_t index, uint32_t generation, uint64_t started)
{
    mp__slot *slot = slot_of(core, index, generation);
    if (!slot)
        return;
    core->counts.lost += slot->state == MP__SLOT_STARTING || slot->state == MP__SLOT_READY; /* else it was wanted */
    slot_end_life(core, slot, started);
}

void mp__core_condemn(mp__core *core, uint32_t index, uint32_t generation)
{
    mp__slot *slot = slot_of(core, index, generation);
    if (!slot || slot->state == MP__SLOT_KILLED)
        return;
    slot_kill(core, slot, true);
    core->counts.lost++;
}

/* Takes one item off the front of a slot that has sent items there. */
static mp__core_item slot_take_front(mp__core *core, mp__slot *slot)
{
    mp__chunk *head = slot->chunks.head;
    mp__core_item item = {head->job, head->first++};
    slot->items--;
    if (!--head->count)
        mp__chunk_free(core, mp__chunks_pop(&slot->chunks));
    return item;
}

bool mp__core_result(mp__core *core, uint32_t index, uint32_t generation, mp__core_item *item, bool *nonsense)
{
    mp__slot *slot = slot_of(core, index, generation);
    *nonsense = slot && slot->state != MP__SLOT_KILLED && slot->done == slot->sent;
    if (!slot)
        return false;
    if (slot->state != MP__SLOT_READY || *nonsense) {
        core->counts.stale++;
        return false;
    }
    *item = slot_take_front(core, slot); /* before the job is told: its own chunk goes with it */
    slot->done++;
    slot->moved_at = core->now;
    mp__items_finished(core, item->job, 1);
    if (mp__plan_hungry(core, slot))
        mp__plan_slot(core, slot);
    if (!core->counts.pending && core->state == MP__CLOSED)
        core_settle(core);
    return true;
}

void mp__core_measured(mp__core *core, const mp__core_job *job, uint64_t items, uint64_t ns)
{
    if (items)
        mp__plan_measured(core, job->task, items, ns);
}

void mp__core_recalled(mp__core *core, uint32_t index, uint32_t generation, uint64_t started)
{
    mp__slot *slot = slot_of(core, index, generation);
    if (!slot)
        return;
    if (!slot->cut || slot->wants & 1u << MP__ACT_RECALL) { /* killed meanwhile, or never asked */
        core->counts.stale++;
        return;
    }
    if (started != MP__UNKNOWN) /* else what was sent stays with it, though it may never start it */
        slot->sent = slot->started = slot_started(slot, started);
    slot->kept = slot->sent;
    mp__items_give_back(core, slot, (size_t)(slot->kept - slot->done));
    if (slot->cut)
        mp__chunk_put(core, slot->cut);
    slot->cut = NULL;
    slot->moved_at = core->now; /* it has given what it could: not again at once */
    mp__plan_all(core, slot);
}

/* --- actions ----------------------------------------------------------------------------------------------------------- */

static bool next_wanted(mp__core *core, mp__core_action *action)
{
    static const mp__action_kind order[] = {MP__ACT_KILL, MP__ACT_STOP, MP__ACT_START, MP__ACT_RECALL, MP__ACT_SEND};
    mp__slot *slot;
    while ((slot = core->wanting_head)) {
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
            if (!(slot->wants & 1u << order[i]))
                continue;
            slot->wants &= ~(1u << order[i]);
            core->counts.started += order[i] == MP__ACT_START;
            *action = (mp__core_action){.kind = order[i],
                                        .slot = (uint32_t)(slot - core->slots),
                                        .generation = slot->generation,
                                        .place = (uint32_t)(slot - core->slots),
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

bool mp__core_next(mp__core *core, mp__core_action *action)
{
    return mp__items_next_end(core, action) || mp__items_next_done(core, action) || next_wanted(core, action);
}

bool mp__core_unsent(mp__core *core, uint32_t index, mp__core_item *item)
{
    const mp__slot *slot = &core->slots[index];
    if (slot->state != MP__SLOT_READY || slot->cut || !slot->cursor)
        return false;
    const mp__chunk *chunk = slot->cursor;
    *item = (mp__core_item){chunk->job, chunk->first + chunk->count - chunk->unsent};
    return true;
}

void mp__core_sent(mp__core *core, uint32_t index)
{
    mp__slot *slot = &core->slots[index];
    assert(slot->cursor);
    slot->sent++;
    if (!--slot->cursor->unsent)
        slot->cursor = slot->cursor->next;
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
    return core->counts.ready == core->slot_count;
}
