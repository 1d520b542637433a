/* Calls that are not waited for: what they take with them, and what they bring back.
 *
 * Decides nothing. Owns copies of the inputs, with all they point to, so that users may do with theirs what they like; and the
 * results, which users are shown copies of that own nothing. Prepared on the caller's thread without a lock; done under the pool's
 * lock; from then on nothing changes, and anybody may look. */
#include "pool/sent.h"
#include "pool/failure.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <stdlib.h>
#include <string.h>

static bool is_small(const mp_type *type, size_t n)
{
    return n == 1 && type->size <= MP__SENT_SMALL && type->align <= MP__SENT_SMALL && !mp__type_owns(type);
}

static void *copy_items(mp__sent *sent, const mp_type *type, const void *items, size_t n, mp__fault *fault)
{
    return is_small(type, n) ? memcpy(sent->input, items, type->size) : mp__values_copy(type, items, n, fault);
}

/* Those in `small` are part of it. */
static void free_values(const mp_type *type, void *values, const void *small, size_t n)
{
    if (values != small)
        mp__values_free(type, values, n);
}

/* Everything that it owns; the task is known to be good. */
static mp_status take_arrays(mp__sent *sent, const mp_task *task, const void *items, size_t n, mp_error *error)
{
    mp__fault fault = {0};
    sent->array.job.task = task;
    sent->array.job.core.n = n;
    sent->array.statuses = n > 1 ? mp__memory.calloc(n, sizeof *sent->array.statuses) : &sent->only;
    if (!mp__is_none(task->input)) {
        sent->items = copy_items(sent, task->input, items, n, &fault);
        if (!sent->items)
            return mp__values_failure(error, "the input cannot be copied", &fault);
    }
    if (!mp__is_none(task->output))
        sent->array.out = is_small(task->output, n) ? sent->result : mp__values_alloc(task->output, n);
    if (!sent->array.statuses || (!sent->array.out && !mp__is_none(task->output)))
        return mp__failure(error, MP_ENOMEM, "no memory for the results of %zu items", n);
    sent->array.items = sent->items;
    return MP_OK;
}

mp_status mp__sent_prepare(mp__sent *sent, const mp_pool *pool, const mp_task *task, const void *items, size_t n,
                           ptrdiff_t chunksize, const mp_policy *policy, mp_error *error)
{
    mp__core_job *core = &sent->array.job.core;
    mp_status status = mp__pool_check_call(pool, task, chunksize, &core->task, error);
    if (!status)
        status = mp__pool_check_input(task, items, n, error);
    if (!status)
        status = mp__pool_check_results(task, n, error);
    if (!status)
        status = mp__policy_take(&pool->policy, policy, n, core, error);
    if (!status)
        status = take_arrays(sent, task, items, n, error);
    core->chunksize = (size_t)chunksize < n ? (size_t)chunksize : n;
    core->patient = n > 1;
    return status;
}

void mp__sent_done(mp__sent *sent)
{
    const mp_task *task = sent->array.job.task;
    size_t n = sent->array.job.core.n, size = task->output->size;
    free_values(task->input, sent->items, sent->input, n);
    sent->items = NULL;
    sent->array.items = NULL;
    for (size_t i = 0; sent->array.out && mp__type_owns(task->output) && i < n; i++)
        mp__block_hold(task->output, sent->array.out + i * size, true);
    if (sent->array.first) /* who waits would take it for its own time */
        sent->array.first->status = mp__waited_status(sent->array.first->status);
    sent->array.unsaid = mp__waited_status(sent->array.unsaid);
}

void mp__sent_refuse(mp__sent *sent, const mp_error *error)
{
    size_t n = sent->array.job.core.n;
    for (size_t i = 0; sent->array.statuses && i < n; i++)
        sent->array.statuses[i] = error->status;
    sent->array.failed = n ? n : 1;
    sent->array.unsaid = error->status;
    sent->array.nameless = error->item;
    if (!sent->array.first && (sent->array.first = mp__memory.malloc(sizeof *error)))
        *sent->array.first = *error;
}

mp_status mp__sent_status(const mp__sent *sent)
{
    return mp__array_job_status(&sent->array);
}

const mp_error *mp__sent_error(const mp__sent *sent)
{
    static const mp_error none;
    const mp__array_job *array = &sent->array;
    return !array->failed ? &none
           : array->first ? array->first
                          : mp__failure_plain(array->unsaid, array->nameless, array->job.task);
}

void mp__sent_show(const mp__sent *sent, void *out)
{
    const mp_task *task = sent->array.job.task;
    if (!task || !out || mp__is_none(task->output))
        return;
    size_t size = sent->array.job.core.n * task->output->size;
    if (sent->array.out)
        memcpy(out, sent->array.out, size);
    else
        memset(out, 0, size);
}

void mp__sent_fini(mp__sent *sent)
{
    const mp_task *task = sent->array.job.task;
    size_t n = sent->array.job.core.n;
    free(sent->array.first);
    if (!task)
        return;
    if (sent->array.statuses != &sent->only)
        free(sent->array.statuses);
    free_values(task->input, sent->items, sent->input, n);
    for (size_t i = 0; sent->array.out && mp__type_owns(task->output) && i < n; i++)
        mp__block_hold(task->output, sent->array.out + i * task->output->size, false);
    free_values(task->output, sent->array.out, sent->result, n);
}
