/* The inside of an executor, shared by executor.c (how it begins and ends, its maps) and submit.c (how futures come to it). */
#ifndef MP__FUTURES_EXECUTOR_H
#define MP__FUTURES_EXECUTOR_H
#include "futures/future.h"

/* A map that an executor has not got back yet. Guarded by the pool's lock. */
typedef struct mp__errand {
    struct mp__errand *previous, *next;
    mp_executor *executor; /* held; NULL: of nobody */
} mp__errand;

typedef enum mp__executor_state { MP__EXECUTOR_OPEN, MP__EXECUTOR_SHUT } mp__executor_state;

struct mp_executor {
    /* fixed at open */
    pid_t owner;
    mp_pool *pool;
    mp__dispatch *dispatch; /* held */
    bool owns;              /* the pool */
    uint32_t max_workers;   /* 0: the pool sees to it */
    size_t max_queue;       /* 0: no limit */
    mp__core_job usual;     /* terms of calls that have none of their own */
    /* atomic: written with the pool's lock */
    _Atomic mp__executor_state state;
    atomic_bool grown; /* it has all the workers that it may have */
    /* guarded by the pool's lock */
    mp__errand *maps; /* not done yet; */
    size_t left;      /* how many, and futures likewise: a future whose callbacks run is one; */
    size_t undone;    /* of these, what has no result yet */
    unsigned holders;
    pthread_cond_t changed; /* `left`, `undone` or `state` */
};

mp_status mp__executor_check(const mp_executor *executor, mp_error *error);
/* The rest with the lock. MP_OK, or why nothing is taken. */
mp_status mp__executor_is_open(const mp_executor *executor, mp_error *error);
/* It has something more to get back, a future or a map; that is done, and has room for another one; and it has got it back: it may be
 * gone then. */
void mp__executor_lends(mp_executor *executor);
void mp__executor_is_done(mp_executor *executor);
void mp__executor_gets_back(mp_executor *executor);
/* Without the lock, for who comes later. It stays there, though it may be shut down; and it is not shut down, nor its pool freed, until
 * mp__executor_let_go: MP_OK, or why nothing is taken. */
void mp__executor_hold(mp_executor *executor);
void mp__executor_unhold(mp_executor *executor);
mp_status mp__executor_keep_open(mp_executor *executor, mp_error *error);
void mp__executor_let_go(mp_executor *executor);
/* One more worker if none idles. What fails here fails nobody: those that are there do the work. */
void mp__executor_grow(mp_executor *executor);
/* submit.c: takes back all its futures that do not run. */
void mp__executor_recall_futures(mp_executor *executor);
/* After that, and when events have been looked at: what could not be taken back and does not run counts as cancelled. */
void mp__executor_settle_futures(mp_executor *executor);

#endif
