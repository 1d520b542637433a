/* A call that was sent and not waited for: a job over arrays of its own, copies of the inputs and room for the results. Handles are
 * made of it. */
#ifndef MP__POOL_SENT_H
#define MP__POOL_SENT_H
#include "pool/job.h"
#include "pool/pool.h"

enum { MP__SENT_SMALL = 16 };

typedef struct mp__sent {
    mp__array_job array; /* first: the job's pointer is ours */
    void *items;         /* the copies, until the job is done */
    mp_status only; /* where there is a single item: its status; and small values, which then need no memory of their own */
    _Alignas(MP__SENT_SMALL) unsigned char input[MP__SENT_SMALL];
    _Alignas(MP__SENT_SMALL) unsigned char result[MP__SENT_SMALL];
} mp__sent;

/* Checks the call, and takes what it needs: MP_OK, or what is wrong. In any case mp__sent_fini. The job's kind is the caller's to
 * set. */
mp_status mp__sent_prepare(mp__sent *sent, const mp_pool *pool, const mp_task *task, const void *items, size_t n,
                           ptrdiff_t chunksize, const mp_policy *policy, mp_error *error);
/* When the job is done: the inputs are freed, and the results held: shown to whoever asks, and owned here. With the lock. */
void mp__sent_done(mp__sent *sent);
/* The results. Nothing is allocated: what they point to stays here. */
void mp__sent_show(const mp__sent *sent, void *out);
void mp__sent_fini(mp__sent *sent);
/* It was refused: what is wrong is kept, as if its items had failed. */
void mp__sent_refuse(mp__sent *sent, const mp_error *error);
/* What became of it: MP_OK, or the status of the error. Once it is done. */
mp_status mp__sent_status(const mp__sent *sent);
const mp_error *mp__sent_error(const mp__sent *sent);

#endif
