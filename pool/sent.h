/* A call that was sent and not waited for: a job over arrays of its own, copies of the inputs and room for the results. Handles and
 * futures are made of it. */
#ifndef MP__POOL_SENT_H
#define MP__POOL_SENT_H
#include "pool/job.h"
#include "pool/pool.h"

typedef struct mp__sent {
    mp__array_job array; /* first: the job's pointer is ours */
    void *items;         /* the copies, until the job is done */
} mp__sent;

/* Checks the call, and takes what it needs: MP_OK, or what is wrong. In any case mp__sent_fini. The job's kind is the caller's to
 * set. */
mp_status mp__sent_prepare(mp__sent *sent, const mp_pool *pool, const mp_task *task, const void *items, size_t n,
                           ptrdiff_t chunksize, mp_error *error);
/* When the job is done: the inputs are freed, and the results held: shown to whoever asks, and owned here. With the lock. */
void mp__sent_done(mp__sent *sent);
/* The results. Nothing is allocated: what they point to stays here. */
void mp__sent_show(const mp__sent *sent, void *out);
/* True if `size`, which the macros take from what `out` points to, is not that of a result. */
bool mp__sent_misfits(const mp__sent *sent, const void *out, size_t size);
void mp__sent_fini(mp__sent *sent);

#endif
