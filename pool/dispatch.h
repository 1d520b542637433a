/* The shell round the core: the pool's lock, its I/O thread, and the loop that turns what workers say into the core's events
 * and the core's actions into calls of the backend. The faces (map.c, async.c, iter.c) take the lock, hand jobs in and wait. */
#ifndef MP__POOL_DISPATCH_H
#define MP__POOL_DISPATCH_H
#include "pool/backend.h"
#include "pool/job.h"
#include <millpond/pool.h>

typedef struct mp__dispatch mp__dispatch;

/* A thread of the user's that holds the lock: it cannot be cancelled. */
typedef struct mp__guard {
    int cancelling; /* as pthread_setcancelstate has it */
} mp__guard;
void mp__dispatch_enter(mp__dispatch *dispatch, mp__guard *guard);
void mp__dispatch_leave(mp__dispatch *dispatch, const mp__guard *guard);

/* What breaks the pool for good, where a pool by itself would go on. */
typedef struct mp__fragile {
    bool by_initializer; /* one that fails, or dies, in any worker */
    bool by_crash;       /* a worker that dies unasked */
} mp__fragile;

/* What `mp__dispatch_open` is told beside the backend's own configuration. */
typedef struct mp__dispatch_config {
    mp__backend_config backend; /* `slots` is filled in */
    uint64_t life_items;        /* as mp__core_config */
    mp__fragile fragile;
    bool minds;       /* Ctrl-C: see interrupt.h */
    uint64_t spin_ns; /* for so long who waits stays awake, at most; 0: not at all */
} mp__dispatch_config;

/* Opens the backend, starts every worker, and waits until all are ready; then starts the I/O thread. On failure nothing is
 * left. Blocks. The dispatch has one reference, the pool's. */
mp_status mp__dispatch_open(mp__dispatch **dispatch, const mp__backend *backend, const mp__dispatch_config *config,
                            mp_error *error);

/* Handles outlive their pool: each holds a reference. Not with the lock. */
void mp__dispatch_ref(mp__dispatch *dispatch);
void mp__dispatch_unref(mp__dispatch *dispatch);

/* --- with the lock ------------------------------------------------------------------------------------------------------- */

/* Hands in a job; it is the core's until its kind's `done`. MP_ECLOSED, MP_EBROKEN, MP_ELIMIT: not taken. A job without items is
 * only asked about, unless it is open. */
mp_status mp__dispatch_submit(mp__dispatch *dispatch, mp__job *job, mp_error *error);
/* Its two halves, for several jobs that are taken or refused together: Ctrl-C, which is looked for once, may come at any moment. */
mp_status mp__dispatch_admits(mp__dispatch *dispatch, mp_error *error);
mp_status mp__dispatch_take(mp__dispatch *dispatch, mp__job *job, mp_error *error);
/* Gives the core all that is in line (see mp__dispatch_post): before what may not overtake it, or is about one of them. */
void mp__posted_flush(mp__dispatch *dispatch);
/* After events that came from a caller's thread: does what follows, and sees that whoever drives does not oversleep. */
void mp__dispatch_acted(mp__dispatch *dispatch);
mp__core *mp__dispatch_core(mp__dispatch *dispatch);
/* As mp__dispatch_close, with the lock; and acted. */
void mp__dispatch_close_locked(mp__dispatch *dispatch);
/* True if a worker has started the item, now. */
bool mp__dispatch_runs(mp__dispatch *dispatch, const mp__job *job, size_t index);
/* Does what is due, and takes what workers have said: answers to recalls among it. */
void mp__dispatch_catch_up(mp__dispatch *dispatch);
/* Takes back what of the job has not started, as far as that can be done at once; what ended by it has ended when this returns.
 * `force`: what runs is overdue from now on. */
void mp__dispatch_revoke(mp__dispatch *dispatch, mp__job *job, bool force);
/* True if what runs can be ended. */
bool mp__dispatch_can_end(const mp__dispatch *dispatch);
/* As mp__dispatch_resize, if that is more than ever were asked for; and how many were. */
mp_status mp__dispatch_grow_locked(mp__dispatch *dispatch, uint32_t workers);
uint32_t mp__dispatch_asked(const mp__dispatch *dispatch);
/* Whoever joins the pool, to free it, waits until who stays goes. With the lock. */
void mp__dispatch_stay(mp__dispatch *dispatch);
void mp__dispatch_go(mp__dispatch *dispatch);

/* What a thread waits for: `is_there`, looked at under the lock; `changed` is signalled when it may have come true. */
typedef struct mp__awaited {
    bool (*is_there)(const void *of);
    const void *of;
    pthread_cond_t *changed;
} mp__awaited;
/* Waits, driving the pool meanwhile if nobody else does. MP_ETIMEDOUT; MP_EDEADLK: this thread is the pool's last free worker. */
mp_status mp__dispatch_wait(mp__dispatch *dispatch, const mp__awaited *what, double timeout);
/* Those who wait for one of many things, each with a condition variable on its own stack, so that a thing costs a pointer. Guarded by
 * the lock. */
typedef struct mp__waiter {
    struct mp__waiter *next;
    pthread_cond_t woken;
} mp__waiter;
/* As mp__dispatch_wait, among these. */
mp_status mp__dispatch_wait_among(mp__dispatch *dispatch, mp__waiter **waiters, bool (*is_there)(const void *of),
                                  const void *of, double timeout);
void mp__dispatch_tell_all(mp__dispatch *dispatch, mp__waiter *waiters);
/* mp__dispatch_acted, and then this: who is going to drive by itself wakes nobody for that. */
mp_status mp__dispatch_acted_and_wait(mp__dispatch *dispatch, const mp__awaited *what, double timeout);
/* MP_EDEADLK if this thread may not wait for the pool; `for_each`: for something that every worker is to do. */
mp_status mp__dispatch_may_wait(const mp__dispatch *dispatch, bool for_each, mp_error *error);
/* For a wait that is not for one pool: this thread, if it is a worker of the pool, does not work until it is told otherwise.
 * MP_EDEADLK: as above. */
mp_status mp__dispatch_block(mp__dispatch *dispatch, bool *blocks);
void mp__dispatch_unblock(mp__dispatch *dispatch);
/* Tells who waits, whether asleep on `changed` or driving. */
void mp__dispatch_tell(mp__dispatch *dispatch, pthread_cond_t *changed);
/* A condition variable on the clock of the deadlines. */
void mp__dispatch_cond_init(pthread_cond_t *cond);

/* A call that is posted: the first part of an mp__single (single.h), which is that of a handle or a future. Its kind's functions are called with the lock. */
typedef struct mp__posted mp__posted;
typedef struct mp__posted_kind {
    /* It gets into line: MP_OK, or why it must not. NULL: nobody asks. */
    mp_status (*admit)(mp__posted *call, mp_error *error);
    /* False: nobody wants it any more; `forget` is then the last of it. NULL: it is wanted. */
    bool (*is_wanted)(const mp__posted *call);
    void (*forget)(mp__posted *call);
    /* It has ended, and this is the last of it: with its result, which is in place, or is to be moved there from `result` if that is
     * not NULL; or for this reason, filled in. */
    void (*ended)(mp__posted *call, const void *result, const mp_error *error);
    /* It never began. */
    void (*refuse)(mp__posted *call, const mp_error *error);
} mp__posted_kind;
struct mp__posted {
    union {
        mp__posted *next;        /* until it begins */
        struct mp__batch *batch; /* then, until it has ended: see batch.h */
    };
    const mp__posted_kind *kind;
    union {
        unsigned interrupts; /* until it begins: that there had been when it was posted */
        uint32_t index;      /* then: in its batch */
    };
    uint32_t task : 31; /* the task's index in the table */
    uint32_t begun : 1; /* and not ended */
};
#define MP__POSTED_TASK(index) ((index) & (uint32_t)INT32_MAX)
/* Calls `what` for each posted call of this kind that has not ended, the oldest first. It may end the call. With the lock. */
void mp__posted_each(mp__dispatch *dispatch, const mp__posted_kind *kind, void (*what)(mp__posted *call, const void *user),
                     const void *user);

/* --- without it, or with it ------------------------------------------------------------------------------------------------ */

/* Hands in a call like mp__dispatch_submit, but without the lock and, as long as all workers have enough to do, without a system call:
 * whoever takes the lock next, and that is soon, puts it into the pool's line of calls. Its job is made when its turn is near. What
 * would have been refused is told so. Not for calls with a deadline: it is not minded before. */
void mp__dispatch_post(mp__dispatch *dispatch, mp__posted *call);
/* True if new work is likely to be refused: the caller asks with the lock. */
bool mp__dispatch_is_shut(const mp__dispatch *dispatch);

/* --- without it ---------------------------------------------------------------------------------------------------------- */

void mp__dispatch_close(mp__dispatch *dispatch);
void mp__dispatch_terminate(mp__dispatch *dispatch);
void mp__dispatch_kill(mp__dispatch *dispatch);
mp_status mp__dispatch_resize(mp__dispatch *dispatch, uint32_t workers);
/* Waits for the end: MP_ERUNNING if it was neither closed nor terminated; MP_ETIMEDOUT; MP_EDEADLK: from inside. */
mp_status mp__dispatch_join(mp__dispatch *dispatch, double timeout);
/* True on a thread that is a worker of the pool. */
bool mp__dispatch_on_worker(const mp__dispatch *dispatch);
/* True on a thread that the end of the pool waits for: a worker of it, its callback thread, or that of a generator. */
bool mp__dispatch_inside(const mp__dispatch *dispatch);
/* Of a joined one: waits for others that are joining it, closes what it has but memory that handles still look at, and drops the
 * pool's reference. */
void mp__dispatch_free(mp__dispatch **dispatch);
void mp__dispatch_stats(mp__dispatch *dispatch, mp_pool_stats *stats);

#endif
