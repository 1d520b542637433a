/* A worker, on a thread of its own or on one that is lent to it for a step: it takes items from its lane, runs tasks, and leaves results where they are to be.
 *
 * A task writes straight into the place of its result, unless that could point to memory: then into a place of the thread's own,
 * and what it leaves there is copied, for it may be the task's input, or memory that goes with the call. The driver is woken
 * (which costs a hundred times what a small item does) when there is nothing more to run, when results have waited for a while or
 * are many, before another job's items, and after each item as long as they are not known to be short. What is done and not told
 * the driver finds when it looks: also behind short items comes a long one.
 *
 * Its own thread runs with all signals blocked and cancellation off. Owns its mp_call and its room; what it shares is in the lane. A
 * task that fails, or whose result cannot be copied, fails its item; one that calls pthread_exit fails it too, and this life is over:
 * but a thread that is lent is the program's, and its caller's arrays are on its stack, so there that ends the program. */
#include "pool/thread/worker.h"
#include "pool/call.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/thread/lane.h"
#include "pool/thread/thread.h"
#include "serial/clear.h"
#include "serial/copy.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_NS = 50000, /* look at the clock about this often */
    LOOK_ITEMS = 1024,
    WAIT_NS = 200000, /* a result waits at most this long for others, between items */
    PATIENT_NS = 20000000,
    WAIT_ITEMS = 512, /* and for no more others than this */
    SHORT_NS = 20000, /* items that take less than this may wait at all */
    UNKNOWN_NS = 1000000,
    ROOM_ALIGN = 64,
    ROOM_KEEP = 1 << 20,
    STEP_NS = 200000 /* then the engine has a turn, if the thread is lent */
};

typedef struct mp__worker {
    mp__lane *lane;
    uint64_t started;    /* all but the one that runs are done */
    uint64_t told;       /* how many results the driver has been told of */
    mp__lane_cursor at;  /* the item that runs is the first of its row; */
    bool runs;           /* there is one */
    const mp_task *task; /* of the last item; NULL: none yet */
    bool owns;           /* its result can point to memory */
    void *room;          /* for such a one */
    size_t room_size;
    mp_none nothing; /* the result of tasks without one: the places of theirs need not be apart */
    mp_call call;
    uint64_t looked_at, told_at; /* ns */
    uint64_t item_ns; /* how long an item of the task may take: the longest lately, half of it forgotten at each look */
    unsigned until_look, looked_items;
    unsigned until;      /* so many items more, and there may be something to be done */
    bool patient;        /* the item that was run last is */
    bool urgent;         /* one that is has failed: that may end the others */
    uint64_t watched_ns; /* for so long the driver was about to look for what it was told last, without sleeping */
    bool lent;           /* its thread is: the driver looks by itself when a step is over, and not before */
    bool prepared;       /* then: it is through with its initializer, */
    bool failed;         /* and an item of this step has failed */
} worker;

/* Whose worker the thread is; a task on a thread that is lent may lend it to another pool. */
typedef struct inside {
    const mp__workers *pool;
    const struct inside *outer;
} inside;
static _Thread_local const inside *innermost;

const mp__workers *mp__thread_pool(void)
{
    return innermost ? innermost->pool : NULL;
}

bool mp__thread_is_of(const mp__workers *workers)
{
    const inside *at = innermost;
    while (at && at->pool != workers)
        at = at->outer;
    return at && workers;
}

/* --- results ------------------------------------------------------------------------------------------------------------- */

static void tell(worker *w)
{
    w->told = w->started;
    w->told_at = w->looked_at;
    w->urgent = false;
    w->watched_ns = w->lent ? 0 : mp__news_tell(w->lane);
}

static void finish_item(worker *w)
{
    w->runs = false;
    atomic_store_explicit(&w->lane->done, w->started, memory_order_release);
}

/* `by_task`: it is the task that said so. */
static void fail_item(worker *w, mp_status status, bool by_task, const char *message)
{
    size_t size = strlen(message) + 1;
    mp__lane_failure failure = {.status = status, .by_task = by_task, .message = mp__memory.malloc(size)};
    if (w->task->output->kind != MP__NONE)
        memset(w->at.row.out, 0, w->task->output->size);
    w->urgent = w->failed = true;
    if (failure.message)
        memcpy(failure.message, message, size);
    mp__lane_fail(w->lane, w->started, failure);
}

/* What the task left in `room` becomes a result of its own. */
static void keep_value(worker *w)
{
    mp__fault fault = {0};
    if (mp__copy(w->task->output, w->room, w->at.row.out, NULL, &fault) == MP_OK)
        return;
    char text[sizeof fault.path + sizeof fault.message + 32], message[MP_MESSAGE_MAX];
    mp__fault_text(&fault, text, sizeof text);
    snprintf(message, sizeof message, "the result cannot be copied: %s", text);
    fail_item(w, fault.status, false, message);
}

/* --- items --------------------------------------------------------------------------------------------------------------- */

static void take_task(worker *w, const mp_task *task)
{
    w->task = task;
    w->owns = mp__type_owns(task->output);
    w->item_ns = UNKNOWN_NS;
    w->until_look = 1;
}

/* Where the task may write: NULL: no memory. */
static void *place_of_result(worker *w)
{
    size_t need = w->task->output->size;
    if (w->task->output->kind == MP__NONE)
        return &w->nothing;
    if (!w->owns)
        return w->at.row.out;
    if (need > w->room_size) {
        free(w->room);
        w->room_size = (need + ROOM_ALIGN - 1) / ROOM_ALIGN * ROOM_ALIGN;
        w->room = mp__memory.aligned_alloc(ROOM_ALIGN, w->room_size);
        if (!w->room)
            w->room_size = 0;
    }
    return w->room;
}

static void run_item(worker *w)
{
    const mp__lane_row *row = &w->at.row;
    w->started++;
    w->runs = true;
    mp__call_begin(&w->call, row->index, row->earlier + 1, w->started);
    void *out = place_of_result(w);
    if (!out) {
        fail_item(w, MP_ENOMEM, false, "no memory for the task's result");
    } else {
        mp__clear(out, w->task->output->size);
        mp_status status = mp__call_run(&w->call, w->task, row->value, out);
        if (status != MP_OK)
            fail_item(w, status, true, w->call.message);
        else if (w->owns)
            keep_value(w);
    }
    finish_item(w);
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */

static void account(worker *w)
{
    uint64_t now = mp__now(), spent = now - w->looked_at, each = spent / (w->looked_items ? w->looked_items : 1);
    atomic_fetch_add_explicit(&w->lane->busy_ns, spent, memory_order_relaxed);
    w->item_ns = each > w->item_ns / 2 ? each : w->item_ns / 2;
    uint64_t items = spent ? (uint64_t)w->looked_items * LOOK_NS / spent : LOOK_ITEMS;
    if (w->item_ns >= SHORT_NS)
        items = 1;
    w->until_look = items < 1 ? 1 : items > LOOK_ITEMS ? LOOK_ITEMS : (unsigned)items;
    w->looked_items = 0;
    w->looked_at = now;
}

/* What is finished of one caller's does not wait for another's, however short those items were so far. */
static void begin_row(worker *w)
{
    const mp_task *task = w->lane->config->tasks->rows[w->at.row.task].task;
    if (w->at.row.begins && w->told != w->started)
        tell(w);
    if (task != w->task)
        take_task(w, task);
    w->patient = w->at.row.patient;
    w->until = 1;
}

/* Of items whose results may wait: when half of what there was to do is done the driver has time to put in more before there is
 * none. Told more often it is woken in vain. */
static bool is_time(worker *w)
{
    return mp__lane_left(w->lane, w->started) <= w->started - w->told || w->urgent ||
           w->looked_at - w->told_at >= PATIENT_NS;
}

static bool has_to_tell(worker *w)
{
    return w->patient
               ? is_time(w)
               : w->item_ns >= SHORT_NS || w->looked_at - w->told_at >= WAIT_NS || w->started - w->told >= WAIT_ITEMS;
}

/* How many items more can be run before there is something to be done between them. */
static unsigned until_there_is_something(const worker *w)
{
    uint64_t until = w->until_look - w->looked_items, left = mp__lane_left(w->lane, w->started);
    uint64_t done = w->started - w->told, half = left > done ? (left - done) / 2 : 0;
    uint64_t more = w->patient ? half : w->told + WAIT_ITEMS - w->started;
    until = more < until ? more : until;
    return until ? (unsigned)until : 1; /* the last one is told of when there is nothing more to run */
}

/* Clocks cost more than small items: looked at once in LOOK_NS worth of them. */
static void after_items(worker *w, unsigned count)
{
    w->looked_items += count;
    w->until -= count;
    if (w->until && !w->urgent)
        return;
    if (w->looked_items >= w->until_look)
        account(w);
    if (has_to_tell(w))
        tell(w);
    w->until = until_there_is_something(w);
}

/* There is nothing to run at the moment. */
static void rest(worker *w)
{
    if (w->looked_items)
        account(w);
    if (w->told != w->started)
        tell(w);
    mp__call_begin(&w->call, 0, 1, w->started);
    if (w->room_size > ROOM_KEEP) { /* one huge result does not mean that all are */
        free(w->room);
        w->room = NULL;
        w->room_size = 0;
    }
}

/* False: it is to leave. */
static bool wait_for_items(worker *w)
{
    rest(w);
    bool more = mp__lane_wait(w->lane, w->started, w->watched_ns);
    w->watched_ns = 0;
    w->looked_at = w->told_at = mp__now();
    return more;
}

/* --- a life -------------------------------------------------------------------------------------------------------------- */

static mp_status run_hook(worker *w, const mp__hook *hook)
{
    if (!hook->task)
        return MP_OK;
    mp_none nothing = {0};
    w->call.cancelled = NULL;
    w->call.chaos = NULL; /* which is for items alone */
    mp__call_begin(&w->call, 0, 1, 0);
    return mp__call_run(&w->call, hook->task, hook->value, &nothing);
}

static void enter(worker *w, mp__lane_phase phase)
{
    atomic_store_explicit(&w->lane->phase, phase, memory_order_release);
    if (!w->lent)
        mp__news_tell(w->lane);
}

/* False: `end` says why not. */
static bool prepare(worker *w)
{
    const mp__hook *initializer = &w->lane->config->initializer;
    if (initializer->task)
        enter(w, MP__LANE_GREETED);
    mp_status status = run_hook(w, initializer);
    if (status != MP_OK)
        mp__failure(&w->lane->end, status, "the initializer failed: %s", w->call.message);
    else
        enter(w, MP__LANE_READY);
    return status == MP_OK;
}

static void begin_to_serve(worker *w)
{
    w->call.cancelled = &w->lane->cancelled;
    w->call.chaos = w->lane->config->chaos;
    w->looked_at = w->told_at = mp__now();
}

/* An item, and those behind it in its row until there may be something to be done between them. False: there is none. */
static bool serve_some(worker *w)
{
    unsigned count = 0;
    if (!mp__lane_take(w->lane, w->started, &w->at))
        return false;
    if (w->at.begins)
        begin_row(w);
    do {
        run_item(w);
        count++;
    } while (count < w->until && !w->urgent && w->started != w->at.end && mp__lane_take_next(w->lane, w->started, &w->at));
    after_items(w, count);
    return true;
}

static void finish_life(worker *w)
{
    run_hook(w, &w->lane->config->finalizer); /* whatever it says: there is nobody to tell it to */
    mp__failure(&w->lane->end, MP_ECRASHED, "the worker has left");
}

static void live(worker *w)
{
    if (!prepare(w))
        return;
    begin_to_serve(w);
    do
        while (serve_some(w))
            continue;
    while (wait_for_items(w));
    finish_life(w);
}

/* The last that the thread does of ours: the lane is the driver's when it has seen `over`. */
static void be_over(mp__lane *lane, bool lent)
{
    atomic_store_explicit(&lane->over, true, memory_order_release);
    if (!lent)
        mp__news_tell(lane);
}

/* The driver joins a thread that is over, with the pool's lock: by then the user's own destructors of what is the thread's have run, which
 * may take their time, or ask the pool something. They are called in rounds, as long as there is something to be destroyed; the last of
 * these is left to sanitizers, who want it, and to those that set their value again each time. */
static pthread_key_t last_of_all;
static bool has_last_of_all;

static void destroyed(void *lane)
{
    static _Thread_local int rounds;
    if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS - 1 && pthread_setspecific(last_of_all, lane) == 0)
        return;
    be_over(lane, false);
}

static void make_last_of_all(void)
{
    has_last_of_all = pthread_key_create(&last_of_all, destroyed) == 0;
}

static void leave(worker *w)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    mp__lane *lane = w->lane;
    mp__call_fini(&w->call);
    free(w->room);
    lane->end.worker = (int)lane->place;
    lane->end.pid = getpid();
    pthread_once(&once, make_last_of_all);
    if (w->lent || !has_last_of_all || pthread_setspecific(last_of_all, lane) != 0)
        be_over(lane, w->lent);
}

/* A task has called pthread_exit. */
static void left_by_task(void *argument)
{
    worker *w = argument;
    static const char why[] = "the task ended its thread (pthread_exit)";
    bool ready = atomic_load_explicit(&w->lane->phase, memory_order_relaxed) == MP__LANE_READY;
    if (w->runs) {
        fail_item(w, MP_ECRASHED, false, why);
        finish_item(w);
        mp__news_tell(w->lane); /* what is destroyed now may take its time */
    }
    mp__failure(&w->lane->end, MP_ECRASHED, "%s%s", ready ? "" : "the initializer failed: ", why);
    leave(w);
}

static worker of_lane(mp__lane *lane)
{
    return (worker){
        .lane = lane, .until_look = 1, .item_ns = UNKNOWN_NS, .call = {.worker = (int)lane->place, .name = lane->name}};
}

void *mp__thread_run(void *argument)
{
    mp__lane *lane = argument;
    char shown[16]; /* as much of it as the system takes */
    snprintf(shown, sizeof shown, "%.15s", lane->name);
    pthread_setname_np(pthread_self(), shown);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    static _Thread_local inside mine; /* for destructors too, that run when this has returned */
    mine = (inside){.pool = lane->pool};
    innermost = &mine;
    worker w = of_lane(lane);
    pthread_cleanup_push(left_by_task, &w);
    live(&w);
    pthread_cleanup_pop(0);
    leave(&w);
    return NULL;
}

/* --- on a thread that is lent ---------------------------------------------------------------------------------------------- */

mp__worker *mp__worker_create(void *lane)
{
    worker *w = mp__memory.malloc(sizeof *w);
    if (!w)
        return NULL;
    *w = of_lane(lane);
    w->lent = true;
    return w;
}

void mp__worker_free(mp__worker *w)
{
    free(w);
}

bool mp__worker_wants(const mp__worker *w)
{
    return !w->prepared || mp__lane_has_items(w->lane, w->started) ||
           atomic_load_explicit(&w->lane->stopping, memory_order_relaxed);
}

/* What is done, is so when this returns. Behind one that fails no other one runs before the engine knows: it may end the call. */
static void step_items(worker *w)
{
    uint64_t until = mp__now() + STEP_NS;
    w->looked_at = w->told_at = until - STEP_NS;
    w->failed = false;
    while (!w->failed && w->looked_at < until && serve_some(w))
        continue;
    rest(w);
}

/* The worker is not looked at after it has left. */
static void step(worker *w)
{
    if (!w->prepared) {
        w->prepared = true;
        if (prepare(w))
            begin_to_serve(w);
        else
            leave(w);
    } else if (mp__lane_has_items(w->lane, w->started)) {
        step_items(w);
    } else if (atomic_load_explicit(&w->lane->stopping, memory_order_relaxed)) { /* else it was taken back meanwhile */
        finish_life(w);
        leave(w);
    }
}

/* Callers of ours, to whose stacks the engine points, would go with the thread. */
static void lost_by_task(void *argument)
{
    (void)argument;
    static const char why[] = "millpond: a task of a serial pool has called pthread_exit on the thread of its caller\n";
    ssize_t written = write(STDERR_FILENO, why, sizeof why - 1);
    (void)written;
    abort();
}

void mp__worker_step(mp__worker *w)
{
    mp__lane *lane = w->lane;
    inside here = {.pool = lane->pool, .outer = innermost};
    innermost = &here;
    pthread_cleanup_push(lost_by_task, NULL);
    step(w);
    pthread_cleanup_pop(0);
    innermost = here.outer;
    mp__news_leave(lane);
}
