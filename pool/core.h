/* The core of a pool: which item goes to which worker, and what each item's end is. It only decides: events go in as calls,
 * actions come out of mp__core_next. No lock, no clock, no system call, and no allocation but by mp__core_create and _resize.
 *
 * A *job* is one call's array of items. Its items travel in *chunks*, ranges of it: from the job to a worker's queue, from
 * whose front results take them item by item. What a dead worker had not started, or an idle one's neighbour gives back,
 * returns to the front of its job. Item k of a worker's life is called its k-th *ordinal*: results come in that order, and
 * the worker says which ordinal it has started. So blame needs no identifiers and no memory per item.
 *
 * A *slot* is where a life of a worker is kept; each life in it is a *generation*. Events of another generation are dropped and
 * counted. A *place* is what users know a worker by, from 0 to the number of workers wanted: a life that retires, because it
 * has had as many items as it may or fewer workers are wanted, keeps its slot until it is gone, and its place goes to the next
 * one at once. So there are more slots than places.
 *
 *     slot:  EMPTY -> STARTING -> READY -> RETIRING -> STOPPING -> EMPTY   (lost: from each of them back to EMPTY; KILLED:
 *                         `----------`---------`-----------`-> KILLED -> EMPTY   terminate, nonsense, or it would not leave)
 *     RETIRING: told to stop, and still has items that it was sent; STOPPING: has none, and its time runs.
 *
 * Jobs may be *open*: more items come (mp__core_extend) until it is sealed. A cancelled job's items that have not started end
 * with MP_ECANCELLED: those not handed out at once, those with workers when they have been taken back.
 *
 *     core:  RUNNING -> CLOSED -> ENDED;  RUNNING, CLOSED, BROKEN -> TERMINATED -> ENDED;  RUNNING -> BROKEN
 *
 * The first law: accepted == finished + pending, and each accepted item ends exactly once. mp__core_check looks. */
#ifndef MP__POOL_CORE_H
#define MP__POOL_CORE_H
#include <millpond/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp__core mp__core;
typedef struct mp__core_job mp__core_job;

/* Items [first, first + count) of a job. On a worker the first `count - unsent` of them have been sent. */
typedef struct mp__chunk {
    struct mp__chunk *next;
    mp__core_job *job;
    size_t first, count, unsent;
    /* once it has ended without a result: how, and in which life */
    mp_status status;
    uint32_t slot, generation;
} mp__chunk;

typedef struct mp__chunks {
    mp__chunk *head, *tail;
} mp__chunks;

/* The core's part of a job; part of whatever struct the shell keeps. */
struct mp__core_job {
    /* set by the shell before submit */
    size_t n;         /* how many items so far; only mp__core_extend changes it */
    size_t chunksize; /* 0: the core chooses */
    uint32_t task;    /* below mp__core_config.tasks: jobs of one task share what is known of its time */
    uint32_t pin;     /* 0: any worker runs it; k: only the one in place k - 1 does. Its job has one item */
    bool open;        /* more items may come: it is not done before mp__core_seal */
    bool quiet;       /* if it is cancelled while an item runs, its task is not told */
    /* core only */
    mp__core_job *next;   /* in the queue of jobs with items to hand out, or in the list of done ones */
    mp__core_job *before; /* in that queue */
    uint64_t number;      /* order of submission */
    size_t fresh;         /* items from here on have never been handed out */
    mp__chunks returned;  /* handed out, and back: they go first */
    mp__chunk rest;       /* stands for what is left of the job when it ends early */
    size_t waiting;       /* items to hand out: the fresh and the returned */
    size_t pending;       /* items without an end */
    bool queued;
    bool cancelled;
};

typedef struct mp__core_config {
    uint32_t workers; /* wanted; at least 1. There are twice as many slots, so that a replacement can start early */
    uint32_t tasks;
    uint32_t
        chunks; /* ranges of items that can exist at a time, for each worker; 0: 32. Too few cost time, never an item */
    uint64_t life_items; /* a life gets no more items than this; 0: no limit */
    bool unkillable; /* a worker that runs an item cannot be ended, and the item ends only when its task returns: threads */
} mp__core_config;

typedef enum mp__core_state { MP__RUNNING, MP__CLOSED, MP__BROKEN, MP__TERMINATED, MP__ENDED } mp__core_state;

enum {
    MP__WINDOW_NS = 400000,     /* work on a worker at a time: two chunks of half of it each */
    MP__WINDOW_ITEMS = 16384,   /* and never more items than that */
    MP__ALONE_NS = 1000000,     /* calls of one item that takes this long, or nobody knows how long, are sent one by one */
    MP__RECALL_ITEM_NS = 50000, /* items at least this long are worth taking back from a neighbour at once */
    MP__RECALL_NS = 200000,     /* others when their worker has shown no progress for this long */
    MP__FAILURES_MAX = 6,       /* lives in a row that came to nothing: when no place has done better, the core is broken */
    MP__BACKOFF_NS = 10000000,  /* second such life: start after this long, then twice, ... */
    MP__BACKOFF_MAX_NS = 1000000000
};
#define MP__GRACE_NS 1000000000ull  /* from SIGTERM, or from being told to stop, until SIGKILL */
#define MP__START_NS 20000000000ull /* from being started to being ready; the longest that a busy machine may need */
#define MP__NEVER UINT64_MAX
#define MP__UNKNOWN UINT64_MAX

typedef struct mp__core_item {
    mp__core_job *job;
    size_t index;
} mp__core_item;

typedef enum mp__action_kind {
    MP__ACT_NONE,
    MP__ACT_FAIL,   /* items [first, first + count) of `job` ended with `status`; `slot`: in whose life, or MP__NO_SLOT */
    MP__ACT_DONE,   /* every item of `job` has ended: forgotten by the core */
    MP__ACT_START,  /* begin life `generation` in `slot`, as worker `place`; answer: greeted, ready, start_failed or lost */
    MP__ACT_SEND,   /* `slot` has items to send: see mp__core_unsent */
    MP__ACT_RECALL, /* ask what `slot` has started and keep it from starting more; answer: recalled */
    MP__ACT_CANCEL, /* nobody waits any more for what `slot` runs now: its task may be told; no answer */
    MP__ACT_STOP,   /* tell it to leave when it is through with what it was sent; answer: lost */
    MP__ACT_KILL,   /* SIGTERM, or SIGKILL when `hard`; answer: lost */
} mp__action_kind;
#define MP__NO_SLOT UINT32_MAX

typedef struct mp__core_action {
    mp__action_kind kind;
    uint32_t slot, generation, place;
    bool hard;
    mp__core_job *job;
    size_t first, count;
    mp_status status;
} mp__core_action;

typedef struct mp__core_counts {
    uint64_t accepted, finished, pending; /* items */
    uint64_t started, lost, stale;
    uint32_t ready;  /* lives that are READY or RETIRING: those that run items */
    uint32_t wanted; /* workers */
} mp__core_counts;

/* NULL: no memory. */
mp__core *mp__core_create(const mp__core_config *config);
void mp__core_free(mp__core **core);

/* The time of the events that follow, in ns on one clock that never goes back; and does what has become due. */
void mp__core_time(mp__core *core, uint64_t now);
/* When mp__core_time has something to do if nothing else happens: MP__NEVER for an idle pool. */
uint64_t mp__core_deadline(const mp__core *core);
/* The time that it was told last. */
uint64_t mp__core_now(const mp__core *core);

/* True if a worker may have finished what it has not said: more than one of the items that it was sent has no result. One that has
 * no other item left says so at once. */
bool mp__core_may_hide(const mp__core *core);

/* Takes a job until its MP__ACT_DONE. MP_ECLOSED, MP_EBROKEN, MP_ELIMIT (more items than can be counted): not taken. A job
 * without items is answered likewise, and never taken. */
mp_status mp__core_submit(mp__core *core, mp__core_job *job);
/* More items of an open job: [job->n, job->n + count). Also after close, for the job was accepted before. MP_ECANCELLED,
 * MP_ETERMINATED, MP_EBROKEN, MP_ELIMIT: not taken. */
mp_status mp__core_extend(mp__core *core, mp__core_job *job, size_t count);
/* No more items come: the job is done when the last one has ended, which may be now. Once, for each open job, and whatever became
 * of the core: it does not end before. */
void mp__core_seal(mp__core *core, mp__core_job *job);
/* Ends what has not started. What runs goes on, and its worker is told (MP__ACT_CANCEL). Does not seal. Idempotent. */
void mp__core_cancel(mp__core *core, mp__core_job *job);
/* How many workers are wanted from now on; at least 1. Lives in places that are no more retire, and what they have not started is
 * taken back; pinned jobs for these places, now or later, end with MP_ECANCELLED. May allocate: MP_ENOMEM, and nothing has
 * changed. MP_ECLOSED, MP_EBROKEN. */
mp_status mp__core_resize(mp__core *core, uint32_t workers);
/* How many slots there are: actions name slots below this. Grows with resize. */
uint32_t mp__core_slots(const mp__core *core);
void mp__core_close(mp__core *core);
/* Every item ends now with MP_ETERMINATED; where workers cannot be killed, those that have been sent when they have come back, and
 * those that run as their tasks return, with what they give. */
void mp__core_terminate(mp__core *core);
/* The same, and workers are not asked first. */
void mp__core_kill(mp__core *core);
/* No worker can be started any more, now or later: as terminate, with MP_EBROKEN. */
void mp__core_break(mp__core *core);

/* The life has begun, and prepares itself for as long as it likes: nothing but ready, start_failed or lost is waited for. */
void mp__core_greeted(mp__core *core, uint32_t slot, uint32_t generation);
void mp__core_ready(mp__core *core, uint32_t slot, uint32_t generation);
void mp__core_start_failed(mp__core *core, uint32_t slot, uint32_t generation);

/* The next result of a worker: which item it belongs to. That item has now ended. False: it belongs to none, and was counted;
 * `*nonsense` says that a worker in good standing sent it, so that it is not to be trusted further. */
bool mp__core_result(mp__core *core, uint32_t slot, uint32_t generation, mp__core_item *item, bool *nonsense);
/* The same for up to `count` results at once: how many of them belong to items that follow each other in one job, from `*item`
 * on. 0: as false above. */
size_t mp__core_results(mp__core *core, uint32_t slot, uint32_t generation, size_t count, mp__core_item *item,
                        bool *nonsense);
/* `items` results of this job took the worker `ns`. */
void mp__core_measured(mp__core *core, const mp__core_job *job, uint64_t items, uint64_t ns);

/* Answer to a recall: the worker has started that many ordinals, and will start no more of what it was sent. MP__UNKNOWN: that
 * cannot be said now; only what was not sent comes back. */
void mp__core_recalled(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started);
/* A life is over, and `started` is how many ordinals it had started. All its results have been handed in before. */
void mp__core_lost(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started);
/* The worker must not live: it spoke nonsense. Where workers cannot be killed it is counted, and that is all. */
void mp__core_condemn(mp__core *core, uint32_t slot, uint32_t generation);

/* The next thing to do. Ends of items come first, then done jobs, then the rest. False: nothing. */
bool mp__core_next(mp__core *core, mp__core_action *action);

/* The next item to be sent to a worker, and that it has been sent. */
bool mp__core_unsent(mp__core *core, uint32_t slot, mp__core_item *item);
void mp__core_sent(mp__core *core, uint32_t slot);

mp__core_state mp__core_get_state(const mp__core *core);
mp__core_counts mp__core_get_counts(const mp__core *core);
/* True if as many workers take items as are wanted. */
bool mp__core_all_ready(const mp__core *core);
/* Where an item is that has been sent: which ordinal of which slot. False: it has not been, or has ended. */
bool mp__core_find(const mp__core *core, const mp__core_job *job, size_t index, uint32_t *slot, uint64_t *ordinal);
/* The place of the life that is in the slot, or was last. */
uint32_t mp__core_place(const mp__core *core, uint32_t slot);

/* NULL if every invariant holds, else which does not. Walks everything: for tests and debug builds. */
const char *mp__core_check(const mp__core *core);

#endif
