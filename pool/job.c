/* Where results and failures of a job go. Frames are decoded here; what becomes of the value is the job's kind's.
 *
 * Runs under the pool's lock, on the thread that drives the pool. Each item comes here exactly once: the core sees to it. A
 * result that cannot be decoded is its item's failure. Jobs over arrays write into them, and keep the first failure for the
 * call itself. */
#include "pool/job.h"
#include "pool/failure.h"
#include "serial/codec.h"
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

mp_status mp__job_store(mp__job *job, size_t index, mp__frame *frame, mp_error *error)
{
    mp__fault fault = {0};
    const void *value;
    void *out;
    size_t bytes = frame->size;
    job->kind->locate(job, index, &value, &out);
    if (mp__decode_result(job->task->output, frame, out, &fault) != MP_OK) {
        undecodable(job, index, &fault, error);
        return fault.status;
    }
    job->kind->ended(job, index, 1, NULL, bytes);
    return MP_OK;
}

/* --- over arrays ------------------------------------------------------------------------------------------------------------ */

void mp__array_job_locate(mp__job *job, size_t index, const void **value, void **out)
{
    static const mp_none none;
    mp__array_job *array = (mp__array_job *)job;
    *value = array->items ? array->items + index * job->task->input->size : (const void *)&none;
    *out = array->out ? array->out + index * job->task->output->size : (void *)&array->nothing;
}

void mp__array_job_ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes)
{
    (void)bytes;
    mp__array_job *array = (mp__array_job *)job;
    size_t size = job->task->output->size;
    for (size_t i = first; array->statuses && i < first + count; i++)
        array->statuses[i] = error ? error->status : MP_OK;
    if (array->errors && !error)
        memset(array->errors + first, 0, count * sizeof *array->errors);
    if (!error)
        return;
    for (size_t i = first; array->errors && i < first + count; i++) {
        array->errors[i] = *error;
        array->errors[i].item = i;
    }
    if (array->out)
        memset(array->out + first * size, 0, count * size);
    if (!array->failed || first < array->first.item)
        array->first = *error;
    array->failed += count;
}
