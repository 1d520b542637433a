/* Which pool's worker runs on the calling thread. */
#ifndef MP__THREAD_THREAD_H
#define MP__THREAD_THREAD_H
#include "pool/backend.h"

/* The workers of which the calling thread is one, or NULL: it is no worker, or a thread that a task has started. A task on a
 * thread of one pool that uses another is on no thread of that other, unless that one runs its items on its callers' threads: then it
 * is on both, and this is the one whose task began last. Only to be compared. */
const mp__workers *mp__thread_pool(void);
/* True if the thread is a worker of these, last or not. */
bool mp__thread_is_of(const mp__workers *workers);

#endif
