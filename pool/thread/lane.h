/* A lane: the way between whoever drives the pool (the driver: one thread at a time, under the pool's lock) and one thread that
 * is a worker. Items go in, results come back in the same places; no lock is taken while there is something to do.
 *
 * Items are counted by ordinals, from 1, over the life; item k has the place ring[(k - 1) % MP__LANE_ITEMS]. Items that were put in
 * together are a *row*, of which only the first one's place is written: where they and their results stand, and how many they are. A
 * row goes as far as that, or to where it was recalled. An item that fails leaves why in its own place.
 *
 *     taken  <=  done  <=  started  <=  put          put - taken <= MP__LANE_ITEMS
 *     driver     thread    both         driver
 *
 * sent, claim: a recall epoch (high 32 bits) and an ordinal (its low 32 bits: the driver knows what is near). `sent` is what the
 * driver has put in, `claim` what the thread has started. The thread starts an item by compare-and-swap of `claim`, in the epoch
 * of the `sent` that it has seen; the driver recalls by adding 1 to the epoch of `claim`: what it finds below is exactly what was
 * started, and everything behind it is forgotten. What it puts in next, it sends in the new epoch.
 *
 *     thread                     driver              what follows
 *     sees sent (e, 9)
 *     cas (e, 7) -> (e, 8)                           item 8 is the thread's, and its place is not touched
 *                                adds: (e+1, 8)      the driver finds 8: it is counted as started, and runs
 *     sees sent (e, 9)
 *                                adds: (e+1, 7)      the driver finds 7
 *     cas (e, 7) fails                               item 8 is the driver's again. The thread holds nothing, and as long as the
 *                                                    epochs differ it has nothing to do: it goes to sleep
 *                                puts another 8      in a place that the thread has not looked at: it reads one only once it
 *                                sent (e+1, 8)       has started the item. Wakes it, see mp__lane_publish
 *     sees sent (e+1, 8)
 *     cas (e+1, 7) -> (e+1, 8)                       the new item 8
 *
 * An epoch comes back after 2^32 recalls: no thread is held up for so long between its look and its swap. */
#ifndef MP__THREAD_LANE_H
#define MP__THREAD_LANE_H
#include "pool/backend.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MP__LANE_ITEMS = 16384, MP__LANE_NAME = 64, MP__LANE_LINE = 64 /* bytes that travel between cores at a time */ };

typedef struct mp__lane_row {
    const void *value; /* of the first; borrowed */
    void *out;
    size_t value_step, out_step, index; /* as mp__items has them */
    uint32_t count, task;
    uint32_t earlier; /* attempts before this one */
    bool lone, patient;
    bool
        begins; /* of another job than the row before it, or of a call of another task: what is finished does not wait for it */
} mp__lane_row;

typedef struct mp__lane_failure {
    char *message; /* owned; NULL: there was no memory for it */
    mp_status status;
    bool by_task; /* as mp__event has it */
} mp__lane_failure;

typedef struct mp__lane_place {
    union {
        mp__lane_row row;
        mp__lane_failure failure;
    };
    uint64_t failed; /* the ordinal of the item that did, until it has been told; else 0, or another's */
} mp__lane_place;
_Static_assert(sizeof(mp__lane_place) == MP__LANE_LINE, "no place on two lines");

/* What there is to be told: the lanes that have something, and a descriptor that is readable while there are any and nobody watches
 * the list. */
typedef struct mp__news {
    int fd; /* eventfd, fixed at open */
    _Atomic(struct mp__lane *) first;
    atomic_bool rung;         /* the descriptor has been made readable */
    _Atomic uint64_t watched; /* for so many ns at most the driver looks at `first` all the time; 0: it does not */
} mp__news;

typedef enum mp__lane_phase { MP__LANE_STARTING, MP__LANE_GREETED, MP__LANE_READY } mp__lane_phase;

typedef struct mp__lane {
    /* fixed when it is made */
    uint32_t slot;
    const mp__workers *pool;
    const mp__backend_config *config;
    mp__news *news;
    /* fixed for a life, before its thread runs */
    uint32_t generation, place;
    char name[MP__LANE_NAME];
    mp__lane_place *ring; /* kept from life to life; */
    void *ring_memory;    /* where it lies */
    /* driver only */
    pthread_t thread;
    bool alive, carried;       /* LOST or START_FAILED has not been told; its life has begun: see mp__carrier */
    struct mp__worker *worker; /* where its thread is lent: see worker.h */
    uint64_t put, taken;
    uint32_t epoch;
    const void *job;    /* of the item put in last */
    uint32_t lone_task; /* its task, if it was a call by itself */
    bool refused;       /* there was no room when it was asked for */
    bool owes_recalled;
    uint64_t recalled;
    mp__lane_phase told;
    uint64_t failures_told; /* of `failures` */
    uint64_t seen_done;     /* as they were when this look at it began */
    uint64_t seen_failures;
    mp__lane_phase seen_phase;
    bool seen_over;
    /* the thread's until it is over, then the driver's: how it ended */
    mp_error end;
    /* whoever has set `listed`, until it is taken from the list */
    struct mp__lane *next_listed;
    /* atomic, seldom changed */
    atomic_bool listed; /* it is among the news */
    atomic_bool asleep; /* the thread is, or is about to be */
    atomic_bool over;   /* the thread does nothing of ours any more, and nearly nothing of the user's */
    _Atomic mp__lane_phase phase;
    pthread_mutex_t sleep; /* held by the thread from its last look before it sleeps */
    pthread_cond_t woken;  /* there is an item, or `stopping` */
    /* atomic, written by the driver */
    _Alignas(MP__LANE_LINE) _Atomic uint64_t sent;
    _Atomic uint64_t cancelled; /* as mp_call has it */
    atomic_bool stopping;
    /* atomic, written by the thread; the epoch of `claim` by the driver */
    _Alignas(MP__LANE_LINE) _Atomic uint64_t claim;
    _Atomic uint64_t done;
    _Atomic uint64_t busy_ns;
    _Atomic uint64_t failures; /* items that have failed: those up to `done` at least */
} mp__lane;

/* NULL: no memory. */
mp__lane *mp__lane_create(uint32_t slot, const mp__workers *pool, const mp__backend_config *config, mp__news *news);
void mp__lane_free(mp__lane *lane);

/* --- driver ---------------------------------------------------------------------------------------------------------------- */

/* For a new life, whose thread does not run yet. False: no memory. */
bool mp__lane_begin(mp__lane *lane, uint32_t generation, uint32_t place);

/* Puts the first `count` of these in; there must be room. The thread may not see them before mp__lane_publish. */
void mp__lane_put(mp__lane *lane, const mp__items *items, size_t count);
void mp__lane_publish(mp__lane *lane);

/* How many items the thread has started. */
uint64_t mp__lane_started(const mp__lane *lane);
/* The same, and it will start no more of those that were put in. */
uint64_t mp__lane_recall(mp__lane *lane);
/* The thread ends when there is nothing to run. */
void mp__lane_stop(mp__lane *lane);

/* The next lane that has news, once; it is then off the list, and what the thread did before is seen. `list` begins as what
 * mp__news_take gave, and is used up. */
mp__lane *mp__news_next(mp__lane **list);
/* Waits for news without sleeping: for `ns` at most, or until `*wanted` is not 0. True: there are some. */
bool mp__news_spin(mp__news *news, uint64_t ns, const atomic_uint *wanted);
/* Everything that is on the list. The descriptor is readable if more comes. */
mp__lane *mp__news_take(mp__news *news);

/* --- thread ---------------------------------------------------------------------------------------------------------------- */

/* The words `sent` and `claim`. */
#define MP__LANE_EPOCH (1ull << 32)
static inline uint64_t mp__lane_word(uint32_t epoch, uint64_t ordinal)
{
    return epoch * MP__LANE_EPOCH + (uint32_t)ordinal;
}

/* One more item than `started` is, unless what was sent in this epoch has been recalled. */
static inline bool mp__lane_claim(mp__lane *lane, uint32_t epoch, uint64_t started)
{
    uint64_t known = mp__lane_word(epoch, started), next = mp__lane_word(epoch, started + 1);
    return atomic_compare_exchange_strong_explicit(&lane->claim, &known, next, memory_order_acq_rel, memory_order_relaxed);
}

/* Where the thread is: in a row, as it was put in, which ends behind the item of this ordinal, unless it was recalled: then `sent` is of
 * another epoch. */
typedef struct mp__lane_cursor {
    mp__lane_row row; /* of the next item */
    uint64_t end;
    uint32_t epoch;
    bool begins; /* that item is the first of its row */
} mp__lane_cursor;

/* True: the next item is started; it is the first that is left of the cursor's row. `started` is how many there were. */
bool mp__lane_take(mp__lane *lane, uint64_t started, mp__lane_cursor *at);
/* The same where the row that it is in goes on. False: that was recalled. */
static inline bool mp__lane_take_next(mp__lane *lane, uint64_t started, mp__lane_cursor *at)
{
    if (!mp__lane_claim(lane, at->epoch, started))
        return false;
    at->row.value = (const char *)at->row.value + at->row.value_step;
    at->row.out = (char *)at->row.out + at->row.out_step;
    at->row.index += !at->row.lone;
    at->begins = false;
    return true;
}
/* The item of this ordinal has failed; before it is done. */
void mp__lane_fail(mp__lane *lane, uint64_t ordinal, mp__lane_failure failure);
/* How many there are behind these, about. */
uint32_t mp__lane_left(const mp__lane *lane, uint64_t started);
/* True if there is one. */
bool mp__lane_has_items(const mp__lane *lane, uint64_t started);
/* Waits until there is an item, or the thread is to end: false. For `awake_ns` it does not sleep. */
bool mp__lane_wait(mp__lane *lane, uint64_t started, uint64_t awake_ns);

/* --- either ---------------------------------------------------------------------------------------------------------------- */

/* Puts the lane among the news. What was stored before will be seen. For how long it was watched doing so. */
uint64_t mp__news_tell(mp__lane *lane);
/* The same, but nobody is woken: who calls this takes the news itself, and at once. */
void mp__news_leave(mp__lane *lane);

#endif
