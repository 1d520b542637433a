/* The thread of a worker. */
#ifndef MP__THREAD_WORKER_H
#define MP__THREAD_WORKER_H

/* For pthread_create; the argument is its mp__lane, which is borrowed until the thread is joined. */
void *mp__thread_run(void *lane);

#endif
