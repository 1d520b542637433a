/* What jobs do at times of their own: that their deadline comes, and that items which failed are run again when their back-off is
 * over.
 *
 * Runs under the pool's lock, as part of the core; owns the heap of jobs with such a time, and within each job the heap of chunks
 * that wait. Both are pairing heaps of nodes that are there already: nothing is allocated and nothing can fail, adding and looking
 * at the first take no time that grows, taking one out that of its logarithm on the average. So a hundred thousand jobs with
 * deadlines cost an idle turn of the loop one comparison. A time that has come is worked off by mp__core_time. */
#include "pool/core_state.h"

/* --- heaps ------------------------------------------------------------------------------------------------------------- */

static bool is_before(const mp__timed *a, const mp__timed *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

/* Of two roots that may be none, the one that is left. */
static mp__timed *meld(mp__timed *a, mp__timed *b)
{
    if (!a || !b)
        return a ? a : b;
    if (is_before(b, a)) {
        mp__timed *first = b;
        b = a;
        a = first;
    }
    b->next = a->child;
    b->before = a;
    if (b->next)
        b->next->before = b;
    a->child = b;
    return a;
}

static mp__timed *detach(mp__timed *node)
{
    node->next = node->before = NULL;
    return node;
}

/* The children of a root that is gone become one heap: two by two from the left, then all of these from the right. */
static mp__timed *meld_all(mp__timed *first)
{
    mp__timed *pairs = NULL, *root = NULL;
    while (first) {
        mp__timed *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a = meld(detach(a), b ? detach(b) : NULL);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        mp__timed *pair = pairs;
        pairs = pair->next;
        root = meld(root, detach(pair));
    }
    return root;
}

static void heap_add(mp__timed **root, mp__timed *node, uint64_t at, uint64_t order)
{
    *node = (mp__timed){.at = at, .order = order};
    *root = meld(*root, node);
}

static void heap_remove(mp__timed **root, mp__timed *node)
{
    if (node == *root) {
        *root = meld_all(node->child);
        return;
    }
    *(node->before->child == node ? &node->before->child : &node->before->next) = node->next;
    if (node->next)
        node->next->before = node->before;
    *root = meld(*root, meld_all(node->child));
}

/* What has come due counts as due at one time, long ago: so it comes out in its order, and each finds its place in a list next to the
 * one before it. */
static void heap_level(mp__timed **root, uint64_t now)
{
    mp__timed *due = NULL, *node;
    while ((node = *root) && node->at <= now) {
        heap_remove(root, node);
        heap_add(&due, node, 0, node->order);
    }
    *root = meld(*root, due);
}

/* First down, then to the right, then up to where there is something to the right: each node is left upwards once. */
mp__timed *mp__timed_next(mp__timed *node)
{
    if (node->child)
        return node->child;
    while (node && !node->next) {
        while (node->before && node->before->child != node)
            node = node->before;
        node = node->before;
    }
    return node ? node->next : NULL;
}

/* --- jobs -------------------------------------------------------------------------------------------------------------- */

/* The job stands in the core's heap by its deadline or its first retry, if it has one. */
static void job_set_due(mp__core *core, mp__core_job *job)
{
    uint64_t at = job->deadline ? job->deadline : MP__NEVER;
    if (job->retrying && job->retrying->at < at)
        at = job->retrying->at;
    if (job->timed && job->due.at == at && job->due.order == job->number)
        return;
    if (job->timed)
        heap_remove(&core->timed, &job->due);
    job->timed = at != MP__NEVER;
    if (job->timed)
        heap_add(&core->timed, &job->due, at, job->number);
}

void mp__job_begin_time(mp__core *core, mp__core_job *job)
{
    if (job->deadline)
        job_set_due(core, job);
}

void mp__job_renumbered(mp__core *core, mp__core_job *job)
{
    if (job->timed)
        job_set_due(core, job);
}

void mp__job_end_time(mp__core *core, mp__core_job *job)
{
    job->deadline = 0;
    if (job->timed)
        job_set_due(core, job);
}

void mp__job_delay(mp__core *core, mp__chunk *chunk, uint64_t until)
{
    mp__core_job *job = chunk->job;
    heap_add(&job->retrying, &chunk->due, until, chunk->first);
    job->delayed += chunk->count;
    job_set_due(core, job);
}

mp__chunk *mp__job_undelay(mp__core *core, mp__core_job *job)
{
    if (!job->retrying)
        return NULL;
    mp__chunk *chunk = timed_chunk(job->retrying);
    heap_remove(&job->retrying, &chunk->due);
    job->delayed -= chunk->count;
    job_set_due(core, job);
    return chunk;
}

uint64_t mp__jobs_due(const mp__core *core)
{
    return core->timed ? core->timed->at : MP__NEVER;
}

/* What it has to run again now. */
static void job_wake(mp__core *core, mp__core_job *job)
{
    heap_level(&job->retrying, core->now);
    while (job->retrying && job->retrying->at <= core->now)
        mp__items_come_back(core, mp__job_undelay(core, job));
}

void mp__jobs_time(mp__core *core)
{
    heap_level(&core->timed, core->now);
    while (mp__jobs_due(core) <= core->now) {
        mp__core_job *job = timed_job(core->timed);
        if (job->deadline && job->deadline <= core->now)
            mp__job_cancel(core, job, MP_ETIMEDOUT, true);
        else
            job_wake(core, job);
    }
}
