/* Where results and failures of a job go: the caller's arrays, and the first failure for the call itself.
 *
 * Runs under the pool's lock, on the thread that drives the pool, while the caller waits; the arrays are the caller's. Each
 * item comes here exactly once: the core sees to it. */
#include "pool/job.h"
#include "pool/failure.h"
#include "serial/codec.h"
#include <string.h>

void mp__job_fail(mp__job *job, size_t index, mp_error *error)
{
    error->item = index;
    strcpy(error->task, job->task->name); /* its length was checked when it was registered */
    if (job->out)
        memset(job->out + index * job->task->output->size, 0, job->task->output->size);
    if (job->statuses)
        job->statuses[index] = error->status;
    if (job->errors)
        job->errors[index] = *error;
    if (!job->failed++ || index < job->first.item)
        job->first = *error;
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
    mp__job_fail(job, index, error);
}

mp_status mp__job_store(mp__job *job, size_t index, mp__frame *frame, mp_error *error)
{
    static mp_none nothing;
    mp__fault fault = {0};
    void *value = job->out ? job->out + index * job->task->output->size : (void *)&nothing;
    if (mp__decode_result(job->task->output, frame, value, &fault) != MP_OK) {
        undecodable(job, index, &fault, error);
        return fault.status;
    }
    if (job->statuses)
        job->statuses[index] = MP_OK;
    if (job->errors)
        memset(&job->errors[index], 0, sizeof job->errors[index]);
    return MP_OK;
}
