/* The callbacks of a pool's calls: a queue, and the one thread that runs them. */
#ifndef MP__POOL_CALLBACKS_H
#define MP__POOL_CALLBACKS_H
#include "pool/dispatch.h"
#include <pthread.h>

/* Part of what has a callback. */
typedef struct mp__callback {
    struct mp__callback *next;
    void (*run)(struct mp__callback *callback); /* the user's code; without the lock */
    void (*ran)(struct mp__callback *callback); /* with the lock; the callback may be gone when this returns */
} mp__callback;

/* On the stack of a thread that runs callbacks, with pthread_cleanup_push: if one of them ends the thread, `go_on` runs the others on its way
 * out, once. Where one of these ends it too, the way out leads through here again: out of a setjmp that returns more than once, so in line
 * gcc would take `left` for what it was before. */
typedef struct mp__exit_guard {
    void (*go_on)(void *of);
    void *of;
    bool left;
} mp__exit_guard;
void mp__exit_guard_left(void *guard);

/* Guarded by the pool's lock. */
typedef struct mp__callbacks {
    mp__callback *head, *tail; /* waiting, in order of completion */
    mp__callback *running;     /* has been taken and has not returned; NULL: none */
    bool thread_runs, stop;
    pthread_t thread;
    pthread_cond_t wanted; /* `head` or `stop` */
} mp__callbacks;

/* All with the lock. Makes sure that there is a thread: MP_ESYSTEM. */
mp_status mp__callbacks_start(mp__dispatch *dispatch, mp_error *error);
void mp__callbacks_push(mp__dispatch *dispatch, mp__callback *callback);
/* None waits and none runs. */
bool mp__callbacks_idle(const mp__callbacks *callbacks);
/* True on this pool's callback thread. */
bool mp__callbacks_here(const mp__dispatch *dispatch);
/* Tells the thread to leave; true: it is for the caller to join, without the lock. */
bool mp__callbacks_stop(mp__dispatch *dispatch, pthread_t *thread);

#endif
