/* A job: items that were submitted together, where each one's input is and its result goes, and how their end is told. Every
 * face stands on it: map on arrays of the caller's, async on arrays of its own, a stream on cells that come and go. */
#ifndef MP__POOL_JOB_H
#define MP__POOL_JOB_H
#include "pool/backend.h"
#include "pool/core.h"
#include <millpond/task.h>
#include <pthread.h>

typedef struct mp__job mp__job;

/* All with the pool's lock, on whichever thread drives; none blocks, calls the engine, or runs code of the user's. */
typedef struct mp__job_kind {
    /* Where items [index, index + items->count), or the first ones of these, have their inputs and their results; both stay there until
     * each has ended. Fills in places, distances and the count of what stands in a row, and as `index` which item of the user's the
     * first is. */
    void (*locate)(mp__job *job, size_t index, mp__items *items);
    /* Items [first, first + count) have ended: their results are in `out`; or they have none and `error` (filled in, its item the
     * first) says why, and `out` is to be zeroed. `bytes`: about what the result takes beyond `out`, or MP__BYTES_UNKNOWN. */
    void (*ended)(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes);
    /* Every item has ended, and the engine looks at the job no more: it may be gone when this returns. */
    void (*done)(mp__job *job);
} mp__job_kind;

#define MP__BYTES_UNKNOWN SIZE_MAX

struct mp__job {
    mp__core_job core; /* first: the core's pointer is ours */
    const mp__job_kind *kind;
    const mp_task *task;
};

static inline mp__job *job_of(mp__core_job *core)
{
    return (mp__job *)core;
}

/* Items end: with values out of `count` frames that follow each other, of which `*frame` is the first, and later the last; or with a
 * failure. How many of the values could not be read: these items have failed. The error's worker and pid say where they ran; the rest
 * is filled in here. */
size_t mp__job_store(mp__job *job, size_t first, size_t count, mp__frame *frame, mp_error *error);
void mp__job_fail(mp__job *job, size_t first, size_t count, mp_error *error);

/* A job over arrays: of the caller's, borrowed until it is done, or its owner's. */
typedef struct mp__array_job {
    mp__job job;
    /* fixed at submit */
    const unsigned char *items; /* NULL: the task takes nothing */
    unsigned char *out;         /* NULL: it gives nothing */
    mp_status *statuses;        /* NULL: not wanted */
    mp_error *errors;           /* NULL: not wanted */
    /* guarded by the pool's lock */
    size_t failed;
    mp_error
        *first; /* of the failed item with the smallest index; of a cancelled one only if there is no other. NULL: none has
                       * failed; or there was no memory for it, and its status is all there is. Allocated, if it is not there before */
    mp_status unsaid; /* that status, */
    size_t nameless;  /* and which item that was */
    mp_none nothing;  /* every item's place for its result, where there is no `out` */
} mp__array_job;

/* What became of it, once it is done: MP_OK, or the status of `first`, also where there was no memory for that. */
static inline mp_status mp__array_job_status(const mp__array_job *array)
{
    return !array->failed ? MP_OK : array->first ? array->first->status : array->unsaid;
}

void mp__array_job_locate(mp__job *job, size_t index, mp__items *items);
void mp__array_job_ended(mp__job *job, size_t first, size_t count, const mp_error *error, size_t bytes);

#endif
