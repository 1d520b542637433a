/* A job: one call's items, where their results go, and how its end is told. Both faces stand on it. */
#ifndef MP__POOL_JOB_H
#define MP__POOL_JOB_H
#include "pool/backend.h"
#include "pool/core.h"
#include <millpond/task.h>
#include <pthread.h>

typedef struct mp__job {
    mp__core_job core; /* first: the core's pointer is ours */
    /* fixed at submit; the arrays are the caller's, borrowed until the job is done */
    const mp_task *task;
    const unsigned char *items; /* NULL: the task takes nothing */
    unsigned char *out;         /* NULL: it gives nothing */
    mp_status *statuses;
    mp_error *errors;
    /* guarded by the pool's lock */
    size_t failed;
    mp_error first; /* of the failed item with the smallest index */
    bool done;
    pthread_cond_t finished; /* `done` */
} mp__job;

static inline mp__job *job_of(mp__core_job *core)
{
    return (mp__job *)core;
}

/* Item `index`, which is now running or about to. */
static inline const void *job_item(const mp__job *job, size_t index)
{
    static const mp_none none;
    return job->items ? job->items + index * job->task->input->size : (const void *)&none;
}

/* Stores the end of an item: its value out of a frame, or a failure. MP_OK, or why it failed. The error, whose item, task and
 * worker are filled in here, is borrowed. */
mp_status mp__job_store(mp__job *job, size_t index, mp__frame *frame, mp_error *error);
void mp__job_fail(mp__job *job, size_t index, mp_error *error);

#endif
