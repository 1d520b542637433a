/* Jobs that are cancelled: by their caller, by their deadline, by too many failures, or all at once.
 *
 * Runs under the pool's lock, as part of the core. What waits ends at once; what workers were sent is taken back as far as it has not
 * started (core_slots.c); what runs is told, or is overdue if it is by force (core_overdue.c). The first verdict stays. */
#include "pool/core_state.h"

static bool slot_holds(const mp__slot *slot, const mp__core_job *job)
{
    for (const mp__chunk *chunk = slot->chunks.head; chunk; chunk = chunk->next)
        if (chunk->job == job)
            return true;
    return false;
}

void mp__job_cancel(mp__core *core, mp__core_job *job, mp_status verdict, bool force)
{
    bool again = force && !job->forced;
    if (force) {
        job->forced = again ? verdict : job->forced;
        mp__job_end_time(core, job); /* it can do no more than this */
    }
    if (job->cancelled && !again)
        return;
    if (!job->cancelled) {
        job->cancelled = true;
        job->verdict = verdict;
        mp__items_end_waiting(core, job, verdict);
    }
    for (uint32_t i = 0; i < core->slot_count && job->pending; i++)
        if (slot_works(core->slots[i]) && slot_holds(core->slots[i], job))
            mp__slot_purge(core, core->slots[i]);
}

void mp__core_cancel(mp__core *core, mp__core_job *job, mp_status verdict, bool force)
{
    mp__job_cancel(core, job, verdict, force);
    mp__core_settle(core);
}

/* Each job that has items without an end is in a queue, waits to run some again, or has some with a worker. It is put into the list
 * once; what is cancelled already is not. */
static void collect(mp__core_job **list, mp__core_job *job)
{
    if (job->cancelled || job->stopping)
        return;
    job->stopping = true;
    job->stopped = *list;
    *list = job;
}

static void collect_queue(mp__core_job **list, const mp__queue *queue)
{
    for (mp__core_job *job = queue->head; job; job = job->next)
        collect(list, job);
}

void mp__core_cancel_all(mp__core *core, mp_status verdict)
{
    mp__core_job *list = NULL, *job;
    collect_queue(&list, &core->queue);
    for (uint32_t i = 0; i < core->place_count; i++)
        collect_queue(&list, &core->places[i].pinned);
    for (mp__timed *due = core->timed; due; due = mp__timed_next(due))
        if (timed_job(due)->delayed)
            collect(&list, timed_job(due));
    for (uint32_t i = 0; i < core->slot_count; i++)
        for (const mp__chunk *chunk = core->slots[i]->chunks.head; chunk; chunk = chunk->next)
            collect(&list, chunk->job);
    while ((job = list)) {
        list = job->stopped;
        job->stopping = false;
        mp__job_cancel(core, job, verdict, false);
    }
    mp__core_settle(core);
}
