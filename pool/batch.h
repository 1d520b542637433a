/* Posted calls that become the core's: as one job those that follow each other and are alike, as long as nobody asks for the end of a
 * single one. All with the pool's lock. */
#ifndef MP__POOL_BATCH_H
#define MP__POOL_BATCH_H
#include "pool/dispatch.h"

enum { MP__BATCH_MAX = 128 };

/* How many may be in one batch with this one, the first of it; and whether another call may be in it, if it is more than one. */
size_t mp__batch_most(const mp__posted *first);
bool mp__batch_fits(const mp__posted *first, const mp__posted *call);
/* A job of these calls, MP__BATCH_MAX at most, all of which fit the first; it is theirs until the core has it, and gone when they have
 * ended. NULL: no memory. */
mp__job *mp__batch_make(mp__dispatch *dispatch, mp__posted *const *calls, size_t n);
/* The core has not taken it, and its calls look at it no more. */
void mp__batch_drop(mp__job *job);

/* See mp__posted_each. */
void mp__batches_each(mp__dispatch *dispatch, const mp__posted_kind *kind, void (*what)(mp__posted *call, const void *user),
                      const void *user);
/* Frees those that are kept for others. */
void mp__batches_free(mp__dispatch *dispatch);

/* Of a call that has begun, and has not ended: whether it runs on a worker, now; and its job, which is its own from now on. */
bool mp__batch_runs(mp__dispatch *dispatch, const mp__posted *call);
mp__job *mp__batch_part(mp__dispatch *dispatch, const mp__posted *call);

#endif
