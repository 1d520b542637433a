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
#include <millpond/async.h>
#include <stdlib.h>
#include <string.h>

/* Everything that it owns; the task is known to be good. */
static mp_status take_arrays(mp__sent *sent, const mp_task *task, const void *items, size_t n, mp_error *error)
{
    mp__fault fault = {0};
    sent->array.job.task = task;
    sent->array.job.core.n = n;
    sent->array.statuses = mp__memory.calloc(n ? n : 1, sizeof *sent->array.statuses); /* also to say that it was refused */
    if (!mp__is_none(task->input)) {
        sent->items = mp__values_copy(task->input, items, n, &fault);
        if (!sent->items)
            return mp__values_failure(error, "the input cannot be copied", &fault);
    }
    if (!mp__is_none(task->output))
        sent->array.out = mp__values_alloc(task->output, n);
    if (!sent->array.statuses || (!sent->array.out && !mp__is_none(task->output)))
        return mp__failure(error, MP_ENOMEM, "no memory for the results of %zu items", n);
    sent->array.items = sent->items;
    return MP_OK;
}

mp_status mp__sent_prepare(mp__sent *sent, const mp_pool *pool, const mp_task *task, const void *items, size_t n,
                           ptrdiff_t chunksize, mp_error *error)
{
    mp__core_job *core = &sent->array.job.core;
    mp_status status = mp__pool_check_call(pool, task, chunksize, &core->task, error);
    if (!status)
        status = mp__pool_check_input(task, items, n, error);
    if (!status)
        status = mp__pool_check_results(task, n, error);
    if (!status)
        status = take_arrays(sent, task, items, n, error);
    core->chunksize = (size_t)chunksize < n ? (size_t)chunksize : n;
    return status;
}

void mp__sent_done(mp__sent *sent)
{
    const mp_task *task = sent->array.job.task;
    size_t n = sent->array.job.core.n, size = task->output->size;
    mp__values_free(task->input, sent->items, n);
    sent->items = NULL;
    sent->array.items = NULL;
    for (size_t i = 0; sent->array.out && mp__type_owns(task->output) && i < n; i++)
        mp__block_hold(task->output, sent->array.out + i * size, true);
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

bool mp__sent_misfits(const mp__sent *sent, const void *out, size_t size)
{
    const mp_task *task = sent->array.job.task;
    return task && out && !mp__is_none(task->output) && size && size != MP__UNSIZED && size != task->output->size;
}

void mp__sent_fini(mp__sent *sent)
{
    const mp_task *task = sent->array.job.task;
    size_t n = sent->array.job.core.n;
    free(sent->array.statuses);
    if (!task)
        return;
    mp__values_free(task->input, sent->items, n);
    for (size_t i = 0; sent->array.out && mp__type_owns(task->output) && i < n; i++)
        mp__block_hold(task->output, sent->array.out + i * task->output->size, false);
    mp__values_free(task->output, sent->array.out, n);
}
