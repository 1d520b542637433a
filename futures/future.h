/* The inside of a future, shared by future.c (states, results, callbacks), own.c (futures of one's own), watch.c (several at a
 * time) and executor.c. */
#ifndef MP__FUTURES_FUTURE_H
#define MP__FUTURES_FUTURE_H
#include "pool/callbacks.h"
#include "pool/process_id.h"
#include "pool/single.h"
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

/* The callbacks of a future that has some. Guarded by its lock. */
typedef struct mp__calls {
    mp__callback call; /* first: of its pool's thread */
    mp_future *future;
    mp__done_callback *head, *last;
    bool calling; /* they run, or wait to: what is added now goes behind */
} mp__calls;

/* While it waits, a future of an executor is this and its input and result, which stand behind it (pool/single.h): many of them may
 * wait. What else a call needs is there while the core has it. */
struct mp_future {
    mp__single single; /* first; of one's own: its end only */
    /* atomic */
    atomic_uint holders; /* users, the engine until the job is done, callbacks until they have run, watchers */
    /* fixed when it is made */
    pid_t owner;
    mp__dispatch *dispatch; /* held; its lock is ours. NULL: of one's own, or refused: see mp__future_lock */
    bool own;               /* it is an mp__own_future */
    mp__sheet_at at;        /* as mp__single_make has it */
    /* guarded by the lock until it is done */
    _Atomic(unsigned char) state; /* mp__future_state; written with the lock; what is done is looked at without it */
    /* guarded by the lock */
    mp_executor *executor; /* held, until it has got this back; NULL: of nobody */
    mp__calls *calls;
    mp__watch *watches;
    mp__waiter *waiters;
};
_Static_assert(sizeof(void *) != 8 || sizeof(mp_future) <= 104, "many of them may wait");

typedef struct mp__own_future {
    mp_future future;    /* first */
    const mp_type *type; /* of the result; NULL: not known */
    void *value;         /* the result, held; NULL: there is none. Guarded as the future's end */
} mp__own_future;

/* A future of one's own with one holder, PENDING. NULL: no memory. */
mp_future *mp__future_make(const mp_type *type);
/* One for an executor, with room for what its task takes and gives; both NULL: it is not known, and refused. */
mp_future *mp__future_make_for(mp__dispatch *dispatch, const mp_task *task);
/* Of its result; NULL: it was refused before that was known. */
static inline const mp_type *mp__future_type(const mp_future *future)
{
    const mp_task *task = future->single.task;
    return future->own ? ((const mp__own_future *)future)->type : task ? task->output : NULL;
}
/* It has an end, and this is the reason: FINISHED before anybody has seen it. */
void mp__future_refuse(mp_future *future, const mp_error *error);
const mp_error *mp__future_error(const mp_future *future);
/* The one for want of memory: a constant. */
mp_future *mp__future_no_memory(void);
/* MP_OK: it can be used here; else MP_EINVAL or MP_EFOREIGN. The one for want of memory is everybody's. */
static inline mp_status mp__future_check(const mp_future *future)
{
    if (!future)
        return MP_EINVAL;
    return future->owner == mp__process_id() || future == mp__future_no_memory() ? MP_OK : MP_EFOREIGN;
}
/* PENDING, and it will not be anything but CANCELLED: with the lock. The answer is that of mp__future_complete. */
bool mp__future_cancelled(mp_future *future);
/* work.c: its item has ended, as mp__posted_kind has it. */
void mp__future_ended(mp__posted *call, const void *result, const mp_error *error);
/* True if it runs on a worker, now; takes it back if it does not, without the engine's events. With the lock, and PENDING. */
bool mp__future_runs(mp_future *future);
void mp__future_recall(mp_future *future);
/* The same with events, as mp__dispatch_revoke. */
void mp__future_revoke(mp_future *future, bool force);
/* own.c: one of one's own ends as another did that has no result; nothing if it is done. */
void mp__future_end_like(mp_future *future, const mp_error *error);

/* Nobody who holds it can be cancelled, whichever lock it is. A handler of signals is kept out of an executor's only. */
void mp__future_lock(mp_future *future, mp__guard *guard);
void mp__future_unlock(mp_future *future, const mp__guard *guard);
/* Not with the lock, unless it cannot be the last. */
void mp__future_unhold(mp_future *future);
/* The same, for pthread_cleanup_push. */
void mp__future_unhold_on_exit(void *future);

static inline bool mp__future_is_done(const mp_future *future)
{
    unsigned char state = atomic_load_explicit(&future->state, memory_order_acquire);
    return state == MP__CANCELLED || state == MP__FINISHED;
}

/* Enters its last state, with the lock: who waits is told. True: the caller is to run the callbacks, without the lock
 * (mp__future_call_back); else they run on their pool's thread. */
bool mp__future_complete(mp_future *future, mp__future_state state);
void mp__future_call_back(mp_future *future);

/* The result of one that is FINISHED and has one, where it lies. */
const void *mp__future_value(const mp_future *future);

/* watch.c: the future is done; with its lock. */
void mp__watches_done(mp_future *future);

/* submit.c: for its executor, if it has one, it is done; and that has got it back. With the lock. */
void mp__future_has_ended(const mp_future *future);
void mp__future_over(mp_future *future);

#endif
