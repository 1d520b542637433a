/* Workers that are threads of this program: a backend (backend.h).
 *
 * Owns a lane (lane.h) for each slot, the list of lanes that have news, and the eventfd that says that there are some. `next`
 * takes the list, goes through it lane by lane, tells what was there when it began with each, and then says once that there is
 * nothing, so that the lock is let go; whoever drives asks until then. What hooks find out at once (a thread that cannot be
 * started, the answer to a recall) goes the same way.
 *
 * Runs under the pool's lock. Nothing is serialized: tasks read the caller's values and write into the caller's memory. A thread
 * cannot be killed, so there is no such hook: what runs can be cancelled and ends when its task returns. */
#include "pool/thread/thread.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "pool/thread/lane.h"
#include "pool/thread/worker.h"
#include "serial/memory.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mp__workers {
    /* fixed at open */
    mp__backend_config config; /* but for `slots`, which is under the pool's lock */
    /* by threads too: see lane.h */
    mp__news news;
    /* under the pool's lock */
    mp__lane **lanes;  /* threads have their own pointers to them: lanes never move */
    mp__lane *list;    /* news that were taken and not looked at yet */
    mp__lane *reading; /* the lane that is looked at */
    bool looked;       /* at a whole list: it is time to say that there is nothing */
    mp_error error;    /* of the last event */
};

/* --- hooks ----------------------------------------------------------------------------------------------------------------- */

/* All signals are blocked in it: those of the program go to threads of the program. */
static int create_thread(mp__lane *lane)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = mp__system.pthread_create(&lane->thread, NULL, mp__thread_run, lane);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static void start(mp__workers *w, uint32_t slot, uint32_t generation, uint32_t place)
{
    mp__lane *lane = w->lanes[slot];
    bool ok = mp__lane_begin(lane, generation, place);
    int failed = ok ? create_thread(lane) : ENOMEM;
    lane->has_thread = !failed;
    if (!failed)
        return;
    if (ok)
        mp__system_failure(&lane->end, failed, "the thread of worker %u cannot be started", place);
    else
        mp__failure(&lane->end, MP_ENOMEM, "no memory for worker %u", place);
    lane->end.worker = (int)place;
    atomic_store_explicit(&lane->over, true, memory_order_relaxed); /* it never was */
    mp__news_tell(lane);
}

static bool room(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    lane->refused = !lane->alive || lane->put - lane->taken >= MP__LANE_ITEMS;
    return !lane->refused;
}

static void send_item(mp__workers *w, uint32_t slot, const mp__item *item)
{
    mp__lane_put(w->lanes[slot], item);
}

static void flush(mp__workers *w, uint32_t slot)
{
    if (w->lanes[slot]->alive)
        mp__lane_publish(w->lanes[slot]);
}

static void recall(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (!lane->alive)
        return;
    lane->recalled = mp__lane_recall(lane);
    lane->owes_recalled = true;
    mp__news_tell(lane);
}

static uint64_t started(mp__workers *w, uint32_t slot)
{
    return w->lanes[slot]->alive ? mp__lane_started(w->lanes[slot]) : 0;
}

static void cancel(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (lane->alive)
        atomic_store_explicit(&lane->cancelled, mp__lane_started(lane), memory_order_relaxed);
}

static void stop(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (!lane->alive)
        return;
    mp__lane_publish(lane);
    mp__lane_stop(lane);
}

/* A thread that has a single item left tells when that ends. */
static void look(mp__workers *w)
{
    for (uint32_t i = 0; i < w->config.slots; i++) {
        mp__lane *lane = w->lanes[i];
        if (lane->alive && lane->put - lane->taken > 1 &&
            atomic_load_explicit(&lane->done, memory_order_relaxed) > lane->taken)
            mp__news_tell(lane);
    }
}

static int descriptor(mp__workers *w)
{
    return w->news.fd;
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

static void begin_look(mp__workers *w)
{
    mp__lane *lane = w->reading = mp__news_next(&w->list);
    lane->seen_over = atomic_load_explicit(&lane->over, memory_order_acquire); /* first: then the rest is its last word */
    lane->seen_phase = atomic_load_explicit(&lane->phase, memory_order_acquire);
    lane->seen_done = atomic_load_explicit(&lane->done, memory_order_acquire);
}

static mp__event event_of(const mp__lane *lane, mp__event_kind kind)
{
    return (mp__event){.kind = kind, .slot = lane->slot, .generation = lane->generation};
}

static mp__event next_phase(mp__lane *lane)
{
    bool greets = lane->told == MP__LANE_STARTING && lane->config->initializer.task;
    lane->told = greets ? MP__LANE_GREETED : MP__LANE_READY;
    return event_of(lane, greets ? MP__EV_GREETED : MP__EV_READY);
}

static mp__event recall_answered(mp__lane *lane)
{
    mp__event event = event_of(lane, MP__EV_RECALLED);
    event.started = lane->recalled;
    lane->owes_recalled = false;
    return event;
}

static void take_failure(mp__workers *w, mp__lane *lane)
{
    mp__lane_item *item = &lane->ring[lane->taken++ % MP__LANE_ITEMS];
    mp__failure(&w->error, item->status, "%s", item->message ? item->message : "no memory for what it says");
    w->error.worker = (int)lane->place;
    w->error.pid = getpid();
    free(item->message);
}

/* As many successes as there are in a row, or a failure. */
static mp__event next_result(mp__workers *w, mp__lane *lane)
{
    mp__event event = event_of(lane, MP__EV_RESULT);
    while (lane->taken < lane->seen_done && lane->ring[lane->taken % MP__LANE_ITEMS].status == MP_OK) {
        lane->taken++;
        event.count++;
    }
    if (!event.count) {
        take_failure(w, lane);
        event.error = &w->error;
    }
    event.busy_ns = atomic_load_explicit(&lane->busy_ns, memory_order_relaxed);
    return event;
}

static mp__event life_over(mp__lane *lane)
{
    mp__event event = event_of(lane, lane->told == MP__LANE_READY ? MP__EV_LOST : MP__EV_START_FAILED);
    if (lane->has_thread)
        pthread_join(lane->thread, NULL); /* it has nothing more to do */
    event.started = mp__lane_started(lane);
    event.error = &lane->end;
    lane->alive = lane->has_thread = false;
    return event;
}

/* The answer to a recall comes before results: what is sent next is counted from there. */
static bool next_of_lane(mp__workers *w, mp__lane *lane, mp__event *event)
{
    if (!lane->alive)
        return false;
    if (lane->told < lane->seen_phase)
        *event = next_phase(lane);
    else if (lane->owes_recalled)
        *event = recall_answered(lane);
    else if (lane->taken < lane->seen_done)
        *event = next_result(w, lane);
    else if (lane->refused && room(w, lane->slot))
        *event = event_of(lane, MP__EV_WRITABLE);
    else if (lane->seen_over)
        *event = life_over(lane);
    else
        return false;
    return true;
}

static bool next(mp__workers *w, mp__event *event)
{
    for (;;) {
        if (w->reading && next_of_lane(w, w->reading, event))
            return true;
        w->reading = NULL;
        if (w->list) {
            begin_look(w);
        } else if (w->looked) {
            w->looked = false;
            return false;
        } else {
            w->list = mp__news_take(&w->news);
            w->looked = w->list != NULL;
            if (!w->list)
                return false;
        }
    }
}

/* --- open and close ---------------------------------------------------------------------------------------------------------- */

static mp_status grow(mp__workers *w, uint32_t slots)
{
    uint32_t before = w->config.slots, made = before;
    mp__lane **lanes = mp__memory.realloc(w->lanes, slots * sizeof(mp__lane *));
    if (!lanes)
        return MP_ENOMEM;
    w->lanes = lanes;
    while (made < slots && (lanes[made] = mp__lane_create(made, w, &w->config, &w->news)))
        made++;
    if (made < slots) {
        while (made > before)
            mp__lane_free(lanes[--made]);
        return MP_ENOMEM;
    }
    w->config.slots = slots;
    return MP_OK;
}

static void close_all(mp__workers *w)
{
    for (uint32_t i = 0; i < w->config.slots; i++)
        mp__lane_free(w->lanes[i]);
    free(w->lanes);
    if (w->news.fd >= 0)
        close(w->news.fd);
    free(w);
}

static mp_status open_all(mp__workers **workers, const mp__backend_config *config, mp_error *error)
{
    mp__workers *w = mp__memory.calloc(1, sizeof *w);
    if (!w)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    w->config = *config;
    w->config.slots = 0;
    w->news.fd = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    mp_status status = MP_OK;
    if (w->news.fd < 0)
        status = mp__system_failure(error, errno, "no descriptor for a pool");
    else if (grow(w, config->slots) != MP_OK)
        status = mp__failure(error, MP_ENOMEM, "no memory for a pool");
    if (status != MP_OK) {
        close_all(w);
        return status;
    }
    *workers = w;
    return MP_OK;
}

const mp__backend mp__thread_backend = {
    .name = "thread",
    .open = open_all,
    .grow = grow,
    .start = start,
    .room = room,
    .send = send_item,
    .flush = flush,
    .recall = recall,
    .started = started,
    .cancel = cancel,
    .stop = stop,
    .look = look,
    .descriptor = descriptor,
    .next = next,
    .close = close_all,
};
