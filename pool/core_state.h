/* The inside of the core, shared by core.c (events and the state of the whole), core_slots.c (lives, their states and places),
 * core_items.c (ranges of items and their ends), core_results.c (what workers give), core_cancel.c, core_split.c, core_time.c (deadlines, and items that wait to
 * be run again), core_overdue.c (items that run too long), core_memory.c (what is allocated), plan.c (who gets what) and
 * core_check.c. Nobody else. All of it is guarded by the pool's lock. */
#ifndef MP__POOL_CORE_STATE_H
#define MP__POOL_CORE_STATE_H
#include "pool/core.h"

typedef enum mp__slot_state {
    MP__SLOT_EMPTY,
    MP__SLOT_STARTING,
    MP__SLOT_READY,
    MP__SLOT_RETIRING,
    MP__SLOT_STOPPING,
    MP__SLOT_DOOMED,
    MP__SLOT_KILLED,
    MP__SLOT_STATES
} mp__slot_state;

/* How long the item that runs has been seen running. */
typedef struct mp__watch {
    uint64_t at;      /* the next look; MP__NEVER: nothing that it was sent has a time-out */
    uint64_t ordinal; /* what was seen last; 0: nothing yet */
    uint64_t seen_at, ran_ns;
} mp__watch;

/* The item that runs and should not run any more. */
typedef struct mp__overdue {
    uint64_t ordinal; /* 0: there is none */
    mp_status status; /* its end, unless it ends well by itself */
    bool timedout;    /* by its own time-out: it may be run again */
    bool judged;      /* it is known whether its task looks: it is being ended, or has its grace */
    bool told;        /* its task has been, or is about to be; nothing was sent behind it */
    uint64_t ask_ns;  /* until it is judged it is watched, this long after the last look */
    uint64_t grace_ns;
    uint64_t end_at; /* then it is ended; MP__NEVER: it is already tried, or cannot be */
} mp__overdue;

typedef struct mp__slot {
    /* fixed */
    uint32_t index;
    /* this life; `state` is written by slot_enter alone */
    mp__slot_state state;
    uint32_t generation;
    uint32_t place;      /* of this life, or of the last one */
    bool greeted;        /* STARTING: it has begun, and is given all the time it needs */
    bool spent;          /* it needs too much: what it has not started is for another life */
    uint64_t done, sent; /* ordinals: results that came, items that were sent */
    uint64_t started;    /* ordinals that it has said to have started; it may have gone on since */
    uint64_t kept;       /* ordinals that a recall could not take from it */
    uint64_t kill_at;    /* then SIGKILL; MP__NEVER: not to be, or it has been */
    /* its work */
    mp__chunks chunks;    /* in the order in which it runs them */
    size_t items;         /* the sum of their counts */
    mp__chunk *cursor;    /* the first one with unsent items */
    bool asked;           /* a recall is on its way: nothing is handed out meanwhile */
    uint64_t moved_at;    /* last result, or last time it was handed work while idle */
    uint64_t recalled_at; /* long items: not to be asked for before */
    uint64_t
        purge_at; /* it has what it should not start: taken back then, if no recall is under way; MP__NEVER: it has not */
    uint64_t purge_wait; /* so long after an answer that said nothing */
    /* what runs too long */
    mp__watch watch;
    mp__overdue overdue;
    bool doomed;      /* it was ended for that */
    uint64_t doom_ns; /* and has so long to go */
    /* what is to be told */
    unsigned wants; /* bit k: an action of kind k is due */
    struct mp__slot *next_wanting;
} mp__slot;

typedef struct mp__queue {
    mp__core_job *head, *tail; /* by number */
    mp__core_job *came_last;   /* of these: where the next one looks for its place first; NULL: at the head */
} mp__queue;

typedef struct mp__place {
    mp__slot *holder;  /* whose life is this worker: STARTING, READY, or KILLED in one of these; NULL: nobody's */
    uint32_t last;     /* the slot of its last life: taken again if it is empty */
    uint32_t failures; /* lives in a row that came to nothing */
    uint64_t start_at; /* without holder: not before */
    uint32_t leaving;  /* lives that left it and are not through: RETIRING. The holder gets nothing before they are */
    mp__queue pinned;  /* jobs for this place alone */
} mp__place;

/* What is known of a task's time, over all its jobs. */
typedef struct mp__pace {
    uint64_t item_ns; /* how long an item takes on a worker; 0: not known yet */
    size_t window;    /* how many one worker should have at a time; at least 2 */
} mp__pace;

/* Slots and chunks that were allocated together, for so many more workers; they never move. */
typedef struct mp__core_block {
    struct mp__core_block *next;
    mp__slot *slots;
    size_t count;
    mp__chunk chunks[];
} mp__core_block;

struct mp__core {
    /* fixed at create */
    uint32_t task_count;
    uint32_t chunks_per_worker;
    uint64_t life_items;
    bool unkillable;
    mp__pace *paces; /* by task */
    /* grow, in core_memory.c alone */
    uint32_t slot_count, place_count; /* places from `counts.wanted` on are not in use now */
    size_t chunk_count;
    mp__slot **slots;
    mp__place *places;
    mp__core_block *blocks; /* every chunk there is, but those inside jobs */
    /* the rest changes with every event */
    mp__core_state state;
    mp_status verdict; /* the end of items that have not started, now that the core has given up; MP_OK: it has not */
    uint64_t now;
    uint64_t next_number;
    uint32_t alive;    /* slots that are not EMPTY */
    uint32_t takers;   /* slots that are READY */
    uint32_t held;     /* places in use that have a holder */
    uint64_t open;     /* jobs that are not sealed */
    uint64_t pinned;   /* jobs in the queues of places */
    uint64_t queued;   /* jobs in all queues; of calls each that waits counts */
    uint64_t expected; /* calls that wait outside */
    mp__chunk *spare;
    size_t spare_count;
    bool starved;                          /* someone could not have one since all was last planned */
    mp__queue queue;                       /* jobs with items to hand out, but pinned ones */
    mp__timed *timed;                      /* the heap of jobs that have a deadline, or items to run again */
    mp__core_job *stopping;                /* jobs with too many failed items: cancelled when the event is over */
    mp__chunks ended;                      /* waiting to be told: MP__ACT_FAIL */
    mp__core_job *done_head, *done_tail;   /* waiting to be told: MP__ACT_DONE */
    mp__slot *wanting_head, *wanting_tail; /* slots with something to be told; some want nothing any more */
    mp__core_counts counts;
};

static inline bool slot_alive(const mp__slot *slot)
{
    return slot->state != MP__SLOT_EMPTY;
}

/* In one of these a life has items, and answers for them. */
static inline bool slot_works(const mp__slot *slot)
{
    return slot->state == MP__SLOT_READY || slot->state == MP__SLOT_RETIRING;
}

/* In one of these its results count. */
static inline bool slot_answers(const mp__slot *slot)
{
    return slot_works(slot) || slot->state == MP__SLOT_DOOMED;
}

/* What a worker says it has started cannot be less than what is known, nor more than it was sent. */
static inline uint64_t slot_started(const mp__slot *slot, uint64_t claimed)
{
    uint64_t least = slot->started > slot->done ? slot->started : slot->done;
    return claimed < least ? least : claimed > slot->sent ? slot->sent : claimed;
}

static inline bool slot_wants(const mp__slot *slot, mp__action_kind kind)
{
    return slot->wants & 1u << kind;
}

/* This life's place is not in use any more: fewer workers are wanted. */
static inline bool slot_surplus(const mp__core *core, const mp__slot *slot)
{
    return slot->place >= core->counts.wanted;
}

/* Chunks kept back from planning, so that the end of a life can always split its queue in two places: before the item that is
 * to blame, and behind it. A slot does not end another life before the chunks of the last one were told and are spare again. */
static inline size_t chunk_reserve(const mp__core *core)
{
    return 2 * (size_t)core->slot_count;
}

static inline bool core_wants_workers(const mp__core *core)
{
    return core->state == MP__RUNNING || (core->state == MP__CLOSED && (core->counts.pending || core->open));
}

/* Nobody waits for its results. */
static inline bool job_unwanted(const mp__core *core, const mp__core_job *job)
{
    return job->cancelled || core->verdict;
}

/* What of this job has not started ends with this, wherever it comes from; MP_OK: it waits to be handed out. */
static inline mp_status job_verdict(const mp__core *core, const mp__core_job *job)
{
    return job->cancelled ? job->verdict : job->pin > core->counts.wanted ? MP_ECANCELLED : core->verdict;
}

/* Its items are calls: they begin in their order, as far as that can be. */
static inline bool job_calls(const mp__core_job *job)
{
    return (job->calls || job->n == 1) && !job->open;
}

/* What it counts for among those that wait. */
static inline uint64_t job_weight(const mp__core_job *job)
{
    return job->calls ? job->waiting : 1;
}

static inline mp__chunk *timed_chunk(mp__timed *due)
{
    return (mp__chunk *)(void *)((char *)due - offsetof(mp__chunk, due));
}

static inline mp__core_job *timed_job(mp__timed *due)
{
    return (mp__core_job *)(void *)((char *)due - offsetof(mp__core_job, due));
}

/* core_memory.c: room for so many workers; or for more ranges of items. False: no memory, and nothing has changed. */
bool mp__core_grow(mp__core *core, uint32_t workers);
bool mp__core_grow_chunks(mp__core *core);

/* core.c: the slot, if this is the life it is in; late events are counted. */
mp__slot *mp__slot_of(mp__core *core, uint32_t index, uint32_t generation);
/* After every event: makes the slots what the state asks for. */
void mp__core_settle(mp__core *core);
/* core_cancel.c: mp__core_cancel without settling. */
void mp__job_cancel(mp__core *core, mp__core_job *job, mp_status verdict, bool force);

/* core_time.c: a job with a deadline comes in; and one needs no time any more, for it is done, or has been cancelled by force. */
void mp__job_begin_time(mp__core *core, mp__core_job *job);
void mp__job_end_time(mp__core *core, mp__core_job *job);
void mp__job_renumbered(mp__core *core, mp__core_job *job); /* its number decides among those of one time */
/* A chunk that is in no list waits; and the first one does not any more. NULL: none waits. */
void mp__job_delay(mp__core *core, mp__chunk *chunk, uint64_t until);
mp__chunk *mp__job_undelay(mp__core *core, mp__core_job *job);
/* The node of a heap behind this one, in no order; NULL: it was the last. */
mp__timed *mp__timed_next(mp__timed *node);
/* When the next job has something to do, and does what has become due. */
uint64_t mp__jobs_due(const mp__core *core);
void mp__jobs_time(mp__core *core);

/* core_overdue.c: the slot was sent an item of this job, which has a time-out. */
void mp__slot_watch(mp__core *core, mp__slot *slot, const mp__core_job *job);
/* Does what has become due. */
void mp__overdue_time(mp__core *core, mp__slot *slot);
/* The item has ended by itself. */
void mp__overdue_clear(mp__core *core, mp__slot *slot);
/* It has, if another one has started since. */
void mp__overdue_look(mp__core *core, mp__slot *slot);
/* What the slot was sent last is known to have been started, and nothing more will be: it can be told. */
void mp__overdue_alone(mp__core *core, mp__slot *slot);

/* core_slots.c */
void mp__slot_want(mp__core *core, mp__slot *slot, mp__action_kind kind);
void mp__slot_ready(mp__core *core, mp__slot *slot);
/* `hard`: without asking first. One that was asked is not asked again; its time runs. */
void mp__slot_kill(mp__core *core, mp__slot *slot, bool hard);
/* It was asked to end, for its overdue item, and will. */
void mp__slot_doom(mp__core *core, mp__slot *slot);
/* The life takes no more items, and leaves when it is through with those it has been sent. */
void mp__slot_retire(mp__core *core, mp__slot *slot);
/* A STARTING life is not wanted any more: it is told when it is ready, and has as long for that as it will then have for leaving. */
void mp__slot_unwanted(mp__core *core, mp__slot *slot);
/* A STARTING life may take this long from now. */
void mp__slot_patience(const mp__core *core, mp__slot *slot);
/* A READY or RETIRING life has fewer items than before: one that retires may be through. */
void mp__slot_relieved(mp__core *core, mp__slot *slot);
/* Items that must not be started, or not there: those not sent leave the slot at once, the others are asked for. */
void mp__slot_purge(mp__core *core, mp__slot *slot);
/* Some that were not sent are still there, for lack of a chunk to cut with. */
bool mp__slot_stuck(const mp__slot *slot);
/* The life is over, whatever it was, and its items are elsewhere. */
void mp__slot_end(mp__core *core, mp__slot *slot, uint64_t started);
/* The same of one that is out of reach. */
void mp__slot_vanish(mp__core *core, mp__slot *slot);
/* Starts a life in each place that has none, as far as there are empty slots. */
void mp__slots_start(mp__core *core);
/* There is nothing more to do. */
void mp__slots_stop(mp__core *core);
/* True if no worker is there and every place has failed too often: waiting longer helps nobody who waits for a result. */
bool mp__slots_hopeless(const mp__core *core);

/* core_items.c. A chunk is taken unless that leaves fewer than `reserve`; the one inside a job goes with its job. */
mp__chunk *mp__chunk_take(mp__core *core, size_t reserve);
void mp__chunk_put(mp__core *core, mp__chunk *chunk);  /* one that was taken */
void mp__chunk_free(mp__core *core, mp__chunk *chunk); /* any, with items or without */
void mp__chunks_push(mp__chunks *list, mp__chunk *chunk);
mp__chunk *mp__chunks_pop(mp__chunks *list);
/* So many items of a job, in no list any more, have ended. */
void mp__items_finished(mp__core *core, mp__core_job *job, size_t items);
/* A job has no items without an end, and none will come. */
void mp__items_done(mp__core *core, mp__core_job *job);
/* The first `count` items of a slot have failed, and its life is why: they end, or are run again if that class of failures is. */
void mp__items_fail_front(mp__core *core, mp__slot *slot, size_t count, mp_status status, unsigned retry_class);
/* The first item of a slot has failed: true if it will be run again, and is not with it any more. False: nothing has changed. */
bool mp__items_retry_front(mp__core *core, mp__slot *slot, unsigned retry_class);
/* So many items of a job have failed for good. */
void mp__items_failed(mp__core *core, mp__core_job *job, size_t items);
/* A chunk that is in no list waits to be handed out, or ends. */
void mp__items_come_back(mp__core *core, mp__chunk *chunk);
/* The first chunk of what came back; NULL: there is none. */
mp__chunk *mp__job_take_returned(mp__core_job *job);
/* What a slot has behind its first `keep` items counts as not sent, and goes back to the front of its jobs, or ends. For lack of a
 * chunk to cut with some may stay, not sent. */
void mp__items_give_back(mp__core *core, mp__slot *slot, size_t keep);
/* The same for what it has not been sent: all when it retires, else that of cancelled jobs. */
void mp__items_release(mp__core *core, mp__slot *slot);
/* What waits to be handed out ends. */
void mp__items_end_waiting(mp__core *core, mp__core_job *job, mp_status status);
void mp__items_end_queue(mp__core *core, mp__queue *queue, mp_status status);
void mp__items_end_queues(mp__core *core, mp_status status);
/* Every item without an end gets this one. */
void mp__items_end_all(mp__core *core, mp_status status);
/* The next end to be told, and then the next job without pending items. */
bool mp__items_next_end(mp__core *core, mp__core_action *action);
bool mp__items_next_done(mp__core *core, mp__core_action *action);

/* plan.c: hands out what waits, to idle slots first; and takes back from the busy when there is nothing to hand out. `last`, if
 * there is one, has just given back for the sake of those who idle: it is not one of the first, though it may idle now. */
void mp__plan_all(mp__core *core, const mp__slot *last);
void mp__plan_slot(mp__core *core, mp__slot *slot);
/* When a busy slot's items become worth taking back; MP__NEVER: not as things are. */
uint64_t mp__plan_deadline(const mp__core *core);
/* A job comes in, or gets items back: it stands in the queue by its number. */
void mp__plan_enqueue(mp__core *core, mp__core_job *job);
/* The same for one whose place is known: behind `before`, or in front of all. */
void mp__plan_enqueue_behind(mp__core *core, mp__core_job *job, mp__core_job *before);
void mp__plan_dequeue(mp__core *core, mp__core_job *job);
/* An open job's turn, with all that waits of it, comes behind what is there now; or it has the one again that what comes back had. */
void mp__plan_let_pass(mp__core *core, mp__core_job *job);
void mp__plan_take_turn(mp__core *core, mp__core_job *job, uint64_t number);
void mp__plan_measured(mp__core *core, uint32_t task, uint64_t items, uint64_t ns);
/* True when the slot should be looked at by mp__plan_slot: it is down to half its window. */
bool mp__plan_hungry(const mp__core *core, const mp__slot *slot);

#endif
