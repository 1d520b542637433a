/* The thread of a worker: its own, or one that is lent to it. */
#ifndef MP__THREAD_WORKER_H
#define MP__THREAD_WORKER_H
#include <stdbool.h>

/* For pthread_create; the argument is its mp__lane, which is borrowed until the thread is joined. */
void *mp__thread_run(void *lane);

/* A worker without a thread: others lend it theirs, one at a time, for a step each. */
typedef struct mp__worker mp__worker;
/* For a new life of the lane (a mp__lane, borrowed). NULL: no memory. */
mp__worker *mp__worker_create(void *lane);
void mp__worker_free(mp__worker *worker);
/* While no step is under way: true if there is something to do in one. */
bool mp__worker_wants(const mp__worker *worker);
/* Its initializer; or items, a fifth of a millisecond of them if they are short, and none behind one that fails; or its finalizer. The
 * lane is among the news then, and nobody is woken. It may be freed meanwhile, when its life is over. */
void mp__worker_step(mp__worker *worker);

#endif
