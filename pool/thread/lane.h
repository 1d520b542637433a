/* A lane: the way between whoever drives the pool (the driver: one thread at a time, under the pool's lock) and one thread that
 * is a worker. Items go in, results come back in the same places; no lock is taken while there is something to do.
 *
 * Items are counted by ordinals, from 1, over the life; item k stands in ring[(k - 1) % MP__LANE_ITEMS].
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

typedef struct mp__lane_item {
    union {
        const void *value; /* borrowed */
        char *message;     /* once it has failed: owned; NULL: there was no memory for it */
    };
    void *out;
    size_t index;
    unsigned task : 31;
    unsigned begins : 1; /* of another job than the one before it: what is finished does not wait for it */
    mp_status status;
} mp__lane_item;
_Static_assert(MP__LANE_LINE % sizeof(mp__lane_item) == 0, "no item on two lines");

/* What there is to be told: the lanes that have something, and a descriptor that is readable while there are any. */
typedef struct mp__news {
    int fd; /* eventfd, fixed at open */
    _Atomic(struct mp__lane *) first;
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
    mp__lane_item *ring; /* kept from life to life */
    /* driver only */
    pthread_t thread;
    bool alive, has_thread; /* LOST or START_FAILED has not been told; there is a thread to be joined */
    uint64_t put, taken;
    uint32_t epoch;
    const void *job; /* of the item put in last */
    bool refused;    /* there was no room when it was asked for */
    bool owes_recalled;
    uint64_t recalled;
    mp__lane_phase told;
    uint64_t seen_done; /* as they were when this look at it began */
    mp__lane_phase seen_phase;
    bool seen_over;
    /* the thread's until it is over, then the driver's: how it ended */
    mp_error end;
    /* whoever has set `listed`, until it is taken from the list */
    struct mp__lane *next_listed;
    /* atomic, seldom changed */
    atomic_bool listed; /* it is among the news */
    atomic_bool asleep; /* the thread is, or is about to be */
    atomic_bool over;   /* the thread does nothing any more but end */
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
} mp__lane;

/* NULL: no memory. */
mp__lane *mp__lane_create(uint32_t slot, const mp__workers *pool, const mp__backend_config *config, mp__news *news);
void mp__lane_free(mp__lane *lane);

/* --- driver ---------------------------------------------------------------------------------------------------------------- */

/* For a new life, whose thread does not run yet. False: no memory. */
bool mp__lane_begin(mp__lane *lane, uint32_t generation, uint32_t place);

/* Puts an item in; there must be room. The thread may not see it before mp__lane_publish. */
void mp__lane_put(mp__lane *lane, const mp__item *item);
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
/* Everything that is on the list. The descriptor is readable if more comes. */
mp__lane *mp__news_take(mp__news *news);

/* --- thread ---------------------------------------------------------------------------------------------------------------- */

/* The next item, which is now started; NULL: none. `started` is how many there were. */
mp__lane_item *mp__lane_take(mp__lane *lane, uint64_t started);
/* Sleeps until there is an item, or the thread is to end: false. */
bool mp__lane_wait(mp__lane *lane, uint64_t started);

/* --- either ---------------------------------------------------------------------------------------------------------------- */

/* Puts the lane among the news. What was stored before will be seen. */
void mp__news_tell(mp__lane *lane);

#endif
