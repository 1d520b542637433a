/* How a worker comes to run items: what it holds, the name it has, what it says first, and what it does while that is on its way.
 *
 * Its only thread. What cannot be had ends it before it has greeted; the parent hears of that by its death. */
#include "pool/clock.h"
#include "pool/process/decimal.h"
#include "pool/process/limits.h"
#include "pool/process/worker_state.h"
#include <millpond/version.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

typedef mp__process_worker worker;

/* A task that calls exit ends here: the first of the handlers, for it was registered last, and the last, for it does not
 * return. */
static void left_by_exit(int status, void *unused)
{
    (void)unused;
    mp__worker_leave(status);
}

/* PREFIX_PLACE. */
static void take_name(worker *w)
{
    const size_t digits = 10; /* of the greatest place */
    size_t used = strnlen(w->start->name_prefix, sizeof w->name - digits - 2);
    memcpy(w->name, w->start->name_prefix, used);
    w->name[used++] = '_';
    *mp__decimal_put(w->name + used, w->start->place) = 0;
    prctl(PR_SET_NAME, w->name); /* it takes 15 bytes */
    w->call = (mp_call){.dies_alone = true,
                        .chaos = w->chaos,
                        .worker = (int)w->start->place,
                        .name = w->name,
                        .cancelled = &w->shared->cancelled,
                        .heeds = &w->shared->heeds};
}

/* A worker that cannot be limited says so instead of greeting. */
static void accept_limits(worker *w)
{
    char why[MP_MESSAGE_MAX];
    mp_status status = mp__limits_apply(&w->shared->limits, why);
    if (status == MP_OK)
        return;
    mp__results_failure(&w->results, status, false, why);
    mp__results_flush(&w->results);
    mp__worker_leave(MP__EXIT_SETUP);
}

/* Where the parent will find that this is not its table, it is shown ours. */
static void greet(worker *w)
{
    const mp__task_table *tasks = w->start->tasks;
    uint64_t hash = w->start->executed ? mp__task_table_hash(tasks) : w->start->wanted_hash;
    mp__hello hello = {.protocol = MP__PROTOCOL, .pid = getpid(), .hash = hash, .tasks = tasks->count};
    memcpy(hello.version, mp_version(), strnlen(mp_version(), sizeof hello.version));
    mp__results_raw(&w->results, MP__HELLO, &hello, sizeof hello);
    for (size_t i = 0; hash != w->start->wanted_hash && i < tasks->count; i++) {
        mp__task_line line = {.hash = tasks->rows[i].hash};
        strcpy(line.name, tasks->rows[i].name);
        mp__results_raw(&w->results, MP__TASK, &line, sizeof line);
    }
}

/* What was read before we were executed is read again. */
static void take_chaos(worker *w)
{
    static mp__chaos ours;
    w->chaos = w->start->chaos;
    if (w->start->executed && mp__chaos_read(&ours, NULL) == MP_OK && ours.any)
        w->chaos = &ours;
    if (w->chaos && mp__chaos_hits_start(w->chaos, w->start->place, atomic_load(&w->shared->life)))
        _exit(MP__EXIT_CHAOS);
}

/* While the greeting is on its way: what cannot go wrong, and must have been done before the first item. */
static void settle(worker *w)
{
    sigset_t mask = w->start->mask;
    take_name(w);
    on_exit(left_by_exit, NULL);
    mp__footing_take_signals();
    mp__crash_watch(&w->shared->crash);
    sigdelset(&mask, SIGTERM); /* which is how it is asked to end, whatever the program does with it itself */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    mp__footing_note(&w->footing);
    mp__crash_warm_up();
    atomic_store_explicit(&w->shared->started_too, 0, memory_order_relaxed); /* so that the first item finds that page */
    w->looked_at = w->flushed_at = mp__now();
}

_Noreturn void mp__worker_run(const mp__worker_start *start)
{
    static _Alignas(64) uint8_t room[MP__FRAME_BUFFER]; /* nothing can go wrong with it, and it is not freed */
    mp__forks.role = MP__WORKER;
    _Alignas(64) uint8_t input[MP__LITTLE], output[MP__LITTLE]; /* the heap's pages would have to be copied for so little */
    worker w = {.start = start, .until_look = 1, .glance_ns = 500, .input = input, .output = output, .room = MP__LITTLE};
    w.shared = mp__footing_take(&w.footing, start);
    take_chaos(&w);
    w.results = (mp__results){.shared = w.shared,
                              .fd = w.footing.results_fd,
                              .bytes = {.data = w.shared->buffer, .capacity = sizeof w.shared->buffer, .fixed = true}};
    mp__frame_reader_init(&w.reader, MP__TO_WORKER, MP_ITEM_SIZE_MAX);
    w.reader.buffer = room;
    accept_limits(&w);
    greet(&w);
    mp__results_flush(&w.results);
    settle(&w);
    mp__worker_serve(&w);
}
