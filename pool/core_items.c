/* Ranges of items: where they wait, how they are cut and joined, and how they end.
 *
 * Runs under the pool's lock, as part of the core. Every item without an end is in exactly one place: fresh in its job,
 * in a chunk that came back to its job or waits to, or in a chunk of one slot. Chunks were allocated before; the last piece of a job
 * uses the one inside it, so that many small jobs need none: that of an open job is not known before it is sealed,
 * cancelled or given up. Nothing here can fail: the end of a life has chunks put aside to cut with, what else cannot be cut
 * stays where it is, and what cannot be kept for another attempt ends with its failure. */
#include "pool/core_state.h"
#include <assert.h>

/* --- chunks ------------------------------------------------------------------------------------------------------------ */

mp__chunk *mp__chunk_take(mp__core *core, size_t reserve)
{
    if (core->spare_count <= reserve) {
        core->starved = true;
        return NULL;
    }
    mp__chunk *chunk = core->spare;
    core->spare = chunk->next;
    core->spare_count--;
    return chunk;
}

void mp__chunk_put(mp__core *core, mp__chunk *chunk)
{
    chunk->next = core->spare;
    core->spare = chunk;
    core->spare_count++;
}

void mp__chunk_free(mp__core *core, mp__chunk *chunk)
{
    if (chunk != &chunk->job->rest)
        mp__chunk_put(core, chunk);
}

void mp__chunks_push(mp__chunks *list, mp__chunk *chunk)
{
    chunk->next = NULL;
    if (list->tail)
        list->tail->next = chunk;
    else
        list->head = chunk;
    list->tail = chunk;
}

mp__chunk *mp__chunks_pop(mp__chunks *list)
{
    mp__chunk *chunk = list->head;
    if (chunk) {
        list->head = chunk->next;
        if (!list->head)
            list->tail = NULL;
    }
    return chunk;
}

/* --- ends -------------------------------------------------------------------------------------------------------------- */

void mp__items_finished(mp__core *core, mp__core_job *job, size_t items)
{
    assert(items <= job->pending && items <= core->counts.pending);
    job->pending -= items;
    core->counts.pending -= items;
    core->counts.finished += items;
    if (!job->pending && !job->open)
        mp__items_done(core, job);
}

void mp__items_done(mp__core *core, mp__core_job *job)
{
    assert(!job->waiting && !job->queued && !job->delayed);
    mp__job_end_time(core, job);
    job->next = NULL;
    if (core->done_tail)
        core->done_tail->next = job;
    else
        core->done_head = job;
    core->done_tail = job;
}

/* Ends a whole chunk that is in no list any more. `during`: the life that is why, or NULL. */
static void chunk_end(mp__core *core, mp__chunk *chunk, mp_status status, const mp__slot *during)
{
    chunk->status = status;
    chunk->slot = during ? during->index : MP__NO_SLOT;
    chunk->generation = during ? during->generation : 0;
    mp__chunks_push(&core->ended, chunk);
    mp__items_finished(core, chunk->job, chunk->count);
}

/* Cancelled when the event is over: what fails may be in the middle of a slot's end. */
void mp__items_failed(mp__core *core, mp__core_job *job, size_t items)
{
    job->failures += items;
    if (!job->stop_at || job->failures < job->stop_at || job->cancelled || job->stopping)
        return;
    job->stopping = true;
    job->stopped = core->stopping;
    core->stopping = job;
}

/* The job first goes out of the queue with all it has, for its last end is the end of it. No more items come to it: its own chunk
 * is free if there are fresh ones. */
void mp__items_end_waiting(mp__core *core, mp__core_job *job, mp_status status)
{
    size_t fresh = job->fresh, count = job->n - fresh;
    mp__chunks returned = job->returned;
    mp__chunk *chunk;
    mp__plan_dequeue(core, job);
    job->fresh = job->n;
    job->waiting = 0;
    job->returned = (mp__chunks){0};
    job->came_last = NULL;
    while ((chunk = mp__job_undelay(core, job)))
        mp__chunks_push(&returned, chunk);
    while ((chunk = mp__chunks_pop(&returned)))
        chunk_end(core, chunk, status, NULL);
    if (count) {
        job->rest = (mp__chunk){.job = job, .first = fresh, .count = count, .attempt = 1};
        chunk_end(core, &job->rest, status, NULL);
    }
}

void mp__items_end_queue(mp__core *core, mp__queue *queue, mp_status status)
{
    while (queue->head)
        mp__items_end_waiting(core, queue->head, status);
}

void mp__items_end_queues(mp__core *core, mp_status status)
{
    mp__items_end_queue(core, &core->queue, status);
    for (uint32_t i = 0; core->pinned; i++)
        mp__items_end_queue(core, &core->places[i].pinned, status);
    while (core->timed) {
        mp__core_job *job = timed_job(core->timed);
        mp__job_end_time(core, job); /* a job that has no deadline is in there for what it has to run again */
        mp__items_end_waiting(core, job, status);
    }
}

void mp__items_end_all(mp__core *core, mp_status status)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        mp__slot *slot = core->slots[i];
        mp__chunk *chunk;
        while ((chunk = mp__chunks_pop(&slot->chunks)))
            chunk_end(core, chunk, status, NULL);
        slot->items = 0;
        slot->cursor = NULL;
    }
    mp__items_end_queues(core, status);
}

/* --- back to the job --------------------------------------------------------------------------------------------------- */

/* Makes `chunk`, which stands in the list behind `before`, one with its neighbour if they touch. True: `chunk` is gone. What a
 * life may not have whole would need a chunk to cut it with: there may be none, ever. */
static bool join(mp__core *core, mp__chunks *list, mp__chunk *before, mp__chunk *chunk)
{
    if (!before || before->first + before->count != chunk->first || before->attempt != chunk->attempt)
        return false;
    if (core->life_items && before->count + chunk->count > core->life_items)
        return false;
    before->count += chunk->count;
    before->unsent = before->count;
    before->number = before->number < chunk->number ? before->number : chunk->number;
    before->next = chunk->next;
    if (list->tail == chunk)
        list->tail = before;
    mp__chunk_free(core, chunk);
    return true;
}

/* The one behind which a chunk belongs among those that came back; NULL: in front of all. It is behind the last one, or behind the
 * one that came before it, mostly: many that come at a time come in their order, and must not each pass by all the others. */
static mp__chunk *returned_find_before(const mp__core_job *job, const mp__chunk *chunk)
{
    mp__chunk *before = job->returned.tail;
    if (!before || before->first < chunk->first)
        return before;
    before = job->came_last && job->came_last->first < chunk->first ? job->came_last : NULL;
    for (mp__chunk *next = before ? before->next : job->returned.head; next->first < chunk->first; next = next->next)
        before = next;
    return before;
}

/* What came back is kept in the order of its items, whoever brought it; neighbours are joined, so that pieces do not multiply. */
static void job_keep(mp__core *core, mp__chunk *chunk)
{
    mp__core_job *job = chunk->job;
    mp__chunks *list = &job->returned;
    mp__chunk *before = returned_find_before(job, chunk), *after = before ? before->next : list->head;
    if (job->passed && chunk->number < job->number)
        mp__plan_take_turn(core, job, chunk->number);
    job->waiting += chunk->count;
    job->early += chunk->count;
    core->queued += job->queued && job->calls ? chunk->count : 0;
    chunk->unsent = chunk->count;
    chunk->next = after;
    if (before)
        before->next = chunk;
    else
        list->head = chunk;
    if (!after)
        list->tail = chunk;
    if (join(core, list, before, chunk))
        chunk = before;
    if (after)
        join(core, list, chunk, after);
    job->came_last = chunk;
    mp__plan_enqueue(core, job);
}

mp__chunk *mp__job_take_returned(mp__core_job *job)
{
    if (job->came_last == job->returned.head)
        job->came_last = NULL;
    return mp__chunks_pop(&job->returned);
}

/* Items that have not been started are with nobody any more. */
void mp__items_come_back(mp__core *core, mp__chunk *chunk)
{
    mp_status verdict = job_verdict(core, chunk->job);
    if (verdict)
        chunk_end(core, chunk, verdict, NULL);
    else
        job_keep(core, chunk);
}

/* The part of a chunk of a slot that was not sent, as a chunk of its own; NULL: there is none to cut with. */
static mp__chunk *chunk_unsent(mp__core *core, mp__chunk *chunk)
{
    if (chunk->unsent == chunk->count)
        return chunk;
    mp__chunk *back = mp__chunk_take(core, chunk_reserve(core));
    if (!back)
        return NULL;
    *back = *chunk;
    back->first += chunk->count - chunk->unsent;
    back->count = chunk->unsent;
    chunk->count -= chunk->unsent;
    chunk->unsent = 0;
    return back;
}

/* `all`: not only that of cancelled jobs. */
static void slot_release(mp__core *core, mp__slot *slot, bool all)
{
    mp__chunks chunks = slot->chunks;
    mp__chunk *chunk;
    slot->chunks = (mp__chunks){0};
    slot->cursor = NULL;
    slot->items = 0;
    while ((chunk = mp__chunks_pop(&chunks))) {
        bool leaves = chunk->unsent && (all || chunk->job->cancelled);
        mp__chunk *back = leaves ? chunk_unsent(core, chunk) : NULL;
        if (back != chunk) {
            slot->items += chunk->count;
            mp__chunks_push(&slot->chunks, chunk);
            if (!slot->cursor && chunk->unsent)
                slot->cursor = chunk;
        }
        if (back)
            mp__items_come_back(core, back);
    }
    if (slot->cursor && slot->state == MP__SLOT_READY)
        mp__slot_want(core, slot, MP__ACT_SEND);
}

void mp__items_release(mp__core *core, mp__slot *slot)
{
    if (slot->cursor)
        slot_release(core, slot, slot->state == MP__SLOT_RETIRING || slot->overdue.ordinal);
}

void mp__items_give_back(mp__core *core, mp__slot *slot, size_t keep)
{
    for (mp__chunk *chunk = slot->chunks.head; chunk; chunk = chunk->next) {
        size_t stays = chunk->count < keep ? chunk->count : keep;
        chunk->unsent = chunk->count - stays;
        keep -= stays;
    }
    slot_release(core, slot, true);
}

/* --- again ------------------------------------------------------------------------------------------------------------- */

/* So long after its `attempt`-th failure. */
static uint64_t job_backoff(const mp__core_job *job, uint32_t attempt)
{
    uint64_t wait = job->retry_ns;
    while (--attempt && wait && wait < MP__RETRY_MAX_NS)
        wait *= 2;
    return wait < MP__RETRY_MAX_NS ? wait : MP__RETRY_MAX_NS;
}

static bool may_retry(const mp__core *core, const mp__chunk *chunk, unsigned retry_class)
{
    const mp__core_job *job = chunk->job;
    return job->retry_on & retry_class && chunk->attempt <= job->retries && !job_verdict(core, job);
}

/* A chunk in no list, all of which has failed. */
static void chunk_retry(mp__core *core, mp__chunk *chunk)
{
    uint64_t wait = job_backoff(chunk->job, chunk->attempt);
    chunk->attempt++;
    core->counts.retried += chunk->count;
    if (wait)
        mp__job_delay(core, chunk, core->now + wait);
    else
        job_keep(core, chunk);
}

/* The first `count` items of the slot's first chunk, or all if it has fewer, as a chunk of their own. One to cut with may be taken
 * from the reserve if the new one is spare again when its end was told; else there may be none: NULL. */
static mp__chunk *cut_front(mp__core *core, mp__slot *slot, size_t count, bool again)
{
    mp__chunk *head = slot->chunks.head;
    if (head->count <= count)
        return mp__chunks_pop(&slot->chunks);
    mp__chunk *cut = mp__chunk_take(core, again ? chunk_reserve(core) : 0);
    if (!cut && again && mp__core_grow_chunks(core))
        cut = mp__chunk_take(core, chunk_reserve(core));
    if (!cut)
        return NULL;
    *cut = (mp__chunk){
        .job = head->job, .first = head->first, .count = count, .attempt = head->attempt, .number = head->number};
    head->first += count;
    head->count -= count;
    return cut;
}

/* Takes at most one chunk from the reserve: only the last cut is inside one. */
void mp__items_fail_front(mp__core *core, mp__slot *slot, size_t count, mp_status status, unsigned retry_class)
{
    assert(count <= slot->items);
    while (count) {
        bool again = may_retry(core, slot->chunks.head, retry_class);
        mp__chunk *chunk = again ? cut_front(core, slot, count, true) : NULL;
        again = chunk;
        if (!chunk)
            chunk = cut_front(core, slot, count, false);
        assert(chunk);
        slot->items -= chunk->count;
        count -= chunk->count;
        if (again) {
            chunk_retry(core, chunk);
        } else {
            mp__items_failed(core, chunk->job, chunk->count);
            chunk_end(core, chunk, status, slot);
        }
    }
}

bool mp__items_retry_front(mp__core *core, mp__slot *slot, unsigned retry_class)
{
    mp__chunk *chunk = may_retry(core, slot->chunks.head, retry_class) ? cut_front(core, slot, 1, true) : NULL;
    if (!chunk)
        return false;
    slot->items--;
    slot->done++;
    chunk_retry(core, chunk);
    return true;
}

/* --- what is to be told ------------------------------------------------------------------------------------------------ */

bool mp__items_next_end(mp__core *core, mp__core_action *action)
{
    mp__chunk *chunk = mp__chunks_pop(&core->ended);
    if (!chunk)
        return false;
    *action = (mp__core_action){.kind = MP__ACT_FAIL,
                                .slot = chunk->slot,
                                .generation = chunk->generation,
                                .job = chunk->job,
                                .first = chunk->first,
                                .count = chunk->count,
                                .status = chunk->status,
                                .attempt = chunk->attempt - (chunk->slot == MP__NO_SLOT)};
    mp__chunk_free(core, chunk);
    return true;
}

bool mp__items_next_done(mp__core *core, mp__core_action *action)
{
    mp__core_job *job = core->done_head;
    if (!job)
        return false;
    core->done_head = job->next;
    if (!core->done_head)
        core->done_tail = NULL;
    *action = (mp__core_action){.kind = MP__ACT_DONE, .slot = MP__NO_SLOT, .job = job};
    return true;
}
