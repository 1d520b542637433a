/* What kinds of workers with lanes have in common: most hooks of backend.h, which says what each is to do. */
#ifndef MP__THREAD_LANES_H
#define MP__THREAD_LANES_H
#include "pool/thread/lane.h"

/* How such a worker comes to run: what the kinds differ in. Under the pool's lock. */
typedef struct mp__carrier {
    const char *prefix; /* of its name, if no other is given */
    /* Its life can begin: 0 or errno. */
    int (*begin)(mp__lane *lane);
    /* Its life is `over`. */
    void (*end)(mp__lane *lane);
} mp__carrier;

struct mp__workers {
    /* fixed at open */
    const mp__carrier *carrier;
    mp__backend_config config; /* but for `slots`, which is under the pool's lock */
    /* by workers too: see lane.h */
    mp__news news;
    /* under the pool's lock */
    mp__lane **lanes;  /* workers have their own pointers to them: lanes never move */
    mp__lane *list;    /* news that were taken and not looked at yet */
    mp__lane *reading; /* the lane that is looked at */
    bool looked;       /* at a whole list: it is time to say that there is nothing */
    mp__lane *next;    /* where threads are lent: whose step is the next one, or is under way */
    mp_error error;    /* of the last event */
};

mp_status mp__lanes_open(mp__workers **workers, const mp__backend_config *config, const mp__carrier *carrier,
                         mp_error *error);
mp_status mp__lanes_grow(mp__workers *workers, uint32_t slots);
void mp__lanes_start(mp__workers *workers, uint32_t slot, uint32_t generation, uint32_t place);
bool mp__lanes_room(mp__workers *workers, uint32_t slot);
size_t mp__lanes_send(mp__workers *workers, uint32_t slot, const mp__items *items);
void mp__lanes_flush(mp__workers *workers, uint32_t slot);
void mp__lanes_recall(mp__workers *workers, uint32_t slot);
uint64_t mp__lanes_started(mp__workers *workers, uint32_t slot);
void mp__lanes_cancel(mp__workers *workers, uint32_t slot);
void mp__lanes_stop(mp__workers *workers, uint32_t slot);
void mp__lanes_look(mp__workers *workers);
int mp__lanes_descriptor(mp__workers *workers);
bool mp__lanes_next(mp__workers *workers, mp__event *event);
void mp__lanes_close(mp__workers *workers);

/* All but `open`, and what a kind adds. */
#define MP__LANES_HOOKS                                                                                                    \
    .grow = mp__lanes_grow, .start = mp__lanes_start, .room = mp__lanes_room, .send = mp__lanes_send,                      \
    .flush = mp__lanes_flush, .recall = mp__lanes_recall, .started = mp__lanes_started, .cancel = mp__lanes_cancel,        \
    .stop = mp__lanes_stop, .look = mp__lanes_look, .descriptor = mp__lanes_descriptor, .next = mp__lanes_next,            \
    .close = mp__lanes_close

#endif
