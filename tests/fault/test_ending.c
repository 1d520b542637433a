/* A worker that is ended for the item that it runs: for that item, at that moment, and for no other. */
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/until.h"
#include <signal.h>

TestSuite(ending, .timeout = 60);

enum { MANY = 40 };
static const int values[MANY];

static void send_many(rig *r, const mp_task *task)
{
    for (size_t i = 0; i < MANY; i++)
        rig_send(r, task, i, 1, &values[i]);
    kind->flush(r->workers, 0);
}

static void leave(rig *r)
{
    kind->stop(r->workers, 0);
    rig_await_kind(r, MP__EV_LOST);
}

/* Waits without looking. */
static mp_status wait_deaf(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        nap_us(200);
    *out = *in;
    return MP_OK;
}
MP_TASK(wait_deaf, int, int);

/* Works without looking. */
static mp_status work_deaf(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        *out = *in;
    return MP_OK;
}
MP_TASK(work_deaf, int, int);

static mp_status ignore_term(const int *in, int *out, mp_call *call)
{
    signal(SIGTERM, SIG_IGN);
    return wait_deaf(in, out, call);
}
MP_TASK(ignore_term, int, int);

/* Writes over the first word of the memory shared with the parent, in which items are counted. */
static mp_status count_wild(const int *in, int *out, mp_call *call)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned long begin = 0, end;
    while (fgets(line, sizeof line, maps) &&
           !(strstr(line, "memfd:millpond") && sscanf(line, "%lx-%lx", &begin, &end) == 2))
        begin = 0;
    fclose(maps);
    *(volatile uint64_t *)begin = 1000000;
    return wait_deaf(in, out, call);
}
MP_TASK(count_wild, int, int);

static void open_with_one(rig *r, mp_start_method method)
{
    board_open();
    rig_open(r, method, (mp__backend_config){0});
    rig_start(r);
}

static void close_with_none(rig *r)
{
    rig_close(r);
    board_close();
}

CHECK_METHODS(ending, end__of_the_item_that_runs__is_its_workers_death)
{
    rig r;
    open_with_one(&r, method);
    send_many(&r, &mp__task_wait_deaf);
    cr_assert(SOON(board_here->begun == 1));
    cr_assert(kind->end(r.workers, 0, 1));
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.started, 1);
    cr_assert_eq(event.error->signal, SIGTERM, "%s", event.error->message);
    cr_assert_eq(board_here->begun, 1);
    close_with_none(&r);
}

CHECK_METHODS(ending, end__of_an_item_before_or_after__changes_nothing)
{
    rig r;
    open_with_one(&r, method);
    cr_assert_not(kind->end(r.workers, 0, 1), "it has none");
    rig_run(&r, &mp__task_add_one, &values[0]);
    rig_await_kind(&r, MP__EV_RESULT);
    cr_assert_not(kind->end(r.workers, 0, 1), "it is finished");
    send_many(&r, &mp__task_wait_deaf);
    cr_assert(SOON(board_here->begun == 1));
    cr_assert_not(kind->end(r.workers, 0, 1));
    cr_assert_not(kind->end(r.workers, 0, 3));
    board_here->gate = 1;
    for (int i = 0; i < MANY; i++)
        rig_await_kind(&r, MP__EV_RESULT);
    leave(&r);
    cr_assert_not(kind->end(r.workers, 0, MANY + 1), "it is gone");
    close_with_none(&r);
}

/* The task ignores SIGTERM, and returns: its result counts, and nothing is started behind it. */
CHECK_METHODS(ending, ended_item_that_returns_all_the_same__has_its_result_and_is_the_last)
{
    rig r;
    open_with_one(&r, method);
    send_many(&r, &mp__task_ignore_term);
    cr_assert(SOON(board_here->begun == 1));
    cr_assert(kind->end(r.workers, 0, 1));
    cr_assert_not(kind->room(r.workers, 0));
    board_here->gate = 1;
    rig_await_kind(&r, MP__EV_RESULT);
    kind->kill(r.workers, 0, true);
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.started, 1);
    cr_assert_eq(board_here->begun, 1);
    close_with_none(&r);
}

CHECK_METHODS(ending, task_that_hides_behind_a_wild_count__is_ended)
{
    rig r;
    open_with_one(&r, method);
    send_many(&r, &mp__task_count_wild);
    cr_assert(SOON(board_here->begun == 1));
    cr_assert(kind->end(r.workers, 0, 1));
    mp__event event = rig_await_kind(&r, MP__EV_LOST);
    cr_assert_eq(event.started, 1, "%d", (int)event.started);
    close_with_none(&r);
}

/* Lets the item go that waits at the gate; the next one has begun then, as the so many-th. */
static void run_next(rig *r, const mp_task *task, int begun)
{
    board_here->gate = 1;
    rig_await_kind(r, MP__EV_RESULT);
    board_here->gate = 0;
    rig_run(r, task, &values[0]);
    cr_assert(SOON(board_here->begun == begun));
}

CHECK_METHODS(ending, task_that_has_looked_whether_it_is_cancelled__heeds)
{
    rig r;
    open_with_one(&r, method);
    cr_assert_eq(kind->heeds(r.workers, 0), MP__HEED_NO);
    rig_run(&r, &mp__task_hold_or_see, &values[0]);
    cr_assert(SOON(kind->heeds(r.workers, 0) == MP__HEED_YES));
    run_next(&r, &mp__task_wait_deaf, 2);
    cr_assert_neq(kind->heeds(r.workers, 0), MP__HEED_YES, "another item did");
    cr_assert(SOON(kind->heeds(r.workers, 0) == MP__HEED_NO), "it sleeps");
    run_next(&r, &mp__task_work_deaf, 3);
    cr_assert_eq(kind->heeds(r.workers, 0), MP__HEED_UNKNOWN, "the first time nobody knows");
    cr_assert(SOON(kind->heeds(r.workers, 0) == MP__HEED_NO), "it has had a CPU");
    board_here->gate = 1;
    rig_await_kind(&r, MP__EV_RESULT);
    leave(&r);
    cr_assert_eq(kind->heeds(r.workers, 0), MP__HEED_NO);
    close_with_none(&r);
}

/* --- at that very moment --------------------------------------------------------------------------------------------------- */

/* About as long as the parent needs to see that it has begun, and to end it. */
static mp_status count_slowly(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    for (volatile unsigned turn = 0; turn < mp_call_item(call) * 37 % 500; turn++)
        *out = *in;
    return MP_OK;
}
MP_TASK(count_slowly, int, int);

/* Takes what comes until all have a result, or the worker is lost: how many results. */
static uint64_t take_all(rig *r, bool *lost, uint64_t *started)
{
    uint64_t results = 0;
    for (*lost = false; !*lost && results < MANY;) {
        mp__event event = rig_await(r);
        cr_assert(event.kind == MP__EV_RESULT || event.kind == MP__EV_LOST, "event %d", event.kind);
        results += event.kind == MP__EV_RESULT;
        *lost = event.kind == MP__EV_LOST;
        *started = event.started;
    }
    return results;
}

/* Oracle: ended for item k, it has started k and no more, and k has its result or its death. Not ended, it does them all. */
CHECK_METHODS(ending, end__while_the_item_is_ending__is_its_death_or_its_result_and_no_others)
{
    rig r;
    int ended = 0, rounds = ROUNDS(method == MP_SPAWN ? 50 : 400);
    open_with_one(&r, method);
    for (int round = 0; round < rounds; round++) {
        uint64_t wanted = 1 + (unsigned)round % (MANY / 2), started = 0;
        bool lost, done;
        board_clear(MANY);
        send_many(&r, &mp__task_count_slowly);
        while (kind->started(r.workers, 0) < wanted)
            continue;
        done = kind->end(r.workers, 0, wanted);
        uint64_t results = take_all(&r, &lost, &started);
        cr_assert_eq(lost, done, "round %d", round);
        ended += done;
        if (done) {
            cr_assert_eq(started, wanted);
            cr_assert(results == wanted || results + 1 == wanted, "%d of %d", (int)results, (int)wanted);
        } else {
            leave(&r);
        }
        for (size_t i = 0; i < MANY; i++)
            cr_assert_leq(board_here->times[i], !done || i < wanted, "item %zu of %d", i, (int)wanted);
        rig_start(&r);
    }
    cr_log_info("%d of %d were ended", ended, rounds);
    leave(&r);
    close_with_none(&r);
}
