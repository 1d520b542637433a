/* The thread of a worker: it takes items from its lane, runs tasks, and leaves results where they are to be.
 *
 * A task writes straight into the place of its result, unless that could point to memory: then into a place of the thread's own,
 * and what it leaves there is copied, for it may be the task's input, or memory that goes with the call. The driver is woken
 * (which costs a hundred times what a small item does) when there is nothing more to run, when results have waited for a while or
 * are many, before another job's items, and after each item as long as they are not known to be short. What is done and not told
 * the driver finds when it looks: also behind short items comes a long one.
 *
 * Runs with all signals blocked and cancellation off. Owns its mp_call and its room; what it shares is in the lane. A task that
 * fails, or whose result cannot be copied, fails its item; one that calls pthread_exit fails it too, and this life is over. */
#include "pool/thread/worker.h"
#include "pool/call.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/thread/lane.h"
#include "pool/thread/thread.h"
#include "serial/copy.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_NS = 50000, /* look at the clock about this often */
    LOOK_ITEMS = 1024,
    WAIT_NS = 200000, /* a result waits at most this long for others, between items */
    WAIT_ITEMS = 512, /* and for no more others than this */
    SHORT_NS = 20000, /* items that take less than this may wait at all */
    UNKNOWN_NS = 1000000,
    ROOM_ALIGN = 64,
    ROOM_KEEP = 1 << 20
};

typedef struct worker {
    mp__lane *lane;
    uint64_t started;    /* all but the one that runs are done */
    uint64_t told;       /* how many results the driver has been told of */
    mp__lane_item *item; /* that runs; NULL: none */
    const mp_task *task; /* of the last item; NULL: none yet */
    bool owns;           /* its result can point to memory */
    void *room;          /* for such a one */
    size_t room_size;
    mp_none nothing; /* the result of tasks without one: the places of theirs need not be apart */
    mp_call call;
    uint64_t looked_at, told_at; /* ns */
    uint64_t item_ns; /* how long an item of the task may take: the longest lately, half of it forgotten at each look */
    unsigned until_look, looked_items;
} worker;

static _Thread_local const mp__workers *pool_of_thread;

const mp__workers *mp__thread_pool(void)
{
    return pool_of_thread;
}

/* --- results ------------------------------------------------------------------------------------------------------------- */

static void tell(worker *w)
{
    w->told = w->started;
    w->told_at = w->looked_at;
    mp__news_tell(w->lane);
}

static void finish_item(worker *w)
{
    w->item = NULL;
    atomic_store_explicit(&w->lane->done, w->started, memory_order_release);
}

static void fail_item(worker *w, mp_status status, const char *message)
{
    mp__lane_item *item = w->item;
    size_t size = strlen(message) + 1;
    if (w->task->output->kind != MP__NONE)
        memset(item->out, 0, w->task->output->size);
    item->status = status;
    item->message = mp__memory.malloc(size); /* in the place of `value`, which is done with */
    if (item->message)
        memcpy(item->message, message, size);
}

/* What the task left in `room` becomes a result of its own. */
static void keep_value(worker *w)
{
    mp__fault fault = {0};
    if (mp__copy(w->task->output, w->room, w->item->out, NULL, &fault) == MP_OK)
        return;
    char text[sizeof fault.path + sizeof fault.message + 32], message[MP_MESSAGE_MAX];
    mp__fault_text(&fault, text, sizeof text);
    snprintf(message, sizeof message, "the result cannot be copied: %s", text);
    fail_item(w, fault.status, message);
}

/* --- items --------------------------------------------------------------------------------------------------------------- */

static void take_task(worker *w, const mp__lane_item *item)
{
    const mp_task *task = w->lane->config->tasks->rows[item->task].task;
    if (task == w->task)
        return;
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
        return w->item->out;
    if (need > w->room_size) {
        free(w->room);
        w->room_size = (need + ROOM_ALIGN - 1) / ROOM_ALIGN * ROOM_ALIGN;
        w->room = mp__memory.aligned_alloc(ROOM_ALIGN, w->room_size);
        if (!w->room)
            w->room_size = 0;
    }
    return w->room;
}

static void run_item(worker *w, mp__lane_item *item)
{
    w->started++;
    w->item = item;
    take_task(w, item);
    mp__call_begin(&w->call, item->index, w->started);
    void *out = place_of_result(w);
    if (!out) {
        fail_item(w, MP_ENOMEM, "no memory for the task's result");
    } else {
        memset(out, 0, w->task->output->size);
        mp_status status = mp__call_status(&w->call, w->task->run(item->value, out, &w->call));
        if (status != MP_OK)
            fail_item(w, status, w->call.message);
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
static void before_item(worker *w, const mp__lane_item *item)
{
    if (item->begins && w->told != w->started)
        tell(w);
}

/* Clocks cost more than small items: looked at once in LOOK_NS worth of them. */
static void after_item(worker *w)
{
    w->looked_items++;
    if (w->looked_items >= w->until_look)
        account(w);
    if (w->item_ns >= SHORT_NS || w->looked_at - w->told_at >= WAIT_NS || w->started - w->told >= WAIT_ITEMS)
        tell(w);
}

/* False: it is to leave. */
static bool wait_for_items(worker *w)
{
    if (w->looked_items)
        account(w);
    if (w->told != w->started)
        tell(w);
    mp__call_begin(&w->call, 0, w->started);
    if (w->room_size > ROOM_KEEP) { /* one huge result does not mean that all are */
        free(w->room);
        w->room = NULL;
        w->room_size = 0;
    }
    bool more = mp__lane_wait(w->lane, w->started);
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
    mp__call_begin(&w->call, 0, 0);
    return mp__call_status(&w->call, hook->task->run(hook->value, &nothing, &w->call));
}

static void enter(worker *w, mp__lane_phase phase)
{
    atomic_store_explicit(&w->lane->phase, phase, memory_order_release);
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

static void serve(worker *w)
{
    mp__lane_item *item;
    w->call.cancelled = &w->lane->cancelled;
    w->looked_at = w->told_at = mp__now();
    do
        while ((item = mp__lane_take(w->lane, w->started))) {
            before_item(w, item);
            run_item(w, item);
            after_item(w);
        }
    while (wait_for_items(w));
}

static void live(worker *w)
{
    if (!prepare(w))
        return;
    serve(w);
    run_hook(w, &w->lane->config->finalizer); /* whatever it says: there is nobody to tell it to */
    mp__failure(&w->lane->end, MP_ECRASHED, "the worker has left");
}

/* The last that the thread does of ours: the lane is the driver's when it has seen `over`. */
static void leave(worker *w)
{
    mp__call_fini(&w->call);
    free(w->room);
    w->lane->end.worker = (int)w->lane->place;
    w->lane->end.pid = getpid();
    atomic_store_explicit(&w->lane->over, true, memory_order_release);
    mp__news_tell(w->lane);
}

/* A task has called pthread_exit. */
static void left_by_task(void *argument)
{
    worker *w = argument;
    static const char why[] = "the task ended its thread (pthread_exit)";
    bool ready = atomic_load_explicit(&w->lane->phase, memory_order_relaxed) == MP__LANE_READY;
    if (w->item) {
        fail_item(w, MP_ECRASHED, why);
        finish_item(w);
    }
    mp__failure(&w->lane->end, MP_ECRASHED, "%s%s", ready ? "" : "the initializer failed: ", why);
    leave(w);
}

void *mp__thread_run(void *argument)
{
    mp__lane *lane = argument;
    char shown[16]; /* as much of it as the system takes */
    snprintf(shown, sizeof shown, "%.15s", lane->name);
    pthread_setname_np(pthread_self(), shown);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pool_of_thread = lane->pool;
    worker w = {
        .lane = lane, .until_look = 1, .item_ns = UNKNOWN_NS, .call = {.worker = (int)lane->place, .name = lane->name}};
    pthread_cleanup_push(left_by_task, &w);
    live(&w);
    pthread_cleanup_pop(0);
    leave(&w);
    return NULL;
}
