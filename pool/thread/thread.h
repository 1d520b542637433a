/* Which pool's thread the caller is. */
#ifndef MP__THREAD_THREAD_H
#define MP__THREAD_THREAD_H
#include "pool/backend.h"

/* The workers of which the calling thread is one, or NULL: it is no worker, or a thread that a task has started. A task on a
 * thread of one pool that uses another is on no thread of that other. Only to be compared. */
const mp__workers *mp__thread_pool(void);

#endif
