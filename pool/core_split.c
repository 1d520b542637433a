/* Calls that came together part: each item of their job that has not ended becomes a job of one item.
 *
 * Runs under the pool's lock, as part of the core. Nothing happens to an item by it: it stays where it was, in the queue, with a worker,
 * as its so manieth ordinal, or among what waits to be run again; so nobody is told, and nothing is planned. Each of the new jobs brings
 * the chunk that it needs, so nothing can fail. A job with many items that are waited for by different people is split when one of
 * these is to end by itself: then the others go on as if they had come one by one, and all that is said of jobs holds for each. */
#include "pool/core_state.h"
#include <assert.h>

typedef mp__core_job *place_of(mp__core_job *job, size_t index);

/* Its chunk is in no list; `attempt` 0: it has never been handed out. */
static mp__core_job *part(mp__core_job *job, size_t index, uint32_t attempt, place_of *alone)
{
    mp__core_job *one = alone(job, index);
    *one = (mp__core_job){.n = 1,
                          .task = job->task,
                          .patient = job->patient,
                          .quiet = job->quiet,
                          .timeout_ns = job->timeout_ns,
                          .grace_ns = job->grace_ns,
                          .retries = job->retries,
                          .retry_on = job->retry_on,
                          .retry_ns = job->retry_ns,
                          .number = job->number + index,
                          .fresh = attempt ? 1 : 0,
                          .pending = 1,
                          .cancelled = job->cancelled,
                          .forced = job->forced,
                          .verdict = job->verdict};
    if (attempt)
        one->rest = (mp__chunk){.job = one, .count = 1, .attempt = attempt};
    job->pending--;
    return one;
}

/* Those that wait to be handed out: they come in where the job stood, one behind the other, for nobody has a number between
 * theirs. What came back is in its order, and before what is fresh. */
static void split_waiting(mp__core *core, mp__core_job *job, place_of *alone)
{
    size_t fresh = job->fresh;
    mp__core_job *last = job->before;
    mp__chunk *chunk;
    mp__plan_dequeue(core, job);
    job->waiting = 0;
    job->fresh = job->n;
    while ((chunk = mp__job_take_returned(job))) {
        for (size_t i = 0; i < chunk->count; i++) {
            mp__core_job *one = part(job, chunk->first + i, chunk->attempt, alone);
            one->rest.unsent = one->waiting = 1;
            mp__chunks_push(&one->returned, &one->rest);
            mp__plan_enqueue_behind(core, one, last);
            last = one;
        }
        mp__chunk_free(core, chunk);
    }
    for (size_t index = fresh; index < job->n; index++) {
        mp__core_job *one = part(job, index, 0, alone);
        one->waiting = 1;
        mp__plan_enqueue_behind(core, one, last);
        last = one;
    }
}

static void split_delayed(mp__core *core, mp__core_job *job, place_of *alone)
{
    mp__chunk *chunk;
    while ((chunk = mp__job_undelay(core, job))) {
        for (size_t i = 0; i < chunk->count; i++)
            mp__job_delay(core, &part(job, chunk->first + i, chunk->attempt, alone)->rest, chunk->due.at);
        mp__chunk_free(core, chunk);
    }
}

/* In the same order: ordinals are counted by it. */
static void split_in_slot(mp__core *core, mp__slot *slot, mp__core_job *job, place_of *alone)
{
    mp__chunks chunks = slot->chunks;
    mp__chunk *chunk;
    slot->chunks = (mp__chunks){0};
    while ((chunk = mp__chunks_pop(&chunks))) {
        if (chunk->job != job) {
            mp__chunks_push(&slot->chunks, chunk);
            continue;
        }
        for (size_t i = 0; i < chunk->count; i++) {
            mp__core_job *one = part(job, chunk->first + i, chunk->attempt, alone);
            one->rest.unsent = i >= chunk->count - chunk->unsent;
            mp__chunks_push(&slot->chunks, &one->rest);
        }
        mp__chunk_free(core, chunk);
    }
    for (chunk = slot->chunks.head; chunk && !chunk->unsent;)
        chunk = chunk->next;
    slot->cursor = chunk;
}

void mp__core_split(mp__core *core, mp__core_job *job, place_of *alone)
{
    assert(job->calls && job->pending);
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (core->slots[i]->items)
            split_in_slot(core, core->slots[i], job, alone);
    split_waiting(core, job, alone);
    split_delayed(core, job, alone);
    assert(!job->pending);
    mp__items_done(core, job);
}
