/* MP_SERIAL: which thread runs what, and in which order; also when tasks use their pool, and when several threads do. */
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include "tests/lib/spawn.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

TestSuite(where, .timeout = 60);
TestSuite(order, .timeout = 60);
TestSuite(nested, .timeout = 60);
TestSuite(several, .timeout = 60);
TestSuite(tools, .timeout = 120);

enum { N = 100, PROMPT = 20 };
static int items[N], results[N];

static mp_pool *open_serial(void)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_SERIAL, .error = &error), MP_OK), "%s", error.message);
    for (int i = 0; i < N; i++)
        items[i] = i;
    return pool;
}

/* ---- what ran where ---- */

static struct seen {
    int order[4 * N];
    pthread_t thread[4 * N];
    bool submitting[4 * N]; /* whoever submits had not returned */
    int count;
} seen;
static pthread_t submitter;
static bool submits;
static mp_pool *own;

/* Writes down what it is, on whose thread it runs, and whether the call that submitted it is still below it on that stack. */
static mp_status trace(const int *in, int *out, mp_call *call)
{
    (void)call;
    seen.order[seen.count] = *in;
    seen.thread[seen.count] = pthread_self();
    seen.submitting[seen.count++] = submits && pthread_equal(pthread_self(), submitter);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(trace, int, int);

/* 0 to n - 1, in this order, on this thread, below whoever submitted them. */
static void expect_seen(int n)
{
    cr_assert(eq(int, seen.count, n));
    for (int i = 0; i < n; i++) {
        cr_assert(eq(int, seen.order[i], i));
        cr_assert(seen.submitting[i]);
    }
    seen.count = 0;
}

static void submitting(bool now)
{
    submitter = pthread_self();
    submits = now;
}

CHECK(where, map__runs_on_its_callers_stack_in_order)
{
    mp_pool *pool = open_serial();
    submitting(true);
    cr_assert(eq(int, mp_pool_map(pool, trace, items, N, results), MP_OK));
    submitting(false);
    expect_seen(N);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, results[i], i + 1));
    mp_pool_free(&pool);
}

CHECK(where, async_call__has_run_when_it_returns)
{
    mp_pool *pool = open_serial();
    mp_async *calls[N];
    submitting(true);
    for (int i = 0; i < N; i++) {
        calls[i] = mp_pool_apply_async(pool, trace, &items[i]);
        cr_assert(eq(int, seen.count, i + 1));
        cr_assert(mp_async_ready(calls[i]));
    }
    submitting(false);
    expect_seen(N);
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_async_get(calls[i], &results[0], 0), MP_OK));
        cr_assert(eq(int, results[0], i + 1));
        mp_async_free(&calls[i]);
    }
    submitting(true);
    mp_async *map = mp_pool_map_async(pool, trace, items, N);
    submitting(false);
    expect_seen(N);
    mp_async_free(&map);
    mp_pool_free(&pool);
}

CHECK(where, future__is_done_when_submit_returns)
{
    mp_executor *executor;
    cr_assert(eq(int, mp_executor_open(&executor, .kind = MP_SERIAL, .max_workers = 7), MP_OK));
    cr_assert(eq(int, mp_executor_max_workers(executor), 1));
    for (int i = 0; i < N; i++) {
        submitting(true);
        mp_future *future = mp_submit(executor, trace, &i);
        submitting(false);
        cr_assert(mp_future_done(future));
        cr_assert(eq(int, mp_future_result(future, &results[0], 0), MP_OK));
        cr_assert(eq(int, results[0], i + 1));
        mp_future_free(&future);
    }
    expect_seen(N);
    mp_executor_free(&executor);
}

CHECK(where, stream__runs_what_there_is_room_for)
{
    mp_pool *pool = open_serial();
    submitting(true);
    mp_iter *iter = mp_pool_imap(pool, trace, items, N, .buffersize = 4);
    cr_assert(eq(int, seen.count, 4));
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &results[0], 0), MP_OK));
        cr_assert(eq(int, results[0], i + 1));
        cr_assert(seen.count <= i + 1 + 4);
    }
    cr_assert(eq(int, mp_iter_next(iter, &results[0], 0), MP_END));
    submitting(false);
    expect_seen(N);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static bool count_up(int *item, void *user)
{
    int *at = user;
    *item = (*at)++;
    return *at <= N;
}

CHECK(where, generators_items__run_in_order)
{
    mp_pool *pool = open_serial();
    int at = 0, i = 0;
    mp_iter *iter = mp_pool_imap_from(pool, trace, count_up, &at, .buffersize = 3);
    for (; mp_iter_next(iter, &results[0], PROMPT) == MP_OK; i++)
        cr_assert(eq(int, results[0], i + 1));
    cr_assert(eq(int, i, N));
    for (i = 0; i < N; i++)
        cr_assert(eq(int, seen.order[i], i));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

CHECK(where, generators_items__run_though_nobody_reads)
{
    mp_pool *pool = open_serial();
    int at = 0;
    mp_iter *iter = mp_pool_imap_from(pool, trace, count_up, &at);
    struct pollfd there = {.fd = mp_iter_fd(iter), .events = POLLIN};
    cr_assert(eq(int, poll(&there, 1, PROMPT * 1000), 1));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static sem_t told;
static pthread_t callback_thread;

static void tell(const int *result, void *user)
{
    *(int *)user = *result;
    callback_thread = pthread_self();
    sem_post(&told);
}

static void tell_done(mp_future *future, void *user)
{
    (void)mp_future_result(future, (int *)user, 0);
    sem_post(&told);
}

CHECK(where, callbacks__run_on_their_own_thread)
{
    mp_pool *pool = open_serial();
    int got = 0, one = 41;
    sem_init(&told, 0, 0);
    mp_async *call = mp_pool_apply_async(pool, trace, &one, .callback = tell, .user = &got);
    sem_wait(&told);
    cr_assert(eq(int, got, 42));
    cr_assert(not(pthread_equal(callback_thread, pthread_self())));
    mp_async_free(&call);
    mp_executor *executor;
    cr_assert(eq(int, mp_executor_over(&executor, pool), MP_OK));
    mp_future *first = mp_submit(executor, trace, &one), *second = mp_future_then(first, executor, trace);
    cr_assert(eq(int, mp_future_add_done_callback(second, tell_done, &got), MP_OK));
    sem_wait(&told);
    cr_assert(eq(int, got, 43));
    mp_future_free(&first);
    mp_future_free(&second);
    mp_executor_free(&executor);
    mp_pool_free(&pool);
}

/* ---- order ---- */

CHECK(order, workers__are_one_whatever_is_asked_for)
{
    mp_pool *pool;
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_SERIAL, .processes = 8), MP_OK));
    cr_assert(eq(int, mp_pool_resize(pool, 5), MP_OK));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(int, stats.processes, 1));
    cr_assert(eq(int, stats.workers, 1));
    cr_assert(eq(int, mp_pool_broadcast(pool, trace, items, results, 1), MP_OK));
    mp_pool_free(&pool);
}

static mp_status who(const mp_none *in, int *out, mp_call *call)
{
    (void)in;
    *out = mp_call_worker(call);
    return strcmp(mp_call_worker_name(call), "here_0") == 0 ? MP_OK : mp_fail(call, MP_EFAILED, "another name");
}
MP_TASK(who, mp_none, int);

CHECK(order, worker__is_number_0_and_has_its_name)
{
    mp_pool *pool;
    cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_SERIAL, .thread_name_prefix = "here"), MP_OK));
    results[0] = 1;
    cr_assert(eq(int, mp_pool_apply(pool, who, NULL, results), MP_OK));
    cr_assert(zero(int, results[0]));
    mp_pool_free(&pool);
}

/* ---- a task that uses its pool, or another ---- */

static mp_async *inner_call;

static mp_status submit_more(const int *in, int *out, mp_call *call)
{
    (void)call;
    inner_call = mp_pool_apply_async(own, trace, in);
    *out = seen.count; /* it has not run */
    return mp_async_wait(inner_call, PROMPT) == MP_EDEADLK ? MP_OK : MP_EFAILED;
}
MP_TASK(submit_more, int, int);

CHECK(nested, async_call_of_a_task__runs_behind_it)
{
    mp_pool *pool = own = open_serial();
    int in = 7, before = -1;
    submitting(true);
    cr_assert(eq(int, mp_pool_apply(pool, submit_more, &in, &before), MP_OK));
    cr_assert(zero(int, before));
    submitting(false);
    cr_assert(eq(int, seen.count, 1));
    cr_assert(seen.submitting[0]);
    cr_assert(eq(int, mp_async_get(inner_call, &results[0], 0), MP_OK));
    cr_assert(eq(int, results[0], 8));
    mp_async_free(&inner_call);
    mp_pool_free(&pool);
}

static mp_status map_inside(const int *in, int *out, mp_call *call)
{
    mp_error error;
    (void)in, (void)call;
    *out = mp_pool_map(own, trace, items, N, results, .error = &error);
    return MP_OK;
}
MP_TASK(map_inside, int, int);

static mp_pool *other;

static mp_status by_way_of_another(const int *in, int *out, mp_call *call)
{
    (void)call;
    return mp_pool_apply(other, map_inside, in, out);
}
MP_TASK(by_way_of_another, int, int);

CHECK(nested, waiting_for_its_own_pool__is_refused)
{
    mp_pool *pool = own = open_serial();
    other = open_serial();
    int in = 0, status = 0;
    cr_assert(eq(int, mp_pool_apply(pool, map_inside, &in, &status), MP_OK));
    cr_assert(eq(int, status, MP_EDEADLK));
    status = 0;
    cr_assert(eq(int, mp_pool_apply(pool, by_way_of_another, &in, &status), MP_OK));
    cr_assert(eq(int, status, MP_EDEADLK), "it is on the stack below the other one");
    mp_pool_free(&other);
    mp_pool_free(&pool);
}

CHECK(nested, another_serial_pool__runs_on_the_same_thread)
{
    mp_pool *pool = open_serial();
    own = open_serial();
    int in = 0, status = -1;
    submitting(true);
    cr_assert(eq(int, mp_pool_apply(pool, map_inside, &in, &status), MP_OK));
    submitting(false);
    cr_assert(zero(int, status));
    expect_seen(N);
    mp_pool_free(&own);
    mp_pool_free(&pool);
}

static void *submit_from_a_thread(void *handle)
{
    *(mp_async **)handle = mp_pool_apply_async(own, trace, &items[0]);
    return NULL;
}

static mp_status submit_by_a_thread(const int *in, int *out, mp_call *call)
{
    (void)call;
    pthread_t thread;
    *out = *in;
    return pthread_create(&thread, NULL, submit_from_a_thread, &inner_call) || pthread_join(thread, NULL) ? MP_EFAILED
                                                                                                          : MP_OK;
}
MP_TASK(submit_by_a_thread, int, int);

CHECK(nested, thread_that_a_task_waits_for__may_submit)
{
    mp_pool *pool = own = open_serial();
    cr_assert(eq(int, mp_pool_apply(pool, submit_by_a_thread, &items[0], &results[0]), MP_OK));
    cr_assert(mp_async_ready(inner_call));
    mp_async_free(&inner_call);
    mp_pool_free(&pool);
}

static mp_status free_own(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    mp_pool_free(&own);
    return MP_OK;
}
MP_TASK(free_own, int, int);

CHECK(nested, free_of_its_pool__ends_it_afterwards)
{
    own = open_serial();
    mp_async *call = mp_pool_apply_async(own, free_own, &items[3]);
    cr_assert_null(own);
    cr_assert(eq(int, mp_async_get(call, &results[0], PROMPT), MP_OK));
    cr_assert(eq(int, results[0], 3));
    mp_async_free(&call);
}

/* ---- several threads ---- */

static _Atomic int at_once, most_at_once, ran;

static mp_status alone(const int *in, int *out, mp_call *call)
{
    (void)call;
    int now = ++at_once;
    if (now > most_at_once)
        most_at_once = now;
    *out = *in + 1;
    ran++;
    at_once--;
    return MP_OK;
}
MP_TASK(alone, int, int);

enum { THREADS = 4, ROUNDS_OF_EACH = 200 };

static void *use_in_turn(void *pool)
{
    for (int i = 0; i < ROUNDS_OF_EACH; i++) {
        int out = 0;
        mp_async *call = mp_pool_apply_async(pool, alone, &i);
        if (mp_pool_apply(pool, alone, &i, &out) != MP_OK || out != i + 1 || mp_async_get(call, &out, PROMPT) != MP_OK ||
            out != i + 1)
            return "wrong";
        mp_async_free(&call);
    }
    return NULL;
}

CHECK(several, threads__take_turns_and_all_get_theirs)
{
    mp_pool *pool = open_serial();
    pthread_t threads[THREADS];
    void *wrong;
    ran = most_at_once = 0;
    for (int i = 0; i < THREADS; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, use_in_turn, pool)));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &wrong);
        cr_assert_null(wrong);
    }
    cr_assert(eq(int, most_at_once, 1));
    cr_assert(eq(int, ran, 2 * THREADS * ROUNDS_OF_EACH));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
}

static sem_t begun, gate;

static mp_status wait_at_gate(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in + 1;
    sem_post(&begun);
    sem_wait(&gate);
    return MP_OK;
}
MP_TASK(wait_at_gate, int, int);

static void *map_at_gate(void *pool)
{
    int in = 1, out;
    return mp_pool_apply(pool, wait_at_gate, &in, &out) == MP_OK && out == 2 ? NULL : "wrong";
}

CHECK(several, submitter_beside_a_running_item__does_not_wait)
{
    mp_pool *pool = open_serial();
    pthread_t thread;
    void *wrong;
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
    cr_assert(zero(int, pthread_create(&thread, NULL, map_at_gate, pool)));
    sem_wait(&begun);
    mp_async *call = mp_pool_apply_async(pool, alone, &items[1]); /* left to that one */
    cr_assert(not(mp_async_ready(call)));
    cr_assert(eq(int, mp_async_wait(call, 0.01), MP_ETIMEDOUT));
    sem_post(&gate);
    cr_assert(eq(int, mp_async_get(call, &results[0], PROMPT), MP_OK));
    pthread_join(thread, &wrong);
    cr_assert_null(wrong);
    mp_async_free(&call);
    mp_pool_free(&pool);
}

static mp_status fail_at_first(const int *in, int *out, mp_call *call)
{
    *out = *in;
    sem_post(&begun);
    return mp_call_attempt(call) > 1 ? MP_OK : MP_EFAILED;
}
MP_TASK(fail_at_first, int, int);

static void *wait_for_retry(void *pool)
{
    mp_async *call = mp_pool_apply_async(pool, fail_at_first, &items[1], .retries = 1, .retry_delay = 50);
    bool right = mp_async_wait(call, 0) == MP_OK && mp_async_error(call)->status == MP_ETERMINATED;
    mp_async_free(&call);
    return right ? NULL : "wrong";
}

CHECK(several, retry_that_one_waits_for__keeps_nobody_else)
{
    mp_pool *pool = open_serial();
    pthread_t thread;
    void *wrong;
    sem_init(&begun, 0, 0);
    cr_assert(zero(int, pthread_create(&thread, NULL, wait_for_retry, pool)));
    sem_wait(&begun);
    for (int i = 0; i < N; i++) {
        mp_async *call = mp_pool_apply_async(pool, alone, &items[i]);
        cr_assert(eq(int, mp_async_get(call, &results[i], PROMPT), MP_OK));
        cr_assert(eq(int, results[i], i + 1));
        mp_async_free(&call);
    }
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK)); /* and that one need not wait any more */
    pthread_join(thread, &wrong);
    cr_assert_null(wrong);
    mp_pool_free(&pool);
}

/* ---- tools ---- */

/* A program that uses all faces, without an error and without a leak. */
CHECK(tools, valgrind__finds_nothing)
{
    char said[1 << 14];
    if (CHECK_ASAN || CHECK_TSAN || access("/usr/bin/valgrind", X_OK) != 0)
        cr_skip_test("no valgrind, or a sanitizer's program");
    *said = 0;
    int status = spawn_run("HELPER_SERIAL", "valgrind", NULL, said, sizeof said);
    cr_assert(exited(status, 0), "%s", said);
    cr_assert(eq(int, count_of(said, "all is well"), 1), "%s", said);
}
