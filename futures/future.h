/* The inside of a future, shared by future.c (states, results, callbacks), own.c (futures of one's own), watch.c (several at a
 * time) and executor.c. */
#ifndef MP__FUTURES_FUTURE_H
#define MP__FUTURES_FUTURE_H
#include "pool/callbacks.h"
#include "pool/sent.h"
#include <millpond/executor.h>
#include <stdatomic.h>

/*     PENDING --> RUNNING --> FINISHED      RUNNING: of one's own only; whether an executor's runs is asked of its worker
 *        `------> CANCELLED */
typedef enum mp__future_state { MP__PENDING, MP__RUNNING_OWN, MP__CANCELLED, MP__FINISHED } mp__future_state;

typedef struct mp__done_callback {
    struct mp__done_callback *next;
    void (*call)(mp_future *future, void *user);
    void *user;
} mp__done_callback;

/* Somebody who waits for several futures, seen from one of them. */
typedef struct mp__watch {
    struct mp__watcher *watcher;
    mp_future *future;
    struct mp__watch *previous, *next; /* of the future */
    struct mp__watch *next_done;       /* of the watcher */
} mp__watch;

/* Work that an executor has not got back yet: a future, or a map. Guarded by the pool's lock. */
typedef struct mp__errand {
    struct mp__errand *previous, *next;
    mp_executor *executor; /* held; NULL: of nobody */
    /* Takes back what has not started. Does not call the engine's events: they come when all have been asked. */
    void (*revoke)(struct mp__errand *errand);
    /* After that: what could not be taken back and does not run either counts as cancelled from now on. NULL: nothing to do. */
    void (*settle)(struct mp__errand *errand);
} mp__errand;

struct mp_future {
    mp__sent sent; /* first: the job's pointer is ours. Of an executor's */
    /* fixed when it is made */
    pid_t owner;
    mp__dispatch *dispatch; /* held; its lock is ours. NULL: of one's own, or refused: `own` is */
    pthread_mutex_t own;
    const mp_type *type; /* of the result; NULL: it was refused before that was known */
    /* atomic */
    atomic_uint holders; /* users, the engine until the job is done, callbacks until they have run, watchers */
    /* guarded by the lock */
    mp__future_state state;
    mp_error error;
    void *value; /* of one's own: given by mp_future_set_result */
    mp__done_callback *callbacks, *last_callback;
    bool calling; /* they run, or wait to: what is added now goes behind */
    mp__callback call;
    mp__watch *watches;
    pthread_cond_t changed;
    mp__errand errand;
};

typedef struct mp__future_guard {
    mp__guard guard;
} mp__future_guard;

/* A future with one holder, PENDING. NULL: no memory. */
mp_future *mp__future_make(const mp_type *type);
/* It has an end, and there is a reason: FINISHED before anybody has seen it. */
void mp__future_refuse(mp_future *future);
/* The one for want of memory: a constant. */
mp_future *mp__future_no_memory(void);
/* PENDING, and it will not be anything but CANCELLED: with the lock, of an executor's. */
void mp__future_cancelled(mp_future *future);
extern const mp__job_kind mp__future_kind;
/* own.c: one of one's own ends as another did that has no result; nothing if it is done. */
void mp__future_end_like(mp_future *future, const mp_error *error);

void mp__future_lock(mp_future *future, mp__future_guard *guard);
void mp__future_unlock(mp_future *future, const mp__future_guard *guard);
/* Not with the lock, unless it cannot be the last. */
void mp__future_unhold(mp_future *future);

static inline bool mp__future_is_done(const mp_future *future)
{
    return future->state == MP__CANCELLED || future->state == MP__FINISHED;
}

/* Enters its last state, with the lock: who waits is told. True: the caller is to run the callbacks, without the lock
 * (mp__future_call_back); else they run on their pool's thread. */
bool mp__future_complete(mp_future *future, mp__future_state state);
void mp__future_call_back(mp_future *future);

/* The result of one that is FINISHED and has one, where it lies. */
const void *mp__future_value(const mp_future *future);

/* watch.c: the future is done; with its lock. */
void mp__watches_done(mp_future *future);

/* executor.c: its errand is over; with the lock. `error`: how, if it failed. */
void mp__errand_over(mp__errand *errand);

#endif
