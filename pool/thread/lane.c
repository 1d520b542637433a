/* The two sides of a lane, and the list of lanes that have news; lane.h says what may happen at the same time.
 *
 * The driver's functions run under the pool's lock, so one at a time; the thread's on the one thread that the lane belongs to.
 * `sleep` is held for an instant each: while the thread looks for the last time before it sleeps, and to know that it has.
 * Nothing here can fail but for want of memory. */
#include "pool/thread/lane.h"
#include "pool/clock.h"
#include "serial/memory.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NO_TASK UINT32_MAX

static uint32_t epoch_of(uint64_t word)
{
    return (uint32_t)(word / MP__LANE_EPOCH);
}

/* The ordinal whose low half stands in the word, and which is not before `least`, nor far behind it. */
static uint64_t ordinal_from(uint64_t least, uint64_t word)
{
    return least + (uint32_t)((uint32_t)word - (uint32_t)least);
}

mp__lane *mp__lane_create(uint32_t slot, const mp__workers *pool, const mp__backend_config *config, mp__news *news)
{
    mp__lane *lane = mp__memory.aligned_alloc(MP__LANE_LINE, sizeof *lane);
    if (!lane)
        return NULL;
    memset(lane, 0, sizeof *lane);
    lane->slot = slot;
    lane->pool = pool;
    lane->config = config;
    lane->news = news;
    pthread_mutex_init(&lane->sleep, NULL); /* neither can fail without attributes */
    pthread_cond_init(&lane->woken, NULL);
    return lane;
}

void mp__lane_free(mp__lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_destroy(&lane->sleep);
    pthread_cond_destroy(&lane->woken);
    free(lane->ring_memory);
    free(lane);
}

/* Zeros, for a place in the middle of a row is not written before its item fails; and by calloc, which need not touch them. False: no memory. */
static bool make_ring(mp__lane *lane)
{
    if (lane->ring)
        return true;
    lane->ring_memory = mp__memory.calloc(MP__LANE_ITEMS + 1, sizeof *lane->ring);
    uintptr_t at = (uintptr_t)lane->ring_memory, up = (MP__LANE_LINE - at % MP__LANE_LINE) % MP__LANE_LINE;
    if (lane->ring_memory)
        lane->ring = (mp__lane_place *)((char *)lane->ring_memory + up);
    return lane->ring;
}

/* `listed` and `next_listed` stay: the life before may have left the lane on the list, which does no harm. */
bool mp__lane_begin(mp__lane *lane, uint32_t generation, uint32_t place)
{
    const char *prefix = lane->config->name_prefix;
    lane->generation = generation;
    lane->place = place;
    snprintf(lane->name, sizeof lane->name, "%.48s_%u", prefix ? prefix : "mp-thread", place);
    lane->alive = true;
    lane->carried = lane->refused = lane->owes_recalled = false;
    lane->put = lane->taken = 0;
    lane->epoch = 0;
    lane->job = NULL;
    lane->lone_task = NO_TASK;
    lane->told = lane->seen_phase = MP__LANE_STARTING;
    lane->failures_told = lane->seen_failures = 0;
    lane->seen_done = 0; /* whoever looks at it now has not seen anything of this life */
    lane->seen_over = false;
    atomic_store(&lane->asleep, false);
    atomic_store(&lane->over, false);
    atomic_store(&lane->phase, MP__LANE_STARTING);
    atomic_store(&lane->stopping, false);
    for (_Atomic uint64_t **word = (_Atomic uint64_t *[]){&lane->sent, &lane->cancelled, &lane->claim, &lane->done,
                                                          &lane->busy_ns, &lane->failures, NULL};
         *word; word++)
        atomic_store(*word, 0);
    return make_ring(lane);
}

/* --- driver ---------------------------------------------------------------------------------------------------------------- */

/* The thread is woken if it sleeps, or will find what was stored before this:
 *
 *     thread: asleep = true;  looks: nothing           driver: stores;  looks at asleep
 *
 * All four are sequentially consistent, so that one of the two sees the other's. If the driver sees `asleep` the thread may
 * still be before its wait, but then it holds `sleep`: to have held that too is to know that it waits, or is awake. */
static void wake(mp__lane *lane)
{
    if (!atomic_load(&lane->asleep) || !atomic_exchange(&lane->asleep, false))
        return;
    pthread_mutex_lock(&lane->sleep);
    pthread_mutex_unlock(&lane->sleep);
    pthread_cond_signal(&lane->woken);
}

static mp__lane_place *place_of(const mp__lane *lane, uint64_t ordinal)
{
    return &lane->ring[(ordinal - 1) % MP__LANE_ITEMS];
}

/* Calls of one task are alike: what is finished of one may wait for the next. */
static bool begins(const mp__lane *lane, const mp__items *items)
{
    return items->job != lane->job && !(items->lone && items->task == lane->lone_task);
}

void mp__lane_put(mp__lane *lane, const mp__items *items, size_t count)
{
    mp__lane_place *place = place_of(lane, lane->put + 1);
    place->failed = 0;
    place->row = (mp__lane_row){.value = items->value,
                                .out = items->out,
                                .value_step = items->value_step,
                                .out_step = items->out_step,
                                .index = items->index,
                                .count = (uint32_t)count,
                                .task = items->task,
                                .earlier = items->attempt - 1,
                                .lone = items->lone,
                                .patient = items->patient,
                                .begins = begins(lane, items)};
    lane->job = items->job;
    lane->lone_task = items->lone ? items->task : NO_TASK;
    lane->put += count;
}

void mp__lane_publish(mp__lane *lane)
{
    uint64_t sent = mp__lane_word(lane->epoch, lane->put);
    if (sent == atomic_load_explicit(&lane->sent, memory_order_relaxed))
        return;
    atomic_store(&lane->sent, sent);
    wake(lane);
}

uint64_t mp__lane_started(const mp__lane *lane)
{
    return ordinal_from(lane->taken, atomic_load_explicit(&lane->claim, memory_order_acquire));
}

uint64_t mp__lane_recall(mp__lane *lane)
{
    uint64_t before = atomic_fetch_add_explicit(&lane->claim, MP__LANE_EPOCH, memory_order_acq_rel);
    lane->epoch++;
    lane->put = ordinal_from(lane->taken, before);
    lane->job = NULL;
    lane->lone_task = NO_TASK;
    return lane->put;
}

void mp__lane_stop(mp__lane *lane)
{
    atomic_store(&lane->stopping, true);
    wake(lane);
}

/* --- thread ---------------------------------------------------------------------------------------------------------------- */

bool mp__lane_take(mp__lane *lane, uint64_t started, mp__lane_cursor *at)
{
    uint64_t sent = atomic_load_explicit(&lane->sent, memory_order_acquire);
    if ((uint32_t)sent == (uint32_t)started)
        return false;
    if (at->end != started && at->epoch == epoch_of(sent))
        return mp__lane_take_next(lane, started, at);
    if (!mp__lane_claim(lane, epoch_of(sent), started))
        return false;
    at->row = place_of(lane, started + 1)->row;
    at->end = started + at->row.count;
    at->epoch = epoch_of(sent);
    return at->begins = true;
}

void mp__lane_fail(mp__lane *lane, uint64_t ordinal, mp__lane_failure failure)
{
    mp__lane_place *place = place_of(lane, ordinal);
    place->failure = failure;
    place->failed = ordinal;
    atomic_fetch_add_explicit(&lane->failures, 1, memory_order_relaxed); /* `done` tells */
}

uint32_t mp__lane_left(const mp__lane *lane, uint64_t started)
{
    return (uint32_t)atomic_load_explicit(&lane->sent, memory_order_relaxed) - (uint32_t)started;
}

/* After a recall `sent` is of the epoch before, until something is sent again: what it says is void. */
bool mp__lane_has_items(const mp__lane *lane, uint64_t started)
{
    uint64_t sent = atomic_load(&lane->sent);
    uint64_t claim = atomic_load(&lane->claim);
    return epoch_of(sent) == epoch_of(claim) && (uint32_t)sent != (uint32_t)started;
}

/* Who waits for our results is awake, and likely to put in the next item soon. */
static void wait_awake(const mp__lane *lane, uint64_t started, uint64_t ns)
{
    uint64_t began = mp__now();
    while (!mp__lane_has_items(lane, started) && !atomic_load_explicit(&lane->stopping, memory_order_relaxed) &&
           mp__clock_spin(began, began + ns))
        ;
}

bool mp__lane_wait(mp__lane *lane, uint64_t started, uint64_t awake_ns)
{
    bool stopping, more;
    if (awake_ns)
        wait_awake(lane, started, awake_ns);
    pthread_mutex_lock(&lane->sleep);
    for (;;) {
        atomic_store(&lane->asleep, true);
        stopping = atomic_load(&lane->stopping); /* first: whatever was sent came before it */
        more = mp__lane_has_items(lane, started);
        if (stopping || more)
            break;
        pthread_cond_wait(&lane->woken, &lane->sleep);
    }
    atomic_store(&lane->asleep, false);
    pthread_mutex_unlock(&lane->sleep);
    return more;
}

/* --- news ------------------------------------------------------------------------------------------------------------------ */

static void ring(mp__news *news)
{
    ssize_t written = write(news->fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* fails only at a count that is never reached */
    atomic_store(&news->rung, true);
}

/* Both are sequentially consistent: a lane that comes on the list when nobody has watched any more rings, or has come before the
 * last look. */
bool mp__news_spin(mp__news *news, uint64_t ns, const atomic_uint *wanted)
{
    uint64_t began = mp__now();
    atomic_store(&news->watched, ns);
    while (!atomic_load_explicit(&news->first, memory_order_relaxed) &&
           !atomic_load_explicit(wanted, memory_order_relaxed) && mp__clock_spin(began, began + ns))
        ;
    atomic_store(&news->watched, 0);
    return atomic_load(&news->first);
}

/* A lane is on the list once. Who finds it there need do nothing:
 *
 *     thread: done = 5;  listed was true            the driver has not taken it off yet, and looks at `done` after that: sees 5
 *     thread: done = 5;  listed was false           the driver may have looked before: it goes on the list again
 *
 * Who finds the list empty rings, unless it is watched. The driver empties the descriptor before it takes the list, so what comes after that rings
 * again; one that is held up between list and bell holds up the news of those behind it just as long. */
static bool list(mp__lane *lane)
{
    mp__news *news = lane->news;
    if (atomic_exchange_explicit(&lane->listed, true, memory_order_acq_rel))
        return false;
    mp__lane *first = atomic_load_explicit(&news->first, memory_order_relaxed);
    do
        lane->next_listed = first;
    while (!atomic_compare_exchange_weak_explicit(&news->first, &first, lane, memory_order_seq_cst, memory_order_relaxed));
    return !first;
}

uint64_t mp__news_tell(mp__lane *lane)
{
    bool first = list(lane);
    uint64_t watched = atomic_load(&lane->news->watched);
    if (first && !watched)
        ring(lane->news);
    return watched;
}

void mp__news_leave(mp__lane *lane)
{
    (void)list(lane);
}

mp__lane *mp__news_take(mp__news *news)
{
    uint64_t count;
    if (atomic_exchange(&news->rung, false)) { /* else it is not readable, or will be looked at again because it is */
        ssize_t got = read(news->fd, &count, sizeof count);
        (void)got;
    }
    return atomic_exchange_explicit(&news->first, NULL, memory_order_acq_rel);
}

mp__lane *mp__news_next(mp__lane **list)
{
    mp__lane *lane = *list;
    *list = lane->next_listed; /* now: once it is not listed any more its thread may put it on the list again */
    atomic_exchange_explicit(&lane->listed, false, memory_order_acq_rel);
    return lane;
}
