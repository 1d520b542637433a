/* The inside of the core, shared by core.c (events and states), core_items.c (ranges of items and their ends), plan.c (who gets
 * what) and core_check.c. Nobody else. All of it is guarded by the pool's lock. */
#ifndef MP__POOL_CORE_STATE_H
#define MP__POOL_CORE_STATE_H
#include "pool/core.h"

typedef enum mp__slot_state {
    MP__SLOT_EMPTY,
    MP__SLOT_STARTING,
    MP__SLOT_READY,
    MP__SLOT_STOPPING,
    MP__SLOT_KILLED,
    MP__SLOT_STATES
} mp__slot_state;

typedef struct mp__slot {
    /* this life; `state` is written by slot_enter alone */
    mp__slot_state state;
    uint32_t generation;
    uint64_t done, sent; /* ordinals: results that came, items that were sent */
    uint64_t started;    /* ordinals that it has said to have started; it may have gone on since */
    uint64_t kept;       /* ordinals that a recall could not take from it */
    uint64_t kill_at;    /* then SIGKILL; MP__NEVER: not to be, or it has been */
    /* its work */
    mp__chunks chunks;    /* in the order in which it runs them */
    size_t items;         /* the sum of their counts */
    mp__chunk *cursor;    /* the first one with unsent items */
    mp__chunk *cut;       /* a recall is on its way: nothing is handed out meanwhile. The chunk to cut its queue with */
    uint64_t moved_at;    /* last result, or last time it was handed work while idle */
    uint64_t recalled_at; /* long items: not to be asked for before */
    /* over its lives */
    uint32_t failures; /* in a row that came to nothing */
    uint64_t start_at; /* EMPTY: not before */
    /* what is to be told */
    unsigned wants; /* bit k: an action of kind k is due */
    struct mp__slot *next_wanting;
} mp__slot;

/* What is known of a task's time, over all its jobs. */
typedef struct mp__pace {
    uint64_t item_ns; /* how long an item takes on a worker; 0: not known yet */
    size_t window;    /* how many one worker should have at a time; at least 2 */
} mp__pace;

struct mp__core {
    /* fixed at create */
    uint32_t slot_count, task_count;
    size_t memory_count;
    mp__chunk *memory; /* every chunk there is, but those inside jobs */
    mp__slot *slots;
    mp__pace *paces; /* by task */
    /* the rest changes with every event */
    mp__core_state state;
    uint64_t now;
    uint64_t next_number;
    mp__chunk *spare;
    size_t spare_count;
    mp__core_job *queue_head, *queue_tail; /* jobs with items to hand out, by number */
    mp__chunks ended;                      /* waiting to be told: MP__ACT_FAIL */
    mp__core_job *done_head, *done_tail;   /* waiting to be told: MP__ACT_DONE */
    mp__slot *wanting_head, *wanting_tail; /* slots with something to be told; some want nothing any more */
    mp__core_counts counts;
};

static inline bool slot_alive(const mp__slot *slot)
{
    return slot->state != MP__SLOT_EMPTY;
}

/* Chunks kept back from planning, so that the end of a life can always split its queue in two places: before the item that is
 * to blame, and behind it. A slot does not end another life before the chunks of the last one were told and are spare again. */
static inline size_t chunk_reserve(const mp__core *core)
{
    return 2 * (size_t)core->slot_count;
}

/* core.c */
void mp__slot_want(mp__core *core, mp__slot *slot, mp__action_kind kind);

/* core_items.c. A chunk is taken unless that leaves fewer than `reserve`; the one inside a job goes with its job. */
mp__chunk *mp__chunk_take(mp__core *core, size_t reserve);
void mp__chunk_put(mp__core *core, mp__chunk *chunk);  /* one that was taken */
void mp__chunk_free(mp__core *core, mp__chunk *chunk); /* any, with items or without */
void mp__chunks_push(mp__chunks *list, mp__chunk *chunk);
mp__chunk *mp__chunks_pop(mp__chunks *list);
/* So many items of a job, in no list any more, have ended. */
void mp__items_finished(mp__core *core, mp__core_job *job, size_t items);
/* The first `count` items of a slot end, and its life is why. */
void mp__items_end_front(mp__core *core, mp__slot *slot, size_t count, mp_status status);
/* What a slot has behind its first `keep` items goes back to the front of its jobs. */
void mp__items_give_back(mp__core *core, mp__slot *slot, size_t keep);
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
void mp__plan_dequeue(mp__core *core, mp__core_job *job);
void mp__plan_measured(mp__core *core, uint32_t task, uint64_t items, uint64_t ns);
/* True when the slot should be looked at by mp__plan_slot: it is down to half its window. */
bool mp__plan_hungry(const mp__core *core, const mp__slot *slot);

#endif
