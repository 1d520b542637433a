/* Calls that are posted in a row travel together: yet each is a call by itself. What becomes of one of them, cancelled, failed, ended
 * by force or run again, is its own affair; and none can tell that others came with it. */
#include "tests/lib/futures.h"
#include "tests/lib/stuck.h"
#include "tests/lib/tries.h"

TestSuite(batch, .timeout = 60);
TestSuite(batch_cancel, .timeout = 60);
TestSuite(batch_policy, .timeout = 60);

enum { N = 100, LATCH = 900 };

static mp_async *calls[N];

/* One worker, which knows that these calls are short, and holds a latch: what is posted behind it was sent to it, or waits. */
static mp_pool *open_held(mp_async **held)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < 300; i++) {
        int got, fine = AS(FINE, i % MOST);
        mp_async *one = mp_pool_apply_async(pool, behave, &fine);
        cr_assert(eq(int, mp_async_get(one, &got, PROMPT), MP_OK));
        mp_async_free(&one);
    }
    trial_begin(N);
    LET_GO(0);
    *held = mp_pool_apply_async(pool, latch, (&(int){LATCH}));
    cr_assert(SOON(the_board()->begun == 1));
    return pool;
}

static void let_go(mp_async **held)
{
    LET_ALL_GO();
    cr_assert(eq(int, mp_async_get(*held, NULL, PROMPT), MP_OK));
    mp_async_free(held);
}

/* Those of `t`. */
static void post_all(mp_pool *pool)
{
    for (int i = 0; i < N; i++)
        calls[i] = mp_pool_apply_async(pool, behave, &t.items[i]);
    (void)mp_async_ready(calls[0]); /* none is left to be looked at by others */
}

static void expect_call(int i, mp_status wanted)
{
    int got = -77;
    cr_assert(eq(int, mp_async_get(calls[i], &got, PROMPT), wanted), "call %d: %s", i, mp_async_error(calls[i])->message);
    cr_assert(eq(int, got, wanted ? 0 : i + 1), "call %d", i);
    if (wanted)
        cr_assert(eq(sz, mp_async_error(calls[i])->item, (size_t)0), "each is the first of its own");
}

static void expect_times(int i, int times)
{
    cr_assert(eq(int, the_board()->times[i], times), "call %d", i);
}

static void free_all(mp_pool **pool)
{
    for (int i = 0; i < N; i++)
        mp_async_free(&calls[i]);
    free_working(pool);
}

/* ---- each is a call ---- */

static mp_status tell_item(const int *in, int *out, mp_call *call)
{
    *out = mp_call_item(call) == 0 && mp_call_attempt(call) == 1 ? *in : -1;
    return MP_OK;
}
MP_TASK(tell_item, int, int);

EACH_KIND(batch, each_is_item_0_of_its_call)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *all[3 * N];
    for (int i = 0; i < 3 * N; i++)
        all[i] = mp_pool_apply_async(pool, tell_item, &i);
    for (int i = 0, got; i < 3 * N; i++) {
        cr_assert(eq(int, mp_async_get(all[i], &got, PROMPT), MP_OK));
        cr_assert(eq(int, got, i));
        mp_async_free(&all[i]);
    }
    free_working(&pool);
}

/* Inputs and results that point to memory, with ends of their own. */
EACH_KIND(batch, texts__each_gets_its_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_future *all[3 * N];
    char text[64], wanted[80];
    for (int i = 0; i < 3 * N; i++) {
        snprintf(text, sizeof text, "%d", i);
        mp_str in = {text, strlen(text)};
        all[i] = mp_submit(executor, append, &in);
        if (i % 7 == 6)
            (void)mp_future_cancel(all[i]);
    }
    for (int i = 0; i < 3 * N; i++) {
        mp_str got;
        snprintf(wanted, sizeof wanted, "%dand so on", i);
        mp_status status = mp_future_result(all[i], &got, PROMPT);
        cr_assert(status == MP_OK || (i % 7 == 6 && status == MP_ECANCELLED));
        cr_assert(status || is_str(&got, wanted), "future %d", i);
    }
    free_futures(all, 3 * N);
    mp_executor_free(&executor);
    free_working(&pool);
}

typedef struct large {
    int number;
    char rest[500];
} large;
MP_TYPE(large, number, rest);

static mp_status pass_large(const large *in, large *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(pass_large, large, large);

EACH_KIND(batch, large_values__come_back_as_they_were)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static large in, got;
    for (int i = 0; i < N; i++) {
        in.number = i;
        memset(in.rest, i, sizeof in.rest);
        calls[i] = mp_pool_apply_async(pool, pass_large, &in);
    }
    for (int i = 0; i < N; i++) {
        in.number = i;
        memset(in.rest, i, sizeof in.rest);
        cr_assert(eq(int, mp_async_get(calls[i], &got, PROMPT), MP_OK));
        cr_assert(zero(int, memcmp(&got, &in, sizeof in)), "call %d", i);
    }
    free_all(&pool);
}

EACH_PROCESS_KIND(batch, one_that_crashes_in_the_middle__costs_one_handle)
{
    static const int which[] = {0, N / 2, N - 1};
    for (int round = 0; round < 3; round++) {
        mp_async *held;
        mp_pool *pool = open_held(&held);
        one_is(which[round], CRASHES);
        post_all(pool);
        let_go(&held);
        for (int i = 0; i < N; i++) {
            expect_call(i, i == which[round] ? MP_ECRASHED : MP_OK);
            expect_times(i, 1);
        }
        cr_assert(eq(u64, stats_of(pool).lost, 1));
        cr_assert(eq(u64, stats_of(pool).failed, 1));
        free_all(&pool);
    }
}

EACH_KIND(batch, some_that_fail__say_so_and_harm_no_other)
{
    mp_async *held;
    mp_pool *pool = open_held(&held);
    for (int i = 0; i < N; i += 9)
        one_is(i, FAILS);
    post_all(pool);
    let_go(&held);
    for (int i = 0; i < N; i++) {
        expect_call(i, i % 9 == 0 ? MP_EUSER + 1 : MP_OK);
        expect_times(i, 1);
    }
    free_all(&pool);
}

/* ---- one is cancelled ---- */

static void cancel_these(const int *which, int n, bool force)
{
    mp_async *held;
    mp_pool *pool = open_held(&held);
    bool cancelled[N] = {false};
    post_all(pool);
    for (int k = 0; k < n; k++) {
        cr_assert(eq(int, mp_async_cancel(calls[which[k]], .force = force), MP_OK));
        cancelled[which[k]] = true;
    }
    for (int k = 0; k < n; k++)
        expect_call(which[k], MP_ECANCELLED);
    cr_assert(eq(u64, stats_of(pool).pending, (uint64_t)(N + 1 - n)));
    cr_assert(eq(int, the_board()->begun, 1));
    let_go(&held);
    for (int i = 0; i < N; i++) {
        expect_call(i, cancelled[i] ? MP_ECANCELLED : MP_OK);
        expect_times(i, !cancelled[i]);
    }
    free_all(&pool);
}

EACH_KIND(batch_cancel, the_first__the_others_run)
{
    cancel_these((int[]){0}, 1, false);
}

EACH_KIND(batch_cancel, one_in_the_middle__the_others_run)
{
    cancel_these((int[]){N / 2}, 1, false);
    cancel_these((int[]){N / 2}, 1, true);
}

EACH_KIND(batch_cancel, the_last__the_others_run)
{
    cancel_these((int[]){N - 1}, 1, false);
}

EACH_KIND(batch_cancel, several__the_others_run)
{
    cancel_these((int[]){0, N / 2, N / 2 + 1, N - 1, 3}, 5, false);
    cancel_these((int[]){N - 1, 17, 0}, 3, true);
}

EACH_KIND(batch_cancel, all_but_one__it_runs)
{
    int which[N - 1];
    for (int i = 0; i < N - 1; i++)
        which[i] = i < 50 ? i : i + 1;
    cancel_these(which, N - 1, false);
}

/* Where nobody knows how long they take they are not sent behind another. */
EACH_KIND(batch_cancel, of_which_nothing_is_known__the_others_run_in_order)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(N);
    mp_async *held = mp_pool_apply_async(pool, latch, (&(int){LATCH}));
    for (int i = 0; i < N; i++)
        calls[i] = mp_pool_apply_async(pool, try, (&(int){UNTIL_ATTEMPT(1, FINE, i)}));
    for (int i = 0; i < N; i += 10)
        cr_assert(eq(int, mp_async_cancel(calls[i]), MP_OK));
    let_go(&held);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_async_get(calls[i], NULL, PROMPT), i % 10 ? MP_OK : MP_ECANCELLED));
    cr_assert(eq(int, the_board()->word[LOG], N - N / 10));
    for (int i = 0, at = 0; i < N; i++)
        if (i % 10)
            cr_assert(eq(int, logged(at++, NUMBER), i));
    free_all(&pool);
}

/* With more workers what comes back goes to whoever is free. */
EACH_KIND(batch_cancel, while_they_run_on_two_workers__each_ends_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int round = 0; round < ROUNDS(30); round++) {
        trial_begin(N);
        post_all(pool);
        for (int i = round % 5; i < N; i += 5)
            cr_assert(eq(int, mp_async_cancel(calls[i]), MP_OK));
        for (int i = 0; i < N; i++) {
            mp_status status = mp_async_get(calls[i], NULL, PROMPT);
            cr_assert(status == MP_OK || (status == MP_ECANCELLED && i % 5 == round % 5), "call %d: %d", i, status);
            expect_times(i, status == MP_OK);
            mp_async_free(&calls[i]);
        }
    }
    free_working(&pool);
}

/* ---- one that runs ---- */

enum { AT = 40 };

/* All of them are with the worker, which is at the AT-th. */
static mp_pool *open_stuck_at(manner as)
{
    mp_async *held;
    mp_pool *pool = open_held(&held);
    one_is(AT, as);
    post_all(pool);
    let_go(&held);
    cr_assert(SOON(the_board()->times[AT] == 1));
    for (int i = 0; i < AT; i++)
        expect_call(i, MP_OK); /* what is finished does not wait for it */
    return pool;
}

EACH_KIND(batch_cancel, what_runs__is_told_and_goes_on)
{
    mp_pool *pool = open_stuck_at(HEEDS);
    cr_assert(eq(int, mp_async_cancel(calls[AT - 1]), MP_OK), "it is complete already");
    cr_assert(eq(int, mp_async_cancel(calls[AT + 1]), MP_OK));
    cr_assert(eq(int, mp_async_cancel(calls[AT]), MP_OK));
    expect_call(AT + 1, MP_ECANCELLED);
    cr_assert(eq(int, mp_async_get(calls[AT], t.results, PROMPT), MP_OK));
    cr_assert(eq(int, t.results[0], -AT - 1));
    for (int i = AT + 2; i < N; i++)
        expect_call(i, MP_OK);
    expect_call(AT - 1, MP_OK);
    expect_times(AT + 1, 0);
    cr_assert(eq(int, the_board()->word[SAW], 1));
    free_all(&pool);
}

EACH_KIND(batch_cancel, what_runs__by_force__ends_and_the_others_run)
{
    mp_pool *pool = open_stuck_at(on_threads() ? HEEDS_FAILS : HANGS);
    cr_assert(eq(int, mp_async_cancel(calls[N - 1], .force = true), MP_OK));
    cr_assert(eq(int, mp_async_cancel(calls[AT], .force = true), MP_OK));
    expect_call(AT, MP_ECANCELLED);
    expect_call(N - 1, MP_ECANCELLED);
    for (int i = AT + 1; i < N - 1; i++) {
        expect_call(i, MP_OK);
        expect_times(i, 1);
    }
    expect_times(AT, 1);
    expect_times(N - 1, 0);
    free_all(&pool);
}

/* It is known of the task that it is short: so what comes next goes to workers many at a time. */
static void make_known(mp_executor *executor)
{
    for (int i = 0; i < 300; i++) {
        mp_future *one = SUBMIT(executor, behave, i);
        EXPECT_RESULT(one, i + 1);
        mp_future_free(&one);
    }
}

EACH_KIND(batch_cancel, futures__only_one_runs_and_all_behind_it_can_be_cancelled)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_future *all[N];
    make_known(executor);
    trial_begin(N);
    one_is(AT, HANGS);
    LET_GO(0);
    mp_async *held = mp_pool_apply_async(pool, latch, (&(int){LATCH}));
    for (int i = 0; i < N; i++)
        all[i] = mp_submit(executor, behave, &t.items[i]);
    let_go(&held);
    cr_assert(SOON(the_board()->times[AT] == 1));
    cr_assert(SOON(mp_future_done(all[AT - 1])), "what is finished does not wait for it");
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_future_running(all[i]), i == AT), "future %d", i);
        cr_assert(eq(int, mp_future_done(all[i]), i < AT), "future %d", i);
    }
    for (int i = AT - 1; i < N; i += 3)
        cr_assert(eq(int, mp_future_cancel(all[i]), i > AT), "future %d", i);
    cr_assert(not(mp_future_cancel(all[AT])));
    cr_assert(mp_future_running(all[AT]));
    the_board()->gate = 1;
    for (int i = 0; i < N; i++) {
        bool cancelled = i > AT && (i - AT + 1) % 3 == 0;
        EXPECT_STATUS(all[i], cancelled ? MP_ECANCELLED : MP_OK);
        expect_times(i, !cancelled);
        cr_assert(eq(int, mp_future_cancelled(all[i]), cancelled));
    }
    free_futures(all, N);
    mp_executor_free(&executor);
    free_working(&pool);
}

EACH_KIND(batch_cancel, an_executor_that_is_shut_down__what_runs_ends_well_and_the_rest_is_cancelled)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *all[N];
    make_known(executor);
    trial_begin(N);
    one_is(0, HANGS);
    for (int i = 0; i < N; i++)
        all[i] = mp_submit(executor, behave, &t.items[i]);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_shutdown(executor, .wait = false, .cancel_futures = true), MP_OK));
    for (int i = 1; i < N; i++)
        cr_assert(mp_future_cancelled(all[i]), "future %d", i);
    the_board()->gate = 1;
    EXPECT_RESULT(all[0], 1);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
    free_futures(all, N);
}

/* ---- policies ---- */

EACH_KIND(batch_policy, retries__each_has_its_own_attempts)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(N);
    for (int i = 0; i < N; i++) {
        int in = UNTIL_ATTEMPT(i % 11 == 10 ? NEVER : i % 7 == 6 ? 3 : 1, FAILS, i), wave = i / 50;
        calls[i] = mp_pool_apply_async(pool, try, &in, .retries = 2, .retry_delay = wave * 0.01);
    }
    for (int i = 0, got; i < N; i++) {
        bool never = i % 11 == 10;
        int attempts = never || i % 7 == 6 ? 3 : 1;
        cr_assert(eq(int, mp_async_get(calls[i], &got, PROMPT), never ? MP_EUSER + 1 : MP_OK), "call %d", i);
        cr_assert(eq(int, got, never ? 0 : 10 * i + attempts));
        expect_times(i, attempts);
    }
    free_all(&pool);
}

/* They have failed once, and wait for their second attempt when some are cancelled. */
EACH_KIND(batch_policy, cancelled_before_it_is_run_again__ends_and_the_others_are)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(N);
    for (int i = 0; i < N; i++) {
        int in = UNTIL_ATTEMPT(i % 2 ? 2 : 1, FAILS, i);
        calls[i] = mp_pool_apply_async(pool, try, &in, .retries = 1, .retry_delay = 1.0);
    }
    for (int i = 0; i < N; i += 2)
        cr_assert(eq(int, mp_async_get(calls[i], NULL, PROMPT), MP_OK));
    cr_assert(SOON(the_board()->begun == N));
    cr_assert(SOON(stats_of(pool).pending == N / 2));
    for (int i = 1; i < N; i += 4)
        cr_assert(eq(int, mp_async_cancel(calls[i]), MP_OK));
    for (int i = 1; i < N; i += 2) {
        bool cancelled = i % 4 == 1;
        cr_assert(eq(int, mp_async_get(calls[i], NULL, PROMPT), cancelled ? MP_ECANCELLED : MP_OK), "call %d", i);
        expect_times(i, cancelled ? 1 : 2);
    }
    free_all(&pool);
}

EACH_PROCESS_KIND(batch_policy, one_that_takes_too_long__is_the_only_one_to_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = TIME_UP);
    trial_begin(N);
    one_is(AT, HANGS);
    post_all(pool);
    for (int i = 0; i < N; i++) {
        expect_call(i, i == AT ? MP_EOVERTIME : MP_OK);
        expect_times(i, 1);
    }
    free_all(&pool);
}

/* Those on other terms go by themselves. */
EACH_KIND(batch_policy, terms_that_differ__each_has_its_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(N);
    for (int i = 0; i < N; i++) {
        int in = UNTIL_ATTEMPT(2, FAILS, i);
        calls[i] = i % 3 ? mp_pool_apply_async(pool, try, &in, .retries = 1) : mp_pool_apply_async(pool, try, &in);
    }
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_async_get(calls[i], NULL, PROMPT), i % 3 ? MP_OK : MP_EUSER + 1), "call %d", i);
        expect_times(i, i % 3 ? 2 : 1);
    }
    free_all(&pool);
}
