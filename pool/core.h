/* The core of a pool: which item goes to which worker, and what each item's end is. It only decides: events go in as calls,
 * actions come out of mp__core_next. No lock, no clock, no system call, and no allocation but by mp__core_create and _resize; and for
 * many items that wait to be run again.
 *
 * A *job* is one call's array of items. Its items travel in *chunks*, ranges of it: from the job to a worker's queue, from
 * whose front results take them item by item. What a dead worker had not started, or an idle one's neighbour gives back,
 * returns to the front of its job. Item k of a worker's life is called its k-th *ordinal*: results come in that order, and
 * the worker says which ordinal it has started. So blame needs no identifiers and no memory per item.
 *
 * A *slot* is where a life of a worker is kept; each life in it is a *generation*. Events of another generation are dropped and
 * counted. A *place* is what users know a worker by, from 0 to the number of workers wanted: a life that retires, because it
 * has had as many items as it may or fewer workers are wanted, keeps its slot until it is gone, and its place goes to the next
 * one at once, which gets items when the old one has none. So there are more slots than places, and never more items at a time
 * than places, but those that are being ended (DOOMED, KILLED) or out of reach, and those of places that are no more.
 *
 *     slot:  EMPTY -> STARTING -> READY -> RETIRING -> STOPPING -> EMPTY   (lost: from each of them back to EMPTY; KILLED:
 *                         `----------`---------`-----------`-> KILLED -> EMPTY   terminate, nonsense, or it would not leave)
 *                                    `---------`-> DOOMED -> KILLED, EMPTY
 *     RETIRING: told to stop, and still has items that it was sent; STOPPING: has none, and its time runs. DOOMED: was sent SIGTERM
 *     for its overdue item; what it had finished still counts.
 *
 * Calls that come one by one may be handed in together, as one job that is split when one of them is to have an end of its own
 * (core_split.c).
 *
 * Jobs may be *open*: more items come (mp__core_extend) until it is sealed. A cancelled job's items that have not started end
 * with its verdict, MP_ECANCELLED mostly: those not handed out at once, those with workers when they have been taken back.
 *
 * An item whose time is up, or whose job is cancelled by force while it runs, is *overdue*. Its task is told; if it has looked
 * whether it is cancelled it gets its *grace* to return, else it is ended, and its life with it, as soon as it had a CPU to look.
 * What it returns until then is its end, if it went well; else it ends with the reason why it was overdue. An item that has failed
 * may be run again (mp__core_job.retries): it waits until its back-off is over, and goes to the front of its job.
 *
 * How long an item has run is not told but sampled: while one that has a time-out may run, the core asks every tick how far its
 * worker is (MP__ACT_WATCH). What is seen running twice has run the time between. So time-outs are never early, and late by a
 * tick at most, or by what it takes until a task that does not look has had a CPU to do so.
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

/* Something to be done at a time: a node of a heap (core_time.c). */
typedef struct mp__timed {
    uint64_t at, order;                      /* of those with the same time the one of lower order is first */
    struct mp__timed *child, *next, *before; /* before: the one it stands behind, or its parent */
} mp__timed;

/* Items [first, first + count) of a job. On a worker the first `count - unsent` of them have been sent. */
typedef struct mp__chunk {
    struct mp__chunk *next;
    mp__core_job *job;
    size_t first, count, unsent;
    uint32_t attempt; /* of all its items: 1 for the first one */
    uint64_t number;  /* of its job when they were handed out first: their turn, should they come back */
    mp__timed due;    /* while it waits to be run again */
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
    bool calls;   /* each of its items is a call by itself, and they are only together on their way: see mp__core_split */
    bool patient; /* who waits waits for all of it: results of single items need not come soon */
    bool quiet;   /* if it is cancelled while an item runs, its task is not told, unless that is by force or Ctrl-C */
    uint64_t timeout_ns; /* an item may run so long; 0: as long as it likes */
    uint64_t grace_ns;   /* 0: MP__GRACE_NS */
    uint64_t deadline;   /* all its items are to have ended then; 0: none */
    uint32_t retries;    /* an item that fails in one of these ways is run again, so often at most */
    unsigned retry_on;   /* MP__RETRY_... */
    uint64_t retry_ns;   /* before the first retry; twice as long before each other, at most MP__RETRY_MAX_NS */
    size_t stop_at;      /* so many failed items cancel the rest; 0: never */
    /* core only */
    mp__core_job *next;   /* in the queue of jobs with items to hand out, or in the list of done ones */
    mp__core_job *before; /* in that queue */
    uint64_t number;      /* its turn: order of submission. Of calls that of the first, and each has its own */
    size_t fresh;         /* items from here on have never been handed out */
    mp__chunks returned;  /* handed out, and back: they go first */
    mp__chunk *came_last; /* of these: where the next one looks for its place first; NULL: it is gone */
    mp__chunk rest;       /* stands for what is left of the job when it ends early */
    size_t waiting;       /* items to hand out: the fresh and the returned */
    size_t early;         /* of an open job: those of them that came before what stands behind it */
    bool passed;          /* others have: what was handed out before has an earlier turn than its number says */
    size_t pending;       /* items without an end */
    bool queued;
    bool cancelled;
    mp_status forced;      /* by force: what runs is overdue, and ends with this; MP_OK: it is not */
    bool stopping;         /* in the list of those that have too many failed items */
    mp_status verdict;     /* the end of items that have not started, once it is cancelled */
    size_t failures;       /* items that failed for good */
    size_t delayed;        /* items that wait to be run again; not in `waiting` */
    mp__timed *retrying;   /* the heap of their chunks */
    mp__timed due;         /* in the core's heap: the deadline, or the first retry */
    bool timed;            /* it is in there */
    mp__core_job *stopped; /* next in that list */
};

typedef struct mp__core_config {
    uint32_t workers; /* wanted; at least 1. There are twice as many slots, so that a replacement can start early */
    uint32_t tasks;
    uint32_t
        chunks; /* ranges of items that can exist at a time, for each worker; 0: 32. Too few cost time, never an item */
    uint64_t life_items; /* a life gets no more items than this; 0: no limit */
    bool unkillable; /* a worker that runs an item cannot be ended, and the item ends only when its task returns: threads */
} mp__core_config;

/* Whether a task looks if it is cancelled. The numbers go to other hosts. */
typedef enum mp__heed {
    MP__HEED_NO = 0,
    MP__HEED_YES = 1,
    MP__HEED_UNKNOWN = 2, /* it has not, but nobody knows whether it had a CPU in which it could */
} mp__heed;

typedef enum mp__core_state { MP__RUNNING, MP__CLOSED, MP__BROKEN, MP__TERMINATED, MP__ENDED } mp__core_state;

enum {
    /* work on a worker at a time: topped up at half of it. A wake-up of the parent takes 20 to 100 us from the workers. More does no
     * harm: what has not started can be taken back; */
    MP__WINDOW_NS = 16000000,
    MP__WINDOW_ITEMS = 16384,   /* and never more items than that; */
    MP__WINDOW_CALLS = 4096,    /* calls fewer: what has begun takes memory, and who drives is slower than a short task */
    MP__PIECE_NS = 50000,       /* of an open job not less than this at a time, where there is more */
    MP__ALONE_NS = 1000000,     /* calls of one item that takes this long, or nobody knows how long, are sent one by one */
    MP__RECALL_ITEM_NS = 50000, /* items at least this long are worth taking back from a neighbour at once */
    MP__RECALL_NS = 200000,     /* others when their worker has shown no progress for this long */
    MP__FAILURES_MAX = 6,       /* lives in a row that came to nothing: when no place has done better, the core is broken */
    MP__BACKOFF_NS = 10000000,  /* second such life: start after this long, then twice, ... */
    MP__BACKOFF_MAX_NS = 1000000000,
    MP__TICK_MIN_NS =
        1000000, /* between two looks at an item that may run too long: a sixteenth of its time, within these */
    MP__TICK_MAX_NS = 250000000,
    MP__OVERDUE_NS = 10000000, /* an overdue item that could not be ended is tried again after this long */
    /* which failures are tried again */
    MP__RETRY_FAILED = 1,
    MP__RETRY_CRASHED = 2,
    MP__RETRY_TIMEDOUT = 4,
    MP__RETRY_LOST = 8
};
#define MP__GRACE_NS 1000000000ull      /* from SIGTERM, or from being told to stop, until SIGKILL */
#define MP__RETRY_MAX_NS 60000000000ull /* the longest back-off of an item */
#define MP__START_NS 20000000000ull     /* from being started to being ready; the longest that a busy machine may need */
#define MP__NEVER UINT64_MAX
#define MP__UNKNOWN UINT64_MAX

typedef struct mp__core_item {
    mp__core_job *job;
    size_t index;
    uint32_t attempt; /* from 1 */
} mp__core_item;

typedef enum mp__failed { MP__FAILED_NONE, MP__FAILED_RETRIED, MP__FAILED_FINAL } mp__failed;

typedef enum mp__action_kind {
    MP__ACT_NONE,
    MP__ACT_FAIL,   /* items [first, first + count) of `job` ended with `status`; `slot`: in whose life, or MP__NO_SLOT */
    MP__ACT_DONE,   /* every item of `job` has ended: forgotten by the core */
    MP__ACT_START,  /* begin life `generation` in `slot`, as worker `place`; answer: greeted, ready, start_failed or lost */
    MP__ACT_SEND,   /* `slot` has items to send: see mp__core_unsent */
    MP__ACT_RECALL, /* ask what `slot` has started and keep it from starting more; answer: recalled */
    MP__ACT_CANCEL, /* nobody waits any more for what `slot` runs now, or it is overdue: its task may be told; no answer */
    MP__ACT_WATCH,  /* say how far `slot` is; answer: progress */
    MP__ACT_END, /* SIGTERM, if `slot` still runs its `ordinal`-th item and has no result of it; nothing more may start there
                     * then. Answer: ended */
    MP__ACT_STOP, /* tell it to leave when it is through with what it was sent; answer: lost */
    MP__ACT_KILL, /* SIGTERM, or SIGKILL when `hard`; answer: lost */
} mp__action_kind;
#define MP__NO_SLOT UINT32_MAX

typedef struct mp__core_action {
    mp__action_kind kind;
    uint32_t slot, generation, place;
    bool hard;
    mp__core_job *job;
    size_t first, count;
    mp_status status;
    uint32_t attempt; /* FAIL: which one of these items this was; 0: none had begun, as far as can be known */
    uint64_t ordinal; /* END */
} mp__core_action;

typedef struct mp__core_counts {
    uint64_t accepted, finished, pending; /* items */
    uint64_t started, lost, stale;
    uint64_t retried;  /* failures behind which the item was to be run again */
    uint64_t recycled; /* lives that were replaced as spent, or because they had had all the items they may */
    uint32_t ready;    /* lives that are READY or RETIRING: those that run items */
    uint32_t wanted;   /* workers */
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

/* True if a worker may have finished what it has not said, and somebody may wait for it: more than one of the items that it was sent
 * has no result, and they are not all of one patient job, or of several that have more to hand out. One that has no other item left says
 * so at once. */
bool mp__core_may_hide(const mp__core *core);

/* True if what is waited for is likely to come within this time, and only single items are under way, on few enough workers that
 * who waits has a CPU to itself: then it need not sleep. */
bool mp__core_is_near(const mp__core *core, uint32_t cpus, uint64_t ns);

/* True if no worker has a call that may take long, or of which nobody knows: they get such ones one by one, and are to be given the
 * next as soon as they can. */
bool mp__core_is_brisk(const mp__core *core);

/* True if every worker that takes items has more than one under way, or none takes any before another one has said something: none waits
 * for what has just come, and what it says next is early enough to send it. */
bool mp__core_busy(const mp__core *core);

/* Takes a job until its MP__ACT_DONE. MP_ECLOSED, MP_EBROKEN, MP_ELIMIT (more items than can be counted): not taken. A job
 * without items is answered likewise, and never taken. */
mp_status mp__core_submit(mp__core *core, mp__core_job *job);
/* Its two halves, for many jobs at a time: nothing of those that are added is handed out before mp__core_plan. */
mp_status mp__core_add(mp__core *core, mp__core_job *job);
void mp__core_plan(mp__core *core);
/* So many calls more wait outside: each worker gets its share of all, as if they were here. And how many of this task those workers
 * would take that have half of what they should have, or less, beside what waits here. */
void mp__core_expect(mp__core *core, uint64_t calls);
uint64_t mp__core_appetite(const mp__core *core, uint32_t task);
/* How many jobs have items that wait to be handed out; of calls each counts. */
uint64_t mp__core_queued(const mp__core *core);
/* True if a call of one item that came now would be given to a worker. */
bool mp__core_hungry(const mp__core *core);
/* Calls are together no more: each item of such a job that has not ended becomes a job of its own, which has one item and all else
 * as it was, wherever it waits or runs. `alone` gives the place for that of item `index`, which may hold anything. The job itself is
 * done when the ends that are known have been told. It is not done yet. */
void mp__core_split(mp__core *core, mp__core_job *job, mp__core_job *(*alone)(mp__core_job *job, size_t index));
/* More items of an open job: [job->n, job->n + count). Also after close, for the job was accepted before. The verdict of a
 * cancelled job, MP_ETERMINATED, MP_EBROKEN, MP_ELIMIT: not taken. */
mp_status mp__core_extend(mp__core *core, mp__core_job *job, size_t count);
/* No more items come: the job is done when the last one has ended, which may be now. Once, for each open job, and whatever became
 * of the core: it does not end before. */
void mp__core_seal(mp__core *core, mp__core_job *job);
/* Ends what has not started with `verdict`: MP_ECANCELLED, MP_EINTERRUPTED; MP_ETIMEDOUT is the core's own, for deadlines. What
 * runs goes on, and its worker is told (MP__ACT_CANCEL); by force it is overdue from now on. Does not seal. Idempotent: the first
 * verdict stays, and force may be added later. */
void mp__core_cancel(mp__core *core, mp__core_job *job, mp_status verdict, bool force);
/* The same for every job that there is now. */
void mp__core_cancel_all(mp__core *core, mp_status verdict);
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
/* As mp__core_result for an item that failed. NONE: as false there. RETRIED: it will run again, and nobody is told. FINAL: it has
 * ended; `*status` is what it is to be called: MP_ETIMEDOUT, MP_ECANCELLED or the like for an overdue one, else as it came.
 * `by_task`: it was the task that failed, not its input or its result; only that is MP__RETRY_FAILED. May allocate; if there is no
 * memory for it the item is not run again. */
mp__failed mp__core_failed(mp__core *core, uint32_t slot, uint32_t generation, mp_status *status, bool by_task,
                           mp__core_item *item, bool *nonsense);
/* The result of an item of this job, just taken by mp__core_results, could not be kept: the item counts as failed (stop_at). */
void mp__core_spoilt(mp__core *core, mp__core_job *job);
/* `items` results of this job took the worker `ns`. */
void mp__core_measured(mp__core *core, const mp__core_job *job, uint64_t items, uint64_t ns);

/* Answer to a recall: the worker has started that many ordinals, and will start no more of what it was sent. MP__UNKNOWN: that
 * cannot be said now; only what was not sent comes back. */
void mp__core_recalled(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started);
/* A life is over, and `started` is how many ordinals it had started. All its results have been handed in before. */
void mp__core_lost(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started);
/* A life is out of reach: nobody knows what it has started. Each item that it was sent and that has no result is MP_ELOST, and nobody is
 * to blame. */
void mp__core_vanished(mp__core *core, uint32_t slot, uint32_t generation);
/* Answer to a watch: the worker has started that many ordinals, as was seen before the time was told that the core has now; so
 * nothing ends early. `heed` is of the task that runs now. */
void mp__core_progress(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started, mp__heed heed);
/* The same, where the answer was on its way for a while: it is of `asked`, or later. */
void mp__core_progress_since(mp__core *core, uint32_t slot, uint32_t generation, uint64_t started, mp__heed heed,
                             uint64_t asked);
/* Answer to an end. False: it has gone on meanwhile, and nothing has changed. */
void mp__core_ended(mp__core *core, uint32_t slot, uint32_t generation, bool ended);
/* The life is to be replaced, for it needs too much: one that takes items retires; any other is about to leave anyway. */
void mp__core_spent(mp__core *core, uint32_t slot, uint32_t generation);
/* The worker must not live: it spoke nonsense. Where workers cannot be killed it is counted, and that is all. */
void mp__core_condemn(mp__core *core, uint32_t slot, uint32_t generation);

/* The next thing to do. Ends of items come first, then done jobs, then the rest. False: nothing. */
bool mp__core_next(mp__core *core, mp__core_action *action);

/* The next items to be sent to a worker: how many follow each other in one job, from `*item` on; 0: there are none. And that the
 * first `count` of them, one at least, have been sent. */
size_t mp__core_unsent(const mp__core *core, uint32_t slot, mp__core_item *item);
void mp__core_sent(mp__core *core, uint32_t slot, size_t count);

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
