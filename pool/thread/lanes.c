/* Workers that have a lane each (lane.h), whoever runs them: what two kinds have in common, all hooks but a few (lanes.h).
 *
 * Owns a lane for each slot, the list of lanes that have news, and the eventfd that says that there are some. `next`
 * takes the list, goes through it lane by lane, tells what was there when it began with each, and then says once that there is
 * nothing, so that the lock is let go; whoever drives asks until then. What hooks find out at once (a life that cannot begin, the
 * answer to a recall) goes the same way.
 *
 * Runs under the pool's lock. Nothing is serialized: tasks read the caller's values and write into the caller's memory. What runs
 * cannot be killed, so there is no such hook: it can be cancelled and ends when its task returns. */
#include "pool/thread/lanes.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- hooks ----------------------------------------------------------------------------------------------------------------- */

void mp__lanes_start(mp__workers *w, uint32_t slot, uint32_t generation, uint32_t place)
{
    mp__lane *lane = w->lanes[slot];
    bool ok = mp__lane_begin(lane, generation, place);
    int failed = ok ? w->carrier->begin(lane) : ENOMEM;
    lane->carried = !failed;
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

bool mp__lanes_room(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    lane->refused = !lane->alive || lane->put - lane->taken >= MP__LANE_ITEMS;
    return !lane->refused;
}

size_t mp__lanes_send(mp__workers *w, uint32_t slot, const mp__items *items)
{
    mp__lane *lane = w->lanes[slot];
    size_t room = MP__LANE_ITEMS - (size_t)(lane->put - lane->taken), count = items->count < room ? items->count : room;
    mp__lane_put(lane, items, count);
    return count;
}

void mp__lanes_flush(mp__workers *w, uint32_t slot)
{
    if (w->lanes[slot]->alive)
        mp__lane_publish(w->lanes[slot]);
}

void mp__lanes_recall(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (!lane->alive)
        return;
    lane->recalled = mp__lane_recall(lane);
    lane->owes_recalled = true;
    mp__news_tell(lane);
}

uint64_t mp__lanes_started(mp__workers *w, uint32_t slot)
{
    return w->lanes[slot]->alive ? mp__lane_started(w->lanes[slot]) : 0;
}

void mp__lanes_cancel(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (lane->alive)
        atomic_store_explicit(&lane->cancelled, mp__lane_started(lane), memory_order_relaxed);
}

void mp__lanes_stop(mp__workers *w, uint32_t slot)
{
    mp__lane *lane = w->lanes[slot];
    if (!lane->alive)
        return;
    mp__lane_publish(lane);
    mp__lane_stop(lane);
}

/* A thread that has a single item left tells when that ends. */
void mp__lanes_look(mp__workers *w)
{
    for (uint32_t i = 0; i < w->config.slots; i++) {
        mp__lane *lane = w->lanes[i];
        if (lane->alive && lane->put - lane->taken > 1 &&
            atomic_load_explicit(&lane->done, memory_order_relaxed) > lane->taken)
            mp__news_tell(lane);
    }
}

int mp__lanes_descriptor(mp__workers *w)
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
    lane->seen_failures =
        atomic_load_explicit(&lane->failures, memory_order_relaxed); /* behind `done`, so of all up to there */
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

static mp__lane_place *next_place(const mp__lane *lane)
{
    return &lane->ring[lane->taken % MP__LANE_ITEMS];
}

static bool next_has_failed(const mp__lane *lane)
{
    return next_place(lane)->failed == lane->taken + 1;
}

static void take_failure(mp__workers *w, mp__lane *lane, mp__event *event)
{
    mp__lane_place *place = next_place(lane);
    const mp__lane_failure *failure = &place->failure;
    mp__failure(&w->error, failure->status, "%s", failure->message ? failure->message : "no memory for what it says");
    w->error.worker = (int)lane->place;
    w->error.pid = getpid();
    event->by_task = failure->by_task;
    event->error = &w->error;
    free(failure->message);
    place->failed = 0;
    lane->failures_told++;
    lane->taken++;
}

/* As many successes as there are in a row: all, where no failure is known of that has not been told. Or a failure. */
static mp__event next_result(mp__workers *w, mp__lane *lane)
{
    mp__event event = event_of(lane, MP__EV_RESULT);
    uint64_t before = lane->taken;
    if (lane->seen_failures == lane->failures_told)
        lane->taken = lane->seen_done;
    while (lane->taken < lane->seen_done && !next_has_failed(lane))
        lane->taken++;
    event.count = (size_t)(lane->taken - before);
    if (!event.count)
        take_failure(w, lane, &event);
    event.busy_ns = atomic_load_explicit(&lane->busy_ns, memory_order_relaxed);
    return event;
}

static mp__event life_over(const mp__workers *w, mp__lane *lane)
{
    mp__event event = event_of(lane, lane->told == MP__LANE_READY ? MP__EV_LOST : MP__EV_START_FAILED);
    if (lane->carried)
        w->carrier->end(lane);
    event.started = mp__lane_started(lane);
    event.error = &lane->end;
    lane->alive = lane->carried = false;
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
    else if (lane->refused && mp__lanes_room(w, lane->slot))
        *event = event_of(lane, MP__EV_WRITABLE);
    else if (lane->seen_over)
        *event = life_over(w, lane);
    else
        return false;
    return true;
}

bool mp__lanes_next(mp__workers *w, mp__event *event)
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

mp_status mp__lanes_grow(mp__workers *w, uint32_t slots)
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

void mp__lanes_close(mp__workers *w)
{
    for (uint32_t i = 0; i < w->config.slots; i++)
        mp__lane_free(w->lanes[i]);
    free(w->lanes);
    if (w->news.fd >= 0)
        close(w->news.fd);
    free(w);
}

mp_status mp__lanes_open(mp__workers **workers, const mp__backend_config *config, const mp__carrier *carrier,
                         mp_error *error)
{
    mp__workers *w = mp__memory.calloc(1, sizeof *w);
    if (!w)
        return mp__failure(error, MP_ENOMEM, "no memory for a pool");
    w->carrier = carrier;
    w->config = *config;
    w->config.slots = 0;
    if (!w->config.name_prefix)
        w->config.name_prefix = carrier->prefix;
    w->news.fd = mp__above_standard(mp__system.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    mp_status status = MP_OK;
    if (w->news.fd < 0)
        status = mp__system_failure(error, errno, "no descriptor for a pool");
    else if (mp__lanes_grow(w, config->slots) != MP_OK)
        status = mp__failure(error, MP_ENOMEM, "no memory for a pool");
    if (status != MP_OK) {
        mp__lanes_close(w);
        return status;
    }
    *workers = w;
    return MP_OK;
}
