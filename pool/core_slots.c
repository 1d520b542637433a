/* Lives: how they begin, which place they take, what they are told, and how they end. core.h has the diagram.
 *
 * Runs under the pool's lock, as part of the core. A life takes its place when it is started, and leaves it when it takes no more
 * items: from then on a new one may start there, in another slot. That one gets no items before the old one is through with its own, so
 * that no more items run at a time than there are places. Whether a place's lives come to nothing is counted by place:
 * each such life makes the next one start later, and when all places are like that and nobody is left, the core is broken.
 *
 * A life that was ended for its overdue item leaves its place at once, and keeps its slot until it is lost.
 *
 * Items that must not be started any more are *purged*: what a slot was not sent goes at once, for the rest it is asked by a
 * recall, again and again if it cannot say, later each time. */
#include "pool/core_state.h"
#include <assert.h>

/* --- states ------------------------------------------------------------------------------------------------------------ */

/* The edges of core.h's diagram; slot_enter is the only writer of a slot's state. */
static const bool slot_edges[MP__SLOT_STATES][MP__SLOT_STATES] = {
    [MP__SLOT_EMPTY] = {[MP__SLOT_STARTING] = true},
    [MP__SLOT_STARTING] = {[MP__SLOT_READY] = true, [MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_READY] =
        {[MP__SLOT_RETIRING] = true, [MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true, [MP__SLOT_DOOMED] = true},
    [MP__SLOT_RETIRING] =
        {[MP__SLOT_STOPPING] = true, [MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true, [MP__SLOT_DOOMED] = true},
    [MP__SLOT_STOPPING] = {[MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_DOOMED] = {[MP__SLOT_EMPTY] = true, [MP__SLOT_KILLED] = true},
    [MP__SLOT_KILLED] = {[MP__SLOT_EMPTY] = true},
};

/* What was due in the old state and is still: one that retires can still be asked, one that was not told to stop yet must be. */
static const unsigned slot_keeps[MP__SLOT_STATES] = {
    [MP__SLOT_RETIRING] = 1u << MP__ACT_RECALL | 1u << MP__ACT_CANCEL | 1u << MP__ACT_WATCH | 1u << MP__ACT_END,
    [MP__SLOT_STOPPING] = 1u << MP__ACT_STOP,
    [MP__SLOT_KILLED] = 1u << MP__ACT_KILL, /* only of one that was doomed */
};

static void slot_take_place(mp__core *core, mp__slot *slot, uint32_t place)
{
    assert(!core->places[place].holder && place < core->counts.wanted);
    core->places[place].holder = slot;
    core->places[place].last = slot->index;
    core->held++;
    slot->place = place;
}

static void slot_leave_place(mp__core *core, mp__slot *slot)
{
    mp__place *place = &core->places[slot->place];
    if (place->holder != slot)
        return;
    place->holder = NULL;
    if (!slot_surplus(core, slot))
        core->held--;
}

/* Otherwise nobody is asked or waited for any more as the old state was: a slot that wants nothing leaves that list when its turn
 * comes. */
static void slot_enter(mp__core *core, mp__slot *slot, mp__slot_state state)
{
    assert(slot_edges[slot->state][state]);
    core->alive -= slot_alive(slot);
    core->takers -= slot->state == MP__SLOT_READY;
    core->counts.ready -= slot_works(slot);
    core->places[slot->place].leaving -= slot->state == MP__SLOT_RETIRING;
    slot->state = state;
    core->alive += slot_alive(slot);
    core->takers += state == MP__SLOT_READY;
    core->counts.ready += slot_works(slot);
    core->places[slot->place].leaving += state == MP__SLOT_RETIRING;
    slot->kill_at = MP__NEVER;
    slot->wants &= slot_keeps[state];
    if (!slot_works(slot)) {
        slot->asked = false;
        slot->purge_at = slot->watch.at = slot->overdue.end_at = MP__NEVER;
    }
    if (state == MP__SLOT_RETIRING || state == MP__SLOT_DOOMED || state == MP__SLOT_EMPTY)
        slot_leave_place(core, slot);
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
    return slot->state == MP__SLOT_STARTING && slot_wants(slot, MP__ACT_START);
}

void mp__slot_kill(mp__core *core, mp__slot *slot, bool hard)
{
    if (!slot_alive(slot) || slot->state == MP__SLOT_KILLED)
        return;
    if (slot_unborn(slot)) {
        slot_enter(core, slot, MP__SLOT_EMPTY);
        return;
    }
    bool asked = slot->state == MP__SLOT_DOOMED; /* once, or twice: then there is no more to ask */
    uint64_t due = asked ? slot->kill_at : core->now + MP__GRACE_NS;
    slot_enter(core, slot, MP__SLOT_KILLED);
    slot->kill_at = hard ? MP__NEVER : due;
    if (due != MP__NEVER && (hard || !asked))
        mp__slot_want(core, slot, MP__ACT_KILL);
}

void mp__slot_doom(mp__core *core, mp__slot *slot)
{
    slot_enter(core, slot, MP__SLOT_DOOMED);
    slot->kill_at = core->now + slot->doom_ns;
}

/* --- the beginning ----------------------------------------------------------------------------------------------------- */

void mp__slot_patience(const mp__core *core, mp__slot *slot)
{
    slot->kill_at = slot->greeted || core->unkillable ? MP__NEVER : core->now + MP__START_NS;
}

static void slot_start(mp__core *core, mp__slot *slot, uint32_t place)
{
    slot_enter(core, slot, MP__SLOT_STARTING);
    slot_take_place(core, slot, place);
    slot->generation++;
    slot->greeted = slot->spent = false;
    slot->done = slot->sent = slot->started = slot->kept = 0;
    slot->moved_at = slot->recalled_at = core->now;
    slot->purge_wait = MP__RECALL_NS;
    slot->watch = (mp__watch){.at = MP__NEVER};
    slot->overdue = (mp__overdue){.end_at = MP__NEVER};
    slot->doomed = false;
    mp__slot_patience(core, slot);
    mp__slot_want(core, slot, MP__ACT_START);
}

/* That of the place's last life, if it can be: a worker that is replaced stays where it was. There is one. */
static mp__slot *empty_slot(const mp__core *core, const mp__place *place)
{
    uint32_t i = place->last;
    if (slot_alive(core->slots[i]))
        for (i = 0; slot_alive(core->slots[i]);)
            i++;
    return core->slots[i];
}

void mp__slots_start(mp__core *core)
{
    uint32_t wanted = core->counts.wanted;
    for (uint32_t i = 0; i < wanted && core->held < wanted && core->alive < core->slot_count; i++) {
        const mp__place *place = &core->places[i];
        if (!place->holder && place->start_at <= core->now)
            slot_start(core, empty_slot(core, place), i);
    }
}

void mp__slot_ready(mp__core *core, mp__slot *slot)
{
    slot_enter(core, slot, MP__SLOT_READY);
    slot->moved_at = core->now;
    if (core->verdict || slot_surplus(core, slot))
        mp__slot_retire(core, slot);
}

/* --- leaving ----------------------------------------------------------------------------------------------------------- */

void mp__slot_retire(mp__core *core, mp__slot *slot)
{
    slot_enter(core, slot, MP__SLOT_RETIRING);
    mp__slot_want(core, slot, MP__ACT_STOP);
    mp__slot_purge(core, slot);
    mp__slot_relieved(core, slot);
}

/* What could not be taken from it for lack of a chunk needs none when all that it was sent is done. */
void mp__slot_relieved(mp__core *core, mp__slot *slot)
{
    if (slot->purge_at != MP__NEVER)
        mp__items_release(core, slot);
    if (slot->state != MP__SLOT_RETIRING || slot->items)
        return;
    slot_enter(core, slot, MP__SLOT_STOPPING);
    if (!core->unkillable)
        slot->kill_at = core->now + MP__GRACE_NS;
}

void mp__slot_unwanted(mp__core *core, mp__slot *slot)
{
    if (slot_unborn(slot))
        slot_enter(core, slot, MP__SLOT_EMPTY);
    else if (!core->unkillable && slot->kill_at > core->now + MP__GRACE_NS)
        slot->kill_at = core->now + MP__GRACE_NS;
}

void mp__slots_stop(mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = core->slots[i];
        if (slot->state == MP__SLOT_STARTING)
            mp__slot_unwanted(core, slot);
        else if (slot->state == MP__SLOT_READY)
            mp__slot_retire(core, slot);
    }
}

/* True if what has been sent should come back as far as it has not been started. */
static bool slot_asked_back(const mp__core *core, const mp__slot *slot)
{
    if (core->verdict || (slot->state == MP__SLOT_RETIRING && (slot->spent || slot_surplus(core, slot))))
        return slot->items;
    if (slot->overdue.ordinal && !slot->overdue.told)
        return true;
    for (const mp__chunk *chunk = slot->chunks.head; chunk; chunk = chunk->next)
        if (chunk->job->cancelled)
            return true;
    return false;
}

bool mp__slot_stuck(const mp__slot *slot)
{
    return slot->cursor && (slot->state == MP__SLOT_RETIRING || slot->cursor->job->cancelled || slot->overdue.ordinal);
}

void mp__slot_purge(mp__core *core, mp__slot *slot)
{
    mp__items_release(core, slot);
    bool ask = slot_asked_back(core, slot);
    slot->purge_at = ask || mp__slot_stuck(slot) ? core->now + slot->purge_wait : MP__NEVER;
    if (!ask || slot->asked)
        return;
    slot->asked = true;
    mp__slot_want(core, slot, MP__ACT_RECALL);
}

/* --- the end ----------------------------------------------------------------------------------------------------------- */

static uint64_t backoff(uint32_t failures)
{
    if (failures < 2)
        return 0;
    uint64_t wait = (uint64_t)MP__BACKOFF_NS << (failures < 12 ? failures - 2 : 10);
    return wait < MP__BACKOFF_MAX_NS ? wait : MP__BACKOFF_MAX_NS;
}

/* A life has ended that started nothing. One that was ready and had nothing to do may have died of something else: it makes the
 * place wait, so that a worker that always dies is not started in a circle, but it is no reason to give up; and none at all to
 * wait if it was well for a while. */
static void place_count_failure(const mp__core *core, mp__place *place, const mp__slot *slot)
{
    bool idle = slot->state == MP__SLOT_READY && !slot->items;
    if (idle && core->now - slot->moved_at >= MP__BACKOFF_MAX_NS)
        place->failures = 0;
    else if (place->failures < MP__FAILURES_MAX - 1 || !idle)
        place->failures++;
}

/* One that was told to leave, and had nothing to do any more, has not failed, however little it was for. */
static void slot_judge(const mp__core *core, const mp__slot *slot, uint64_t started)
{
    mp__place *place = &core->places[slot->place];
    bool killed_leaving = slot->state == MP__SLOT_KILLED && place->holder != slot && !slot->items;
    if (started)
        place->failures = 0;
    else if (slot->state == MP__SLOT_STOPPING || killed_leaving)
        return;
    else
        place_count_failure(core, place, slot);
    place->start_at = core->now + backoff(place->failures);
}

void mp__slot_end(mp__core *core, mp__slot *slot, uint64_t started)
{
    slot_judge(core, slot, started);
    if (started > slot->done && slot->items) {           /* not so if they have got another end meanwhile */
        size_t ran = (size_t)(started - slot->done - 1); /* but the results never came */
        mp__items_fail_front(core, slot, ran, MP_ELOST, MP__RETRY_LOST);
        if (slot->doomed)
            mp__items_fail_front(core, slot, 1, slot->overdue.status, slot->overdue.timedout ? MP__RETRY_TIMEDOUT : 0);
        else
            mp__items_fail_front(core, slot, 1, MP_ECRASHED, MP__RETRY_CRASHED);
    }
    mp__items_give_back(core, slot, 0);
    slot_enter(core, slot, MP__SLOT_EMPTY);
    if (core->places[slot->place].failures >= MP__FAILURES_MAX) /* others can do the rest, but nobody this */
        mp__items_end_queue(core, &core->places[slot->place].pinned, MP_EBROKEN);
}

/* It may have started any of what it was sent. Its place has not failed. */
void mp__slot_vanish(mp__core *core, mp__slot *slot)
{
    core->places[slot->place].start_at = core->now;
    if (slot->items && slot->sent > slot->done)
        mp__items_fail_front(core, slot, (size_t)(slot->sent - slot->done), MP_ELOST, MP__RETRY_LOST);
    mp__items_give_back(core, slot, 0);
    slot_enter(core, slot, MP__SLOT_EMPTY);
}

/* Places that are being started once more count as failed: with many of them there is always one. */
bool mp__slots_hopeless(const mp__core *core)
{
    for (uint32_t i = 0; i < core->counts.wanted; i++)
        if (core->places[i].failures < MP__FAILURES_MAX)
            return false;
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (slot_alive(core->slots[i]) && core->slots[i]->state != MP__SLOT_STARTING)
            return false;
    return true;
}
