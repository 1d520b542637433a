/* Results: which items they belong to, whether some may not have been said, and what becomes of items that failed.
 *
 * Runs under the pool's lock, as part of the core. Results of a life come in the order in which it was sent its items, so the next
 * one belongs to the first item of its slot. Happy path: a worker's results are taken off the front of its queue, several at a time,
 * and the last one makes their job done. An item that failed ends with its failure, or with the reason why it was overdue; or it goes
 * back to its job to be run again. */
#include "pool/core_state.h"
#include <assert.h>

/* Takes at most `count` items off the front of a slot that has sent items there; how many. */
static size_t slot_take_front(mp__core *core, mp__slot *slot, size_t count)
{
    mp__chunk *head = slot->chunks.head;
    size_t sent = head->count - head->unsent, taken = count < sent ? count : sent;
    head->first += taken;
    head->count -= taken;
    slot->items -= taken;
    slot->done += taken;
    if (!head->count)
        mp__chunk_free(core, mp__chunks_pop(&slot->chunks));
    return taken;
}

/* The slot, if its next result belongs to an item. */
static mp__slot *slot_with_result(mp__core *core, uint32_t index, uint32_t generation, bool *nonsense)
{
    mp__slot *slot = mp__slot_of(core, index, generation);
    *nonsense = slot && slot->state != MP__SLOT_KILLED && slot->state != MP__SLOT_DOOMED && slot->done == slot->sent;
    if (!slot || (slot_answers(slot) && slot->done < slot->sent))
        return slot;
    core->counts.stale++;
    return NULL;
}

static mp__core_item slot_front(const mp__slot *slot)
{
    const mp__chunk *head = slot->chunks.head;
    return (mp__core_item){head->job, head->first, head->attempt};
}

/* It has fewer items than before; the life that follows one that is through with them gets some now. */
static void slot_moved(mp__core *core, mp__slot *slot)
{
    slot->moved_at = core->now;
    if (slot->overdue.ordinal && slot->done >= slot->overdue.ordinal)
        mp__overdue_clear(core, slot);
    mp__slot_relieved(core, slot);
    mp__slot *next = slot->state == MP__SLOT_STOPPING ? core->places[slot->place].holder : slot;
    if (next && mp__plan_hungry(core, next))
        mp__plan_slot(core, next);
    if (!core->counts.pending && core->state == MP__CLOSED)
        mp__core_settle(core);
}

size_t mp__core_results(mp__core *core, uint32_t index, uint32_t generation, size_t count, mp__core_item *item,
                        bool *nonsense)
{
    mp__slot *slot = slot_with_result(core, index, generation, nonsense);
    assert(count);
    if (!slot)
        return 0;
    *item = slot_front(slot);
    count = slot_take_front(core, slot, count); /* before the job is told: its own chunk goes with it */
    mp__items_finished(core, item->job, count);
    slot_moved(core, slot);
    return count;
}

bool mp__core_result(mp__core *core, uint32_t index, uint32_t generation, mp__core_item *item, bool *nonsense)
{
    return mp__core_results(core, index, generation, 1, item, nonsense);
}

mp__failed mp__core_failed(mp__core *core, uint32_t index, uint32_t generation, mp_status *status, bool by_task,
                           mp__core_item *item, bool *nonsense)
{
    mp__slot *slot = slot_with_result(core, index, generation, nonsense);
    if (!slot)
        return MP__FAILED_NONE;
    unsigned retry_class = by_task ? MP__RETRY_FAILED : 0;
    if (slot->overdue.ordinal == slot->done + 1) {
        *status = slot->overdue.status;
        retry_class = slot->overdue.timedout ? MP__RETRY_TIMEDOUT : 0;
    }
    *item = slot_front(slot);
    bool again = mp__items_retry_front(core, slot, retry_class);
    if (!again) {
        slot_take_front(core, slot, 1);
        mp__items_failed(core, item->job, 1);
        mp__items_finished(core, item->job, 1);
    }
    slot_moved(core, slot);
    if (core->stopping)
        mp__core_settle(core);
    else if (again)
        mp__plan_all(core, NULL);
    return again ? MP__FAILED_RETRIED : MP__FAILED_FINAL;
}

void mp__core_spoilt(mp__core *core, mp__core_job *job)
{
    mp__items_failed(core, job, 1);
    mp__core_settle(core);
}

void mp__core_measured(mp__core *core, const mp__core_job *job, uint64_t items, uint64_t ns)
{
    if (items)
        mp__plan_measured(core, job->task, items, ns);
}

/* --- what has not been said --------------------------------------------------------------------------------------------- */

static bool chunk_begun(const mp__chunk *chunk)
{
    return chunk && chunk->unsent < chunk->count;
}

/* What it was sent stands first. A patient job may end with an item of another one behind it, which may take long. */
static bool slot_may_hide(const mp__slot *slot)
{
    if (!slot_answers(slot) || slot->sent - slot->done < 2)
        return false;
    for (const mp__chunk *chunk = slot->chunks.head; chunk_begun(chunk); chunk = chunk->next) {
        const mp__core_job *job = chunk->job;
        if (!job->patient)
            return true;
        if (chunk->next && chunk->next->job != job && !job->waiting && chunk_begun(chunk->next))
            return true;
    }
    return false;
}

bool mp__core_may_hide(const mp__core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (slot_may_hide(core->slots[i]))
            return true;
    return false;
}
