/* Posted calls while they are with the core: near their turn, or under way.
 *
 * A call that waits is small, for there may be a million; what the core needs of it is made when its turn is near, and is gone when it
 * has ended. Calls that come in a row, of one task and on the same terms, are one job then: they cost a job's price together, travel
 * together, and come back together. Their inputs are moved into a row, and their results into another, from which they go to their
 * handles; what either points to stays where it is. Large ones are a job each, and stay where they are.
 *
 * Who cancels one of them parts them all (mp__core_split): there is room for a job for each, so that cannot fail. The memory is free
 * when every job that was made in it is done.
 *
 * Runs under the pool's lock, on whichever thread drives. Fails for want of memory only. */
#include "pool/batch.h"
#include "pool/dispatch_state.h"
#include "pool/single.h"
#include "serial/memory.h"
#include <stdlib.h>
#include <string.h>

enum {
    ROW_MAX = 64, /* bytes of a value that is worth moving */
    ROW_ALIGN = 16,
    SPARE_MAX = 256,
    SPARE_LEAST = 8 /* calls: smaller batches are allocated as they are */
};

typedef struct mp__batch mp__batch;

typedef struct alone {
    mp__job job; /* first */
    mp__batch *batch;
} alone;

struct mp__batch {
    mp__job job; /* first: of all, until they part */
    mp__dispatch *dispatch;
    size_t size;              /* of the allocation */
    mp__batch *before, *next; /* among those with the core; `next`: or among the spare ones */
    bool parted;
    size_t holders;        /* jobs that are not done */
    mp__posted **calls;    /* by item; NULL: it has ended */
    unsigned char *values; /* their inputs; NULL: the task takes nothing */
    unsigned char *out;    /* and results; NULL: it gives nothing */
    bool moved;            /* these are rows of ours, and not the one call's own */
    alone *alone;          /* by item: room for when they part; NULL: there is one only */
    mp_none nothing;       /* every item's place for its result, where there is no `out` */
};

#define SPARE_SIZE                                                                                                         \
    (sizeof(mp__batch) + MP__BATCH_MAX * (sizeof(mp__posted *) + 2 * sizeof(uint64_t) + sizeof(alone)) + 4 * ROW_ALIGN)

static mp__batch *batch_of(mp__job *job)
{
    return (mp__batch *)job;
}

/* --- what a job does --------------------------------------------------------------------------------------------------------- */

/* Each of them is the first item of a call. */
static void locate(mp__batch *batch, size_t index, mp__items *items)
{
    static const mp_none none;
    const mp_task *task = batch->job.task;
    items->index = 0;
    items->lone = true;
    items->value_step = batch->values ? task->input->size : 0;
    items->value = batch->values ? batch->values + index * items->value_step : (const void *)&none;
    items->out_step = batch->out ? task->output->size : 0;
    items->out = batch->out ? batch->out + index * items->out_step : (void *)&batch->nothing;
}

static void end_one(mp__batch *batch, size_t index, const mp_error *error)
{
    mp__posted *call = batch->calls[index];
    const void *result = batch->out ? batch->out + index * batch->job.task->output->size : NULL;
    call->begun = false;
    batch->calls[index] = NULL;
    call->kind->ended(call, batch->moved ? result : NULL, error);
}

static void ended(mp__batch *batch, size_t first, size_t count, const mp_error *error)
{
    mp_error own;
    if (error) {
        own = *error;
        own.item = 0;
    }
    for (size_t i = first; i < first + count; i++)
        end_one(batch, i, error ? &own : NULL);
}

static void enter(mp__batch *batch)
{
    mp__dispatch *d = batch->dispatch;
    batch->before = d->last_batch;
    *(d->last_batch ? &d->last_batch->next : &d->batches) = batch;
    d->last_batch = batch;
}

static void leave(mp__batch *batch)
{
    mp__dispatch *d = batch->dispatch;
    *(batch->before ? &batch->before->next : &d->batches) = batch->next;
    *(batch->next ? &batch->next->before : &d->last_batch) = batch->before;
}

static void let_go(mp__batch *batch)
{
    mp__dispatch *d = batch->dispatch;
    if (--batch->holders)
        return;
    leave(batch);
    if (batch->size != SPARE_SIZE || d->spare_count == SPARE_MAX) {
        free(batch);
        return;
    }
    batch->next = d->spare_batches;
    d->spare_batches = batch;
    d->spare_count++;
}

void mp__batches_free(mp__dispatch *d)
{
    while (d->spare_batches) {
        mp__batch *spare = d->spare_batches;
        d->spare_batches = spare->next;
        free(spare);
    }
    d->spare_count = 0;
}

static void batch_locate(mp__job *job, size_t index, mp__items *items)
{
    locate(batch_of(job), index, items);
}

static void batch_ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes)
{
    (void)bytes;
    ended(batch_of(job), first, count, error);
}

static void batch_done(mp__job *job)
{
    let_go(batch_of(job));
}

static const mp__job_kind batch_kind = {.locate = batch_locate, .ended = batch_ended, .done = batch_done};

static size_t index_of(const mp__job *job)
{
    const alone *one = (const alone *)job;
    return (size_t)(one - one->batch->alone);
}

static void alone_locate(mp__job *job, size_t index, mp__items *items)
{
    (void)index;
    locate(((alone *)job)->batch, index_of(job), items);
}

static void alone_ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes)
{
    (void)first, (void)bytes;
    ended(((alone *)job)->batch, index_of(job), count, error);
}

static void alone_done(mp__job *job)
{
    let_go(((alone *)job)->batch);
}

static const mp__job_kind alone_kind = {.locate = alone_locate, .ended = alone_ended, .done = alone_done};

/* --- making ------------------------------------------------------------------------------------------------------------------ */

static bool can_move(const mp_type *type)
{
    return type->size <= ROW_MAX && type->align <= ROW_ALIGN;
}

static bool same_terms(const mp__core_job *a, const mp__core_job *b)
{
    return a->timeout_ns == b->timeout_ns && a->grace_ns == b->grace_ns && a->retries == b->retries &&
           a->retry_on == b->retry_on && a->retry_ns == b->retry_ns;
}

size_t mp__batch_most(const mp__posted *first)
{
    const mp_task *task = ((const mp__single *)first)->task;
    return can_move(task->input) && can_move(task->output) ? MP__BATCH_MAX : 1;
}

bool mp__batch_fits(const mp__posted *first, const mp__posted *call)
{
    const mp__single *a = (const mp__single *)first, *b = (const mp__single *)call;
    return first->kind == call->kind && first->task == call->task &&
           (a->terms == b->terms || same_terms(a->terms, b->terms));
}

static size_t row(size_t bytes)
{
    return (bytes + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
}

/* Those of small values are alike, and some are kept: what one thread takes and another gives back is dear. */
static unsigned char *allocate(mp__dispatch *d, size_t n, size_t *size)
{
    if (n < SPARE_LEAST || *size > SPARE_SIZE)
        return mp__memory.malloc(*size);
    *size = SPARE_SIZE;
    mp__batch *spare = d->spare_batches;
    if (!spare)
        return mp__memory.malloc(*size);
    d->spare_batches = spare->next;
    d->spare_count--;
    return (unsigned char *)spare;
}

/* One allocation: the batch, pointers, rows, and at the end, where nothing is touched unless they part, the jobs. */
static mp__batch *make_room(mp__dispatch *d, const mp_task *task, size_t n)
{
    size_t calls = row(sizeof(mp__batch)), values = calls + row(n * sizeof(mp__posted *)),
           out = values + row(n * task->input->size), jobs = out + row(n * task->output->size),
           size = n > 1 ? jobs + n * sizeof(alone) : values;
    unsigned char *memory = allocate(d, n, &size);
    if (!memory)
        return NULL;
    mp__batch *batch = (mp__batch *)(void *)memory;
    *batch = (mp__batch){
        .dispatch = d, .size = size, .holders = 1, .calls = (mp__posted **)(void *)(memory + calls), .moved = n > 1};
    if (n > 1) {
        batch->values = memory + values;
        batch->out = memory + out;
        batch->alone = (alone *)(void *)(memory + jobs);
    }
    return batch;
}

static void take_call(mp__batch *batch, size_t index, mp__posted *call)
{
    call->batch = batch;
    call->index = (uint32_t)index;
    call->begun = true;
    batch->calls[index] = call;
}

/* Inputs stand at the same place behind each call. */
static void move_inputs(mp__batch *batch, size_t n)
{
    const mp__single *first = (const mp__single *)batch->calls[0];
    size_t size = batch->job.task->input->size, at = (size_t)((const char *)mp__single_input(first) - (const char *)first);
    unsigned char *to = batch->values;
    for (size_t i = 0; i < n; i++, to += size)
        if (size == sizeof(uint64_t))
            memcpy(to, (const char *)batch->calls[i] + at, sizeof(uint64_t));
        else
            memcpy(to, (const char *)batch->calls[i] + at, size);
}

static void set_job(mp__batch *batch, const mp__single *first, size_t n)
{
    batch->job.core = *first->terms;
    batch->job.core.n = n;
    batch->job.core.task = first->posted.task;
    batch->job.core.quiet = first->quiet;
    batch->job.core.stop_at = 0; /* there is nothing else to be stopped */
    batch->job.core.chunksize = 0;
    batch->job.core.calls = n > 1;
    batch->job.kind = &batch_kind;
    batch->job.task = first->task;
}

mp__job *mp__batch_make(mp__dispatch *d, mp__posted *const *calls, size_t n)
{
    const mp__single *first = (const mp__single *)calls[0];
    const mp_task *task = first->task;
    mp__batch *batch = make_room(d, task, n);
    if (!batch)
        return NULL;
    set_job(batch, first, n);
    if (!batch->moved) {
        batch->values = mp__single_input(first);
        batch->out = mp__single_result(first);
    }
    if (task->input->kind == MP__NONE)
        batch->values = NULL;
    if (task->output->kind == MP__NONE)
        batch->out = NULL;
    for (size_t i = 0; i < n; i++)
        take_call(batch, i, calls[i]);
    if (batch->moved && batch->values)
        move_inputs(batch, n);
    enter(batch);
    return &batch->job;
}

void mp__batch_drop(mp__job *job)
{
    leave(batch_of(job));
    free(batch_of(job));
}

void mp__batches_each(mp__dispatch *d, const mp__posted_kind *kind, void (*what)(mp__posted *call, const void *user),
                      const void *user)
{
    for (mp__batch *batch = d->batches; batch; batch = batch->next)
        for (size_t i = 0; i < batch->job.core.n; i++)
            if (batch->calls[i] && batch->calls[i]->kind == kind)
                what(batch->calls[i], user);
}

/* --- one of them ------------------------------------------------------------------------------------------------------------- */

static mp__core_job *place_alone(mp__core_job *core, size_t index)
{
    mp__batch *batch = batch_of(job_of(core));
    alone *one = &batch->alone[index];
    one->batch = batch;
    one->job.kind = &alone_kind;
    one->job.task = batch->job.task;
    batch->holders++;
    return &one->job.core;
}

bool mp__batch_runs(mp__dispatch *d, const mp__posted *call)
{
    mp__batch *batch = call->batch;
    return batch->parted ? mp__dispatch_runs(d, &batch->alone[call->index].job, 0)
                         : mp__dispatch_runs(d, &batch->job, call->index);
}

mp__job *mp__batch_part(mp__dispatch *d, const mp__posted *call)
{
    mp__batch *batch = call->batch;
    if (!batch->alone)
        return &batch->job;
    if (!batch->parted)
        mp__core_split(mp__dispatch_core(d), &batch->job.core, place_alone);
    batch->parted = true;
    return &batch->alone[call->index].job;
}
