/* Items that run too long, or that were cancelled by force while they run: how that is seen, and how they are ended.
 *
 * Runs under the pool's lock, as part of the core; owns the slots' `watch` and `overdue`. A slot is watched while it has been sent an
 * item with a time-out. What is seen running twice has run the time between the two looks, of which two ticks count at most: a
 * program that was stopped for an hour does not time its items out for that.
 *
 * Happy path: the item's time is up; its task has never looked whether it is cancelled, so its worker is asked to end (ACT_END),
 * and that is true: the life is DOOMED. What it was sent behind that item goes elsewhere at once, what it had finished still comes,
 * and its loss gives the item its end. A task that looks is told first: by a recall, after which nothing can begin that would
 * be told instead, and ACT_CANCEL; then it has its grace. One that may have had no CPU since it began may be of either sort: it is
 * told, and asked about again, ever more seldom, until it has had one or its grace is over. Where workers cannot be ended that is
 * all. The item that ends by itself at any time before clears the mark; an END that comes too late changes nothing, for the worker compares before it dies. */
#include "pool/core_state.h"
#include <assert.h>

/* --- watching ---------------------------------------------------------------------------------------------------------- */

static uint64_t job_tick(const mp__core_job *job)
{
    uint64_t tick = job->timeout_ns / 16;
    return tick < MP__TICK_MIN_NS ? MP__TICK_MIN_NS : tick > MP__TICK_MAX_NS ? MP__TICK_MAX_NS : tick;
}

/* How often the slot is to be looked at for what it was sent; MP__NEVER: not at all. */
static uint64_t slot_tick(const mp__slot *slot)
{
    uint64_t soonest = slot->overdue.ordinal && !slot->overdue.judged ? slot->overdue.ask_ns : MP__NEVER;
    for (const mp__chunk *chunk = slot->chunks.head; chunk && chunk->unsent < chunk->count; chunk = chunk->next)
        if (chunk->job->timeout_ns && job_tick(chunk->job) < soonest)
            soonest = job_tick(chunk->job);
    return soonest;
}

/* The job of an item that the slot was sent and that has no result. */
static mp__core_job *job_of_ordinal(const mp__slot *slot, uint64_t ordinal)
{
    assert(ordinal > slot->done && ordinal <= slot->sent);
    uint64_t before = ordinal - slot->done - 1;
    const mp__chunk *chunk = slot->chunks.head;
    while (before >= chunk->count) {
        before -= chunk->count;
        chunk = chunk->next;
    }
    return chunk->job;
}

void mp__slot_watch(mp__core *core, mp__slot *slot, const mp__core_job *job)
{
    uint64_t due = core->now + job_tick(job);
    if (due < slot->watch.at)
        slot->watch.at = due;
}

/* `left`: what runs has this much of its time. */
static void watch_again(mp__core *core, mp__slot *slot, uint64_t left)
{
    uint64_t tick = slot_tick(slot);
    slot->watch.at = tick == MP__NEVER ? MP__NEVER : core->now + (left < tick ? left : tick);
}

/* How much of its time the item has left: it was seen running, as its worker's `ordinal`-th, at `asked` or between that and now;
 * 0: none. */
static uint64_t watch_run(mp__core *core, mp__slot *slot, uint64_t ordinal, const mp__core_job *job, uint64_t asked)
{
    uint64_t passed = asked > slot->watch.seen_at ? asked - slot->watch.seen_at : 0, most = 2 * job_tick(job);
    if (slot->watch.ordinal != ordinal)
        slot->watch.ran_ns = 0;
    else
        slot->watch.ran_ns += passed < most ? passed : most;
    slot->watch.ordinal = ordinal;
    slot->watch.seen_at = core->now;
    if (!job->timeout_ns)
        return MP__NEVER;
    return slot->watch.ran_ns < job->timeout_ns ? job->timeout_ns - slot->watch.ran_ns : 0;
}

/* --- overdue ----------------------------------------------------------------------------------------------------------- */

/* Its task looks, or does not: in that case nothing is gained by waiting. Who gets no CPU has its grace too, and a new one when it
 * looks. */
static void overdue_judge(mp__core *core, mp__slot *slot, mp__heed heed)
{
    slot->overdue.judged = core->unkillable || heed != MP__HEED_UNKNOWN;
    if (2 * slot->overdue.ask_ns <= MP__OVERDUE_NS)
        slot->overdue.ask_ns *= 2;
    if (!core->unkillable && heed == MP__HEED_NO)
        mp__slot_want(core, slot, MP__ACT_END);
    else if (!core->unkillable && (heed == MP__HEED_YES || slot->overdue.end_at == MP__NEVER))
        slot->overdue.end_at = core->now + slot->overdue.grace_ns;
    if (!slot->overdue.told && (core->unkillable || heed != MP__HEED_NO))
        mp__slot_purge(core, slot);
}

static void overdue_mark(mp__slot *slot, uint64_t ordinal, const mp__core_job *job, bool timedout)
{
    slot->overdue = (mp__overdue){.ordinal = ordinal,
                                  .status = timedout ? MP_ETIMEDOUT : job->forced,
                                  .timedout = timedout,
                                  .ask_ns = MP__TICK_MIN_NS / 2, /* twice that after the first answer */
                                  .grace_ns = job->grace_ns,
                                  .end_at = MP__NEVER};
}

void mp__overdue_clear(mp__core *core, mp__slot *slot)
{
    slot->overdue = (mp__overdue){.end_at = MP__NEVER};
    slot->wants &= ~(1u << MP__ACT_END);
    if (slot->state == MP__SLOT_READY && slot->cursor)
        mp__slot_want(core, slot, MP__ACT_SEND);
}

void mp__overdue_look(mp__core *core, mp__slot *slot)
{
    if (slot->overdue.ordinal && slot->overdue.ordinal < slot->started)
        mp__overdue_clear(core, slot);
}

void mp__overdue_alone(mp__core *core, mp__slot *slot)
{
    if (slot->sent == slot->done)
        return;
    const mp__core_job *job = job_of_ordinal(slot, slot->sent);
    bool marked = slot->overdue.ordinal;
    if (!marked && job->forced) {
        overdue_mark(slot, slot->sent, job, false);
        slot->overdue.judged = core->unkillable;
        if (!core->unkillable) {
            mp__slot_want(core, slot, MP__ACT_WATCH);
            watch_again(core, slot, MP__NEVER);
        }
    }
    if (slot->overdue.ordinal && !slot->overdue.told)
        mp__slot_want(core, slot, MP__ACT_CANCEL);
    slot->overdue.told = slot->overdue.ordinal;
}

void mp__overdue_time(mp__core *core, mp__slot *slot)
{
    if (slot->watch.at <= core->now) {
        watch_again(core, slot, MP__NEVER); /* until the answer says better */
        if (slot->watch.at != MP__NEVER)
            mp__slot_want(core, slot, MP__ACT_WATCH);
    }
    if (slot->overdue.end_at <= core->now) {
        slot->overdue.end_at = MP__NEVER;
        mp__slot_want(core, slot, MP__ACT_END);
    }
}

/* --- answers ----------------------------------------------------------------------------------------------------------- */

void mp__core_progress(mp__core *core, uint32_t index, uint32_t generation, uint64_t started, mp__heed heed)
{
    mp__core_progress_since(core, index, generation, started, heed, core->now);
}

void mp__core_progress_since(mp__core *core, uint32_t index, uint32_t generation, uint64_t started, mp__heed heed,
                             uint64_t asked)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot)
        return;
    if (!slot_works(slot)) { /* killed meanwhile */
        core->counts.stale++;
        return;
    }
    uint64_t left = MP__NEVER;
    bool marked = slot->overdue.ordinal;
    slot->started = started = slot_started(slot, started);
    mp__overdue_look(core, slot);
    if (started > slot->done) {
        const mp__core_job *job = job_of_ordinal(slot, started);
        left = watch_run(core, slot, started, job, asked);
        if (!left && !slot->overdue.ordinal)
            overdue_mark(slot, started, job, true);
        if (slot->overdue.ordinal && !slot->overdue.judged)
            overdue_judge(core, slot, heed);
    }
    watch_again(core, slot, left ? left : MP__NEVER);
    if (marked != (slot->overdue.ordinal > 0)) /* it takes items again; or has given some back */
        mp__plan_all(core, NULL);
}

/* The item is its life's last one: what was sent behind it is where it was before. */
static void slot_doom(mp__core *core, mp__slot *slot)
{
    slot->sent = slot->started = slot->kept = slot->overdue.ordinal;
    slot->doomed = true;
    slot->doom_ns = slot->overdue.grace_ns;
    mp__slot_doom(core, slot);
    mp__items_give_back(core, slot, (size_t)(slot->sent - slot->done));
}

void mp__core_ended(mp__core *core, uint32_t index, uint32_t generation, bool ended)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    if (!slot)
        return;
    if (!slot_works(slot) || !slot->overdue.ordinal || slot_wants(slot, MP__ACT_END)) {
        core->counts.stale++;
        return;
    }
    if (ended) {
        slot_doom(core, slot);
        mp__core_settle(core);
        return;
    }
    slot->overdue.end_at = core->now + MP__OVERDUE_NS; /* if it should be there still, and only could not be ended */
    mp__slot_want(core, slot, MP__ACT_WATCH);
}
