/* Where results and failures of a job go. Frames are decoded here; what becomes of the value is the job's kind's.
 *
 * Runs under the pool's lock, on the thread that drives the pool. Each item comes here exactly once: the core sees to it. A
 * result that cannot be decoded is its item's failure. Jobs over arrays write into them, and keep the first failure for the
 * call itself. */
#include "pool/job.h"
#include "pool/failure.h"
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/row.h"
#include <string.h>

void mp__job_fail(mp__job *job, size_t first, size_t count, mp_error *error)
{
    error->item = first;
    strcpy(error->task, job->task->name); /* its length was checked when it was registered */
    job->kind->ended(job, first, count, error, 0);
}

static void undecodable(mp__job *job, size_t index, const mp__fault *fault, mp_error *error)
{
    char text[sizeof fault->path + sizeof fault->message + 32];
    mp__fault_text(fault, text, sizeof text);
    int worker = error->worker;
    pid_t pid = error->pid;
    mp__failure(error, fault->status, "the result cannot be read: %s", text);
    error->worker = worker;
    error->pid = pid;
    mp__job_fail(job, index, 1, error);
}

/* A value of a row that is none of the type. */
static mp_status refuse_value(const mp_type *type, const mp__frame *frame, void *out, mp__fault *fault)
{
    memset(out, 0, type->size);
    return mp__fault_set(fault, MP_EFORMAT, 0, "%zu bytes that are no %s", frame->row, type->name);
}

/* False: it cannot be read. */
static bool store_value(mp__job *job, size_t index, void *out, mp__frame *frame, mp_error *error)
{
    mp__fault fault;
    size_t bytes = frame->size;
    const mp_type *type = job->task->output;
    mp_status status = frame->row ? refuse_value(type, frame, out, &fault) : mp__decode_result(type, frame, out, &fault);
    if (status == MP_OK)
        job->kind->ended(job, index, 1, NULL, bytes);
    else
        undecodable(job, index, &fault, error);
    return status == MP_OK;
}

/* A row in one stroke, as far as its places stand in a row; anything else one by one. */
size_t mp__job_store(mp__job *job, size_t first, size_t count, mp__frame *frame, mp_error *error)
{
    size_t done = 0, failed = 0;
    while (done < count) {
        mp__items places = {.count = count - done};
        if (done)
            mp__frame_follow(frame);
        job->kind->locate(job, first + done, &places);
        size_t numbers = frame->row ? mp__row_read(job->task->output, frame, places.count, places.out, places.out_step) : 0;
        if (numbers)
            job->kind->ended(job, first + done, numbers, NULL, 0);
        else
            failed += !store_value(job, first + done, places.out, frame, error);
        done += numbers ? numbers : 1;
    }
    return failed;
}

/* --- over arrays ------------------------------------------------------------------------------------------------------------ */

void mp__array_job_locate(mp__job *job, size_t index, mp__items *items)
{
    static const mp_none none;
    mp__array_job *array = (mp__array_job *)job;
    items->index = index;
    items->value_step = array->items ? job->task->input->size : 0;
    items->value = array->items ? array->items + index * items->value_step : (const void *)&none;
    items->out_step = array->out ? job->task->output->size : 0;
    items->out = array->out ? array->out + index * items->out_step : (void *)&array->nothing;
}

/* That of the smallest index; but one that was cancelled because others had failed says less than these. */
static bool is_first(const mp__array_job *array, size_t first, const mp_error *error)
{
    bool cancelled = error->status == MP_ECANCELLED;
    if (!array->failed || !array->first)
        return !array->failed;
    bool before = array->first->status == MP_ECANCELLED;
    return cancelled == before ? first < array->first->item : before;
}

static void keep_first(mp__array_job *array, const mp_error *error)
{
    if (!array->first)
        array->first = mp__memory.malloc(sizeof *array->first);
    if (array->first)
        *array->first = *error;
    if (!array->first) {
        array->unsaid = error->status;
        array->nameless = error->item;
    }
}

void mp__array_job_ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes)
{
    (void)bytes;
    mp__array_job *array = (mp__array_job *)job;
    size_t size = job->task->output->size;
    _Static_assert(MP_OK == 0, "what is fine is all zeros");
    if (array->statuses && !error)
        memset(array->statuses + first, 0, count * sizeof *array->statuses);
    if (array->errors && !error)
        memset(array->errors + first, 0, count * sizeof *array->errors);
    if (!error)
        return;
    for (size_t i = first; array->statuses && i < first + count; i++)
        array->statuses[i] = error->status;
    for (size_t i = first; array->errors && i < first + count; i++) {
        array->errors[i] = *error;
        array->errors[i].item = i;
    }
    if (array->out)
        memset(array->out + first * size, 0, count * size);
    if (is_first(array, first, error))
        keep_first(array, error);
    array->failed += count;
}
