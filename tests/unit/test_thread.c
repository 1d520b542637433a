/* Workers that are threads: what each hook does, event by event. The engine is not there: the test drives. */
#include "pool/system.h"
#include "pool/thread/lane.h"
#include "pool/thread/thread.h"
#include "serial/memory.h"
#include "tests/lib/rounds.h"
#include "tests/unit/thread_rig.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

TestSuite(thread, .timeout = 60);

/* --- tasks ----------------------------------------------------------------------------------------------------------------- */

static atomic_int prepared, finished;

static mp_status count_up(const int64_t *in, MP_SPAN(double) * out, mp_call *call)
{
    double *numbers = mp_call_alloc(call, (size_t)*in * sizeof *numbers);
    for (int64_t i = 0; i < *in; i++)
        numbers[i] = (double)i;
    *out = (MP_SPAN(double)){numbers, (size_t)*in};
    return MP_OK;
}
MP_TASK(count_up, int64_t, MP_SPAN(double));

static mp_status bad_span(const int64_t *in, MP_SPAN(double) * out, mp_call *call)
{
    (void)call;
    *out = (MP_SPAN(double)){NULL, (size_t)*in};
    return MP_OK;
}
MP_TASK(bad_span, int64_t, MP_SPAN(double));

static mp_status prepare(const int64_t *in, mp_none *out, mp_call *call)
{
    (void)out;
    prepared++;
    if (*in == 1)
        return mp_fail(call, MP_ERANGE, "no model for %d", mp_call_worker(call));
    if (*in == 2)
        pthread_exit(NULL);
    mp_call_set_state(call, &prepared);
    return mp_call_cancelled(call) ? MP_ECANCELLED : MP_OK;
}
MP_TASK(prepare, int64_t, mp_none);

static mp_status finish(const int64_t *in, mp_none *out, mp_call *call)
{
    (void)out;
    finished += mp_call_state(call) ? 1 : 1000;
    if (*in == 2)
        pthread_exit(NULL);
    return MP_OK;
}
MP_TASK(finish, int64_t, mp_none);

static mp_status until_cancelled(const int64_t *in, int64_t *out, mp_call *call)
{
    *out = *in;
    if (mp_call_cancelled(call))
        return MP_ERANGE;
    sem_post(&entered);
    return UNTIL(30, mp_call_cancelled(call)) ? MP_OK : MP_ETIMEDOUT;
}
MP_TASK(until_cancelled, int64_t, int64_t);

typedef struct self {
    char name[64], shown[16];
    int worker;
    size_t item;
    bool has_state, all_blocked, may_be_cancelled;
    const mp__workers *pool;
} self;
static self seen;

static mp_status look_at_self(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    sigset_t mask;
    int state;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    seen = (self){.worker = mp_call_worker(call),
                  .item = mp_call_item(call),
                  .has_state = mp_call_state(call) == &prepared,
                  .all_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT) && sigismember(&mask, SIGCHLD),
                  .may_be_cancelled = state == PTHREAD_CANCEL_ENABLE,
                  .pool = mp__thread_pool()};
    strcpy(seen.name, mp_call_worker_name(call));
    pthread_getname_np(pthread_self(), seen.shown, sizeof seen.shown);
    return MP_OK;
}
MP_TASK(look_at_self, mp_none, mp_none);

#define HOOKS(value)                                                                                                       \
    (mp__backend_config)                                                                                                   \
    {                                                                                                                      \
        .initializer = {TASK(prepare), 0, value}, .finalizer = { TASK(finish), 0, value }                                  \
    }

/* --- lives ----------------------------------------------------------------------------------------------------------------- */

/* Memory that was somebody else's, and looks as if every item had failed. */
static void *give_used(size_t alignment, size_t size)
{
    mp__lane_place *places = aligned_alloc(alignment, size);
    for (size_t i = 0; places && i < size / sizeof *places; i++)
        places[i].failed = i + 1;
    return places;
}

static atomic_int looked_at;
static mp_status look_and_refuse_odd(const int64_t *in, int64_t *out, mp_call *call)
{
    mp_status status = refuse_odd(in, out, call);
    looked_at++;
    return status;
}
MP_TASK(look_and_refuse_odd, int64_t, int64_t);

CHECK(thread, items_behind_each_other_of_which_one_fails__are_told_apart)
{
    enum { ROW = 8 };
    static const int64_t in[ROW] = {0, 2, 4, 6, 8, 9, 10, 12};
    int64_t out[ROW];
    rig r;
    mp__memory.aligned_alloc = give_used;
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    kind->send(r.workers, 0,
               &(mp__items){.count = ROW,
                            .attempt = 1,
                            .job = TASK(look_and_refuse_odd),
                            .task = task_index(&r, TASK(look_and_refuse_odd)),
                            .value = in,
                            .value_step = sizeof *in,
                            .out = out,
                            .out_step = sizeof *out});
    kind->flush(r.workers, 0);
    cr_assert(UNTIL(PROMPT_MS * 1e-3, looked_at == ROW));
    for (size_t i = 0; i < ROW;) {
        mp__event event = await_kind(&r, MP__EV_RESULT, 0);
        cr_assert_eq(!event.count, i == 5, "item %zu", i);
        i += event.count ? event.count : 1;
    }
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, start__then_stop__is_ready_and_lost)
{
    rig r;
    rig_open(&r, 2, (mp__backend_config){0});
    for (uint32_t generation = 1; generation < 4; generation++) {
        kind->start(r.workers, 1, generation, 0);
        cr_assert_eq(await_kind(&r, MP__EV_READY, 1).generation, generation);
        kind->stop(r.workers, 1);
        mp__event lost = await_kind(&r, MP__EV_LOST, 1);
        cr_assert_eq(lost.generation, generation);
        cr_assert_eq(lost.started, 0);
        cr_assert_eq(lost.error->worker, 0);
    }
    rig_close(&r);
}

CHECK(thread, stop__before_it_is_ready__is_ready_first)
{
    rig r;
    rig_open(&r, 1, (mp__backend_config){0});
    kind->start(r.workers, 0, 1, 0);
    kind->stop(r.workers, 0);
    await_kind(&r, MP__EV_READY, 0);
    await_kind(&r, MP__EV_LOST, 0);
    rig_close(&r);
}

CHECK(thread, hooks__of_a_life__run_once_each_around_it)
{
    rig r;
    int64_t fine = 0;
    mp_none none;
    prepared = finished = 0;
    rig_open(&r, 1, HOOKS(&fine));
    kind->start(r.workers, 0, 1, 0);
    await_kind(&r, MP__EV_GREETED, 0);
    await_kind(&r, MP__EV_READY, 0);
    run_one(&r, 0, TASK(look_at_self), &none, &none);
    await_kind(&r, MP__EV_RESULT, 0);
    cr_assert(seen.has_state);
    cr_assert_eq(prepared, 1);
    cr_assert_eq(finished, 0);
    stop_one(&r, 0);
    cr_assert_eq(finished, 1);
    rig_close(&r);
}

CHECK(thread, initializer__that_fails__is_why_the_life_does_not_begin)
{
    rig r;
    int64_t fails = 1;
    prepared = finished = 0;
    rig_open(&r, 1, HOOKS(&fails));
    kind->start(r.workers, 0, 7, 3);
    await_kind(&r, MP__EV_GREETED, 0);
    mp__event event = await_kind(&r, MP__EV_START_FAILED, 0);
    cr_assert_eq(event.generation, 7);
    cr_assert_eq(event.error->status, MP_ERANGE);
    cr_assert_str_eq(event.error->message, "the initializer failed: no model for 3");
    cr_assert_eq(event.error->worker, 3);
    cr_assert_eq(finished, 0);
    rig_close(&r);
}

CHECK(thread, hooks__that_end_their_thread__end_the_life)
{
    rig r;
    int64_t exits = 2;
    rig_open(&r, 1, (mp__backend_config){.initializer = {TASK(prepare), 0, &exits}});
    kind->start(r.workers, 0, 1, 0);
    await_kind(&r, MP__EV_GREETED, 0);
    mp__event event = await_kind(&r, MP__EV_START_FAILED, 0);
    cr_assert_eq(event.error->status, MP_ECRASHED);
    cr_assert(says(event.error, "the initializer failed: the task ended its thread (pthread_exit)"));
    rig_close(&r);
    rig_open(&r, 1, (mp__backend_config){.finalizer = {TASK(finish), 0, &exits}});
    start_one(&r, 0);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, worker__asked_who_it_is__is_of_its_pool_alone)
{
    rig r;
    mp_none none;
    rig_open(&r, 2, (mp__backend_config){.name_prefix = "a-rather-long-prefix-of-some-40-bytes-or"});
    kind->start(r.workers, 1, 1, 100000);
    await_kind(&r, MP__EV_READY, 1);
    send_one(&r, 1, TASK(look_at_self), 41, &none, &none);
    kind->flush(r.workers, 1);
    cr_assert_eq(await_kind(&r, MP__EV_RESULT, 1).count, 1);
    cr_assert_str_eq(seen.name, "a-rather-long-prefix-of-some-40-bytes-or_100000");
    cr_assert_str_eq(seen.shown, "a-rather-long-p");
    cr_assert_eq(seen.worker, 100000);
    cr_assert_eq(seen.item, 41);
    cr_assert(seen.all_blocked && !seen.may_be_cancelled && !seen.has_state);
    cr_assert_eq(seen.pool, r.workers);
    cr_assert_null(mp__thread_pool());
    stop_one(&r, 1);
    rig_close(&r);
}

CHECK(thread, worker__without_a_prefix__is_called_mp_thread)
{
    rig r;
    mp_none none;
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(look_at_self), &none, &none);
    await_kind(&r, MP__EV_RESULT, 0);
    cr_assert_str_eq(seen.shown, "mp-thread_0");
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, grow__of_a_pool_at_work__leaves_what_runs)
{
    rig r;
    int64_t in = 5, out[3] = {0};
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(hold), &in, &out[0]);
    sem_wait(&entered);
    cr_assert_eq(kind->grow(r.workers, 300), MP_OK);
    start_one(&r, 299);
    run_one(&r, 299, TASK(triple), &in, &out[1]);
    await_kind(&r, MP__EV_RESULT, 299);
    sem_post(&gate);
    await_kind(&r, MP__EV_RESULT, 0);
    cr_assert(out[0] == 5 && out[1] == 15);
    stop_one(&r, 0);
    stop_one(&r, 299);
    rig_close(&r);
}

/* --- items ----------------------------------------------------------------------------------------------------------------- */

CHECK(thread, items__more_than_there_is_room_for__all_run_in_order)
{
    enum { N = 40000 };
    static int64_t in[N], out[N];
    rig r;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(hold), &in[0], &out[0]); /* nothing moves until it is full */
    sem_wait(&entered);
    size_t sent = 1, had = 0;
    for (size_t i = 0; i < N; i++) {
        in[i] = (int64_t)i;
        out[i] = -1;
    }
    bool was_full = false;
    while (had < N) {
        while (sent < N && kind->room(r.workers, 0)) {
            send_one(&r, 0, TASK(triple), sent, &in[sent], &out[sent]);
            sent++;
        }
        kind->flush(r.workers, 0);
        if (!was_full) {
            cr_assert(sent >= 16384 && sent < N);
            cr_assert_not(kind->room(r.workers, 0));
            sem_post(&gate);
            was_full = true;
        }
        do { /* more is sent only when it says so, or is through */
            mp__event event = await(&r);
            had += event.count;
            if (event.kind == MP__EV_WRITABLE)
                break;
            cr_assert_eq(event.kind, MP__EV_RESULT);
        } while (had < N);
    }
    for (size_t i = 1; i < N; i++)
        cr_assert_eq(out[i], 3 * (int64_t)i);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, item__that_fails__is_told_between_its_neighbours)
{
    rig r;
    int64_t in[] = {2, 4, 5, 6, 7, 9}, out[6];
    rig_open(&r, 1, (mp__backend_config){0});
    kind->start(r.workers, 0, 1, 12);
    await_kind(&r, MP__EV_READY, 0);
    spoil(out, sizeof out);
    for (size_t i = 0; i < 6; i++)
        send_one(&r, 0, TASK(refuse_odd), i, &in[i], &out[i]);
    kind->flush(r.workers, 0);
    for (size_t i = 0; i < 6;) {
        mp__event event = await_kind(&r, MP__EV_RESULT, 0);
        if (!event.count) {
            char text[64];
            snprintf(text, sizeof text, "%d is odd, item %zu", (int)in[i], i);
            cr_assert_eq(event.error->status, MP_EUSER + 1);
            cr_assert_str_eq(event.error->message, text);
            cr_assert_eq(event.error->worker, 12);
            cr_assert_eq(event.error->pid, getpid());
            cr_assert(event.error->exit_code == -1 && event.error->signal == 0);
            cr_assert(in[i] % 2);
            cr_assert_eq(out[i++], 0);
        }
        for (size_t k = 0; k < event.count; k++, i++)
            cr_assert_eq(out[i], in[i]);
    }
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, results__that_point_to_memory__own_it)
{
    rig r;
    char text[] = "borrowed";
    mp_str in = {text, sizeof text - 1}, out;
    int64_t n = 1000;
    mp_span_double numbers[2];
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    send_one(&r, 0, TASK(echo), 0, &in, &out);
    send_one(&r, 0, TASK(count_up), 0, &n, &numbers[0]);
    send_one(&r, 0, TASK(count_up), 1, &n, &numbers[1]); /* the memory of the call before is used again */
    kind->flush(r.workers, 0);
    mp__event event;
    for (size_t had = 0; had < 3; had += event.count)
        event = await_kind(&r, MP__EV_RESULT, 0);
    stop_one(&r, 0);
    spoil(text, sizeof text);
    cr_assert_eq(memcmp(out.data, "borrowed", 9), 0);
    cr_assert(numbers[0].count == 1000 && numbers[1].count == 1000);
    for (size_t i = 0; i < 1000; i++)
        cr_assert(numbers[0].items[i] == (double)i && numbers[1].items[i] == (double)i);
    mp_free(mp_str, &out, 1);
    mp_free(mp_span_double, numbers, 2);
    rig_close(&r);
}

CHECK(thread, result__that_cannot_be_copied__fails_its_item)
{
    rig r;
    int64_t n = 3;
    mp_span_double out;
    spoil(&out, sizeof out);
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(bad_span), &n, &out);
    mp__event event = await_kind(&r, MP__EV_RESULT, 0);
    cr_assert_eq(event.count, 0);
    cr_assert_eq(event.error->status, MP_EINVAL);
    cr_assert(says(event.error, "the result cannot be copied: "), "%s", event.error->message);
    cr_assert(is_zero(&out, sizeof out));
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, item__that_ends_its_thread__fails_and_its_life_is_over)
{
    rig r;
    int64_t in = 5, out[4] = {9, 9, 9, 9};
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    send_one(&r, 0, TASK(triple), 0, &in, &out[0]);
    send_one(&r, 0, TASK(leave_thread), 0, &in, &out[1]);
    send_one(&r, 0, TASK(triple), 1, &in, &out[2]);
    kind->flush(r.workers, 0);
    cr_assert_eq(await_kind(&r, MP__EV_RESULT, 0).count, 1);
    mp__event event = await_kind(&r, MP__EV_RESULT, 0);
    cr_assert_eq(event.error->status, MP_ECRASHED);
    cr_assert_str_eq(event.error->message, "the task ended its thread (pthread_exit)");
    event = await_kind(&r, MP__EV_LOST, 0);
    cr_assert_eq(event.started, 2);
    cr_assert_eq(event.error->status, MP_ECRASHED);
    cr_assert(out[0] == 15 && out[1] == 0 && out[2] == 9);
    kind->start(r.workers, 0, 2, 0);
    await_kind(&r, MP__EV_READY, 0);
    run_one(&r, 0, TASK(triple), &in, &out[3]);
    cr_assert_eq(await_kind(&r, MP__EV_RESULT, 0).generation, 2);
    cr_assert_eq(out[3], 15);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, stop__of_one_that_has_items__comes_after_them)
{
    enum { N = 5000 };
    static int64_t in[N], out[N];
    rig r;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    for (size_t i = 0; i < N; i++) {
        in[i] = (int64_t)i;
        send_one(&r, 0, TASK(triple), i, &in[i], &out[i]);
    }
    kind->stop(r.workers, 0); /* what was sent and not flushed is meant too */
    take_results(&r, N);
    cr_assert_eq(await_kind(&r, MP__EV_LOST, 0).started, N);
    cr_assert_eq(out[N - 1], 3 * (N - 1));
    rig_close(&r);
}

CHECK(thread, results_that_nobody_waits_for_alone__half_are_told_before_the_other_half_is_done)
{
    rig r;
    int64_t in = 5, out[2] = {0};
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    kind->send(r.workers, 0,
               &(mp__items){.count = 2,
                            .attempt = 1,
                            .job = TASK(hold),
                            .task = task_index(&r, TASK(hold)),
                            .patient = true,
                            .value = &in,
                            .out = out,
                            .out_step = sizeof *out});
    kind->flush(r.workers, 0);
    sem_post(&gate); /* for one of them */
    take_results(&r, 1);
    cr_assert(out[0] == 5 && out[1] == 0);
    sem_post(&gate);
    take_results(&r, 1);
    stop_one(&r, 0);
    rig_close(&r);
}

/* --- taking back ----------------------------------------------------------------------------------------------------------- */

CHECK(thread, recall__while_an_item_runs__takes_back_the_rest)
{
    rig r;
    mp__event event;
    int64_t in = 5, out[4] = {0};
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    send_one(&r, 0, TASK(hold), 0, &in, &out[0]);
    send_one(&r, 0, TASK(triple), 0, &in, &out[1]);
    send_one(&r, 0, TASK(triple), 1, &in, &out[2]);
    kind->flush(r.workers, 0);
    sem_wait(&entered);
    /* who took the news that it is there may have been faster than the bell of that, which then rings once for nothing */
    cr_assert(UNTIL(20, !kind->next(r.workers, &event) && !is_readable(&r)));
    kind->recall(r.workers, 0);
    cr_assert(is_readable(&r));
    cr_assert_eq(await_kind(&r, MP__EV_RECALLED, 0).started, 1);
    run_one(&r, 0, TASK(triple), &in, &out[3]);
    sem_post(&gate);
    take_results(&r, 2);
    cr_assert(out[0] == 5 && out[1] == 0 && out[2] == 0 && out[3] == 15);
    kind->recall(r.workers, 0); /* when there is nothing to take back */
    cr_assert_eq(await_kind(&r, MP__EV_RECALLED, 0).started, 2);
    run_one(&r, 0, TASK(triple), &in, &out[1]);
    take_results(&r, 1);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, recall__of_one_that_is_full__says_that_there_is_room)
{
    static int64_t in[1 << 15], out[1 << 15];
    rig r;
    size_t sent = 1;
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    run_one(&r, 0, TASK(hold), &in[0], &out[0]);
    sem_wait(&entered);
    for (; kind->room(r.workers, 0); sent++)
        send_one(&r, 0, TASK(triple), sent, &in[sent], &out[sent]);
    kind->recall(r.workers, 0);
    cr_assert_eq(await_kind(&r, MP__EV_RECALLED, 0).started, 1);
    await_kind(&r, MP__EV_WRITABLE, 0);
    cr_assert(kind->room(r.workers, 0));
    sem_post(&gate);
    take_results(&r, 1);
    stop_one(&r, 0);
    rig_close(&r);
}

CHECK(thread, cancel__of_what_runs__is_seen_by_it_and_by_no_later_one)
{
    rig r;
    int64_t in = 5, out[2];
    make_gate();
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    for (size_t i = 0; i < 2; i++) {
        send_one(&r, 0, TASK(until_cancelled), i, &in, &out[i]);
        kind->flush(r.workers, 0);
        sem_wait(&entered);
        kind->cancel(r.workers, 0);
        mp__event event = await_kind(&r, MP__EV_RESULT, 0);
        cr_assert_eq(event.count, 1, "%s", event.count ? "" : event.error->message);
    }
    stop_one(&r, 0);
    rig_close(&r);
}

/* An attempt stands where the status is to be: a later one that succeeds, fails, or ends its thread has that all the same. */
static mp_status say_attempt(const int64_t *in, int64_t *out, mp_call *call)
{
    *out = mp_call_attempt(call);
    return *in ? mp_fail(call, MP_ERANGE, "attempt %u", mp_call_attempt(call)) : MP_OK;
}
MP_TASK(say_attempt, int64_t, int64_t);

CHECK(thread, attempt__is_the_items_and_leaves_its_status_alone)
{
    rig r;
    int64_t in[6] = {0, 0, 1, 0, 1, 0}, out[6];
    const uint32_t attempts[6] = {1, 2, 1, 3, 4, 1};
    rig_open(&r, 1, (mp__backend_config){0});
    start_one(&r, 0);
    for (size_t i = 0; i < 6; i++)
        kind->send(r.workers, 0,
                   &(mp__items){.count = 1,
                                .job = &r,
                                .task = task_index(&r, TASK(say_attempt)),
                                .index = i,
                                .attempt = attempts[i],
                                .value = &in[i],
                                .out = &out[i]});
    kind->flush(r.workers, 0);
    for (size_t had = 0; had < 6;) {
        mp__event event = await_kind(&r, MP__EV_RESULT, 0);
        cr_assert_eq(event.count == 0, in[had] == 1, "item %zu", had);
        if (!event.count)
            cr_assert(event.error->status == MP_ERANGE && out[had] == 0);
        for (size_t i = 0; i < event.count; i++)
            cr_assert_eq(out[had + i], attempts[had + i]);
        had += event.count ? event.count : 1;
    }
    stop_one(&r, 0);
    rig_close(&r);
}
