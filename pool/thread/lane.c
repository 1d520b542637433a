/* The two sides of a lane, and the list of lanes that have news; lane.h says what may happen at the same time.
 *
 * The driver's functions run under the pool's lock, so one at a time; the thread's on the one thread that the lane belongs to.
 * `sleep` is held for an instant each: while the thread looks for the last time before it sleeps, and to know that it has.
 * Nothing here can fail but for want of memory. */
#include "pool/thread/lane.h"
#include "serial/memory.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EPOCH_ONE (1ull << 32)
enum { PUBLISH_ITEMS = 256 }; /* the thread begins while many more are put in */

static uint64_t in_epoch(uint32_t epoch, uint64_t ordinal)
{
    return epoch * EPOCH_ONE + (uint32_t)ordinal;
}

static uint32_t epoch_of(uint64_t word)
{
    return (uint32_t)(word / EPOCH_ONE);
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
    free(lane->ring);
    free(lane);
}

/* `listed` and `next_listed` stay: the life before may have left the lane on the list, which does no harm. */
bool mp__lane_begin(mp__lane *lane, uint32_t generation, uint32_t place)
{
    const char *prefix = lane->config->name_prefix;
    lane->generation = generation;
    lane->place = place;
    snprintf(lane->name, sizeof lane->name, "%.48s_%u", prefix ? prefix : "mp-thread", place);
    lane->alive = true;
    lane->has_thread = lane->refused = lane->owes_recalled = false;
    lane->put = lane->taken = 0;
    lane->epoch = 0;
    lane->job = NULL;
    lane->told = lane->seen_phase = MP__LANE_STARTING;
    lane->seen_done = 0; /* whoever looks at it now has not seen anything of this life */
    lane->seen_over = false;
    atomic_store(&lane->asleep, false);
    atomic_store(&lane->over, false);
    atomic_store(&lane->phase, MP__LANE_STARTING);
    atomic_store(&lane->stopping, false);
    for (_Atomic uint64_t **word =
             (_Atomic uint64_t *[]){&lane->sent, &lane->cancelled, &lane->claim, &lane->done, &lane->busy_ns, NULL};
         *word; word++)
        atomic_store(*word, 0);
    if (!lane->ring)
        lane->ring = mp__memory.aligned_alloc(MP__LANE_LINE, MP__LANE_ITEMS * sizeof *lane->ring);
    return lane->ring;
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

void mp__lane_put(mp__lane *lane, const mp__item *item)
{
    lane->ring[lane->put++ % MP__LANE_ITEMS] = (mp__lane_item){
        .value = item->value,
        .out = item->out,
        .index = item->index,
        .task = item->task & (UINT32_MAX >> 1),
        .begins = item->job != lane->job,
    };
    lane->job = item->job;
    if (lane->put % PUBLISH_ITEMS == 0)
        mp__lane_publish(lane);
}

void mp__lane_publish(mp__lane *lane)
{
    uint64_t sent = in_epoch(lane->epoch, lane->put);
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
    uint64_t before = atomic_fetch_add_explicit(&lane->claim, EPOCH_ONE, memory_order_acq_rel);
    lane->epoch++;
    lane->put = ordinal_from(lane->taken, before);
    lane->job = NULL;
    return lane->put;
}

void mp__lane_stop(mp__lane *lane)
{
    atomic_store(&lane->stopping, true);
    wake(lane);
}

/* --- thread ---------------------------------------------------------------------------------------------------------------- */

mp__lane_item *mp__lane_take(mp__lane *lane, uint64_t started)
{
    uint64_t sent = atomic_load_explicit(&lane->sent, memory_order_acquire);
    if ((uint32_t)sent == (uint32_t)started)
        return NULL;
    uint64_t known = in_epoch(epoch_of(sent), started), next = in_epoch(epoch_of(sent), started + 1);
    if (!atomic_compare_exchange_strong_explicit(&lane->claim, &known, next, memory_order_acq_rel, memory_order_relaxed))
        return NULL;
    return &lane->ring[started % MP__LANE_ITEMS];
}

/* After a recall `sent` is of the epoch before, until something is sent again: what it says is void. */
static bool has_items(const mp__lane *lane, uint64_t started)
{
    uint64_t sent = atomic_load(&lane->sent);
    uint64_t claim = atomic_load(&lane->claim);
    return epoch_of(sent) == epoch_of(claim) && (uint32_t)sent != (uint32_t)started;
}

bool mp__lane_wait(mp__lane *lane, uint64_t started)
{
    bool stopping, more;
    pthread_mutex_lock(&lane->sleep);
    for (;;) {
        atomic_store(&lane->asleep, true);
        stopping = atomic_load(&lane->stopping); /* first: whatever was sent came before it */
        more = has_items(lane, started);
        if (stopping || more)
            break;
        pthread_cond_wait(&lane->woken, &lane->sleep);
    }
    atomic_store(&lane->asleep, false);
    pthread_mutex_unlock(&lane->sleep);
    return more;
}

/* --- news ------------------------------------------------------------------------------------------------------------------ */

/* A lane is on the list once. Who finds it there need do nothing:
 *
 *     thread: done = 5;  listed was true            the driver has not taken it off yet, and looks at `done` after that: sees 5
 *     thread: done = 5;  listed was false           the driver may have looked before: it goes on the list again
 *
 * Who finds the list empty rings. The driver empties the descriptor before it takes the list, so what comes after that rings
 * again; one that is held up between list and bell holds up the news of those behind it just as long. */
void mp__news_tell(mp__lane *lane)
{
    mp__news *news = lane->news;
    if (atomic_exchange_explicit(&lane->listed, true, memory_order_acq_rel))
        return;
    mp__lane *first = atomic_load_explicit(&news->first, memory_order_relaxed);
    do
        lane->next_listed = first;
    while (!atomic_compare_exchange_weak_explicit(&news->first, &first, lane, memory_order_acq_rel, memory_order_relaxed));
    if (first)
        return;
    ssize_t written = write(news->fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* fails only at a count that is never reached */
}

mp__lane *mp__news_take(mp__news *news)
{
    uint64_t count;
    ssize_t got = read(news->fd, &count, sizeof count);
    (void)got; /* nobody has rung: nothing is lost by looking */
    return atomic_exchange_explicit(&news->first, NULL, memory_order_acq_rel);
}

mp__lane *mp__news_next(mp__lane **list)
{
    mp__lane *lane = *list;
    *list = lane->next_listed; /* now: once it is not listed any more its thread may put it on the list again */
    atomic_exchange_explicit(&lane->listed, false, memory_order_acq_rel);
    return lane;
}
