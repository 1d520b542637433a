/* Cancelling by force: what waits never starts, what runs is ended, what has finished keeps its result, and nothing else is touched.
 * On threads what runs is told, and that is all. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include "tests/lib/stuck.h"

TestSuite(handle, .timeout = 60);
TestSuite(running, .timeout = 60);
TestSuite(future, .timeout = 60);
TestSuite(misuse, .timeout = 60);

static int got;

/* What can be ended, of every kind. */
static manner stuck(void)
{
    return on_threads() ? HEEDS_FAILS : HANGS;
}

static mp_async *begin_map(mp_pool *pool, ptrdiff_t chunksize, int wait_for)
{
    mp_async *async = mp_pool_map_async(pool, behave, t.items, (size_t)t.n, .chunksize = chunksize);
    cr_assert(SOON(the_board()->begun == wait_for));
    return async;
}

/* What has begun and is not fine, and what has not begun, is cancelled. */
static void expect_cancelled(mp_async *async)
{
    mp_status first = MP_OK;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    mp_status status = mp_async_get(async, t.results, 0);
    for (int i = 0; i < t.n; i++) {
        mp_status wanted = the_board()->times[i] && t.items[i] < NUMBERS ? MP_OK : MP_ECANCELLED;
        cr_assert(eq(int, mp_async_statuses(async)[i], wanted), "item %d", i);
        cr_assert(eq(int, t.results[i], wanted ? 0 : i + 1), "item %d", i);
        cr_assert(le(int, the_board()->times[i], 1));
        first = first ? first : wanted;
    }
    cr_assert(eq(int, status, first));
    cr_assert(eq(int, mp_async_error(async)->status, first));
    mp_async_free(&async);
}

/* ---- what has not started ---- */

EACH_KIND(handle, queued_behind_another_call__never_starts)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int blocks = AS(HANGS, 200);
    mp_async *blocker = mp_pool_apply_async(pool, behave, &blocks);
    cr_assert(SOON(the_board()->begun == 1));
    trial_begin(50);
    mp_async *async = begin_map(pool, 7, 0);
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    cr_assert(not(mp_async_ready(blocker)));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(blocker, &got, PROMPT), MP_OK));
    mp_async_free(&blocker);
    free_working(&pool);
    cr_assert(zero(int, the_board()->begun));
    cr_assert(eq(sz, board_find_other(50, 0), 50));
}

EACH_KIND(handle, queued_sent_and_running__ends_and_only_what_ran_has_begun)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static const ptrdiff_t sizes[] = {1, 10, 100};
    for (int round = 0; round < 3; round++) {
        trial_begin(100);
        all_are(stuck());
        mp_async *async = begin_map(pool, sizes[round], 2);
        cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
        expect_cancelled(async);
        cr_assert(eq(int, the_board()->begun, 2));
    }
    expect_works(pool);
    cr_assert(eq(int, the_board()->begun, 2), "none starts later");
    cr_assert(zero(u64, stats_of(pool).lost));
    close_join_free(&pool);
}

EACH_KIND(handle, results_that_are_there__are_kept)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(20);
    one_is(7, stuck());
    mp_async *async = begin_map(pool, 20, 8);
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    cr_assert(eq(int, the_board()->begun, 8));
    free_working(&pool);
}

EACH_KIND(handle, others_items_on_its_worker__run_as_if_nothing_had_been)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(1);
    one_is(0, stuck());
    mp_async *before = mp_pool_apply_async(pool, behave, (&(int){AS(FINE, 10)}));
    cr_assert(eq(int, mp_async_get(before, &got, PROMPT), MP_OK));
    mp_async *async = begin_map(pool, 1, 2), *behind[20];
    for (int i = 0; i < 20; i++)
        behind[i] = mp_pool_apply_async(pool, behave, (&(int){AS(FINE, 20 + i)}));
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    for (int i = 0; i < 20; i++) {
        cr_assert(eq(int, mp_async_get(behind[i], &got, PROMPT), MP_OK), "%s", mp_async_error(behind[i])->message);
        cr_assert(eq(int, got, 21 + i));
        cr_assert(eq(int, the_board()->times[20 + i], 1));
        mp_async_free(&behind[i]);
    }
    mp_async_free(&before);
    free_working(&pool);
}

EACH_KIND(handle, that_was_cancelled_without_force__can_be_cancelled_by_force)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(10);
    all_are(on_threads() ? HEEDS_FAILS : LOOKS);
    mp_async *async = begin_map(pool, 10, 1);
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    if (!on_threads()) {
        cr_assert(SOON(the_board()->word[SAW] == 1));
        cr_assert(not(mp_async_ready(async)), "without force what runs goes on");
        cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
        cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
        expect_cancelled(async);
    } else {
        cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
        cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
        mp_async_free(&async);
    }
    cr_assert(eq(int, the_board()->begun, 1));
    free_working(&pool);
}

EVERY_KIND(handle, that_is_complete__stays_as_it_is)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, behave, (&(int){AS(FINE, 3)}));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    cr_assert(eq(int, mp_async_get(async, &got, 0), MP_OK));
    cr_assert(eq(int, got, 4));
    mp_async_free(&async);
    cr_assert(eq(u64, stats_of(pool).started, on_threads() ? stats_of(pool).started : 1));
    free_working(&pool);
}

EACH_KIND(handle, that_is_freed_then__its_item_ends_all_the_same)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(5);
    all_are(stuck());
    mp_async *async = begin_map(pool, 5, 1);
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    mp_async_free(&async);
    cr_assert(SOON(stats_of(pool).pending == 0));
    cr_assert(eq(int, the_board()->begun, 1));
    free_working(&pool);
}

static _Atomic int called_back, failed_back;
static void note_callback(const int *result, void *user)
{
    (void)result, (void)user;
    called_back++;
}
static void note_failure(const mp_error *error, void *user)
{
    (void)user;
    failed_back += error->status == MP_ECANCELLED;
}

EACH_KIND(handle, that_is_cancelled__calls_back_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = AS(stuck(), 0);
    mp_async *async = mp_pool_apply_async(pool, behave, &in, .callback = note_callback, .error_callback = note_failure);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    cr_assert(eq(int, mp_async_get(async, &got, PROMPT), MP_ECANCELLED));
    mp_async_free(&async);
    free_working(&pool);
    cr_assert(eq(int, failed_back, 1));
    cr_assert(zero(int, called_back));
}

/* ---- what runs ---- */

static void expect_ended(manner as)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = 0.1);
    trial_begin(6);
    one_is(3, as);
    mp_async *async = begin_map(pool, 6, 4);
    if (as == LOOKS || as == HEEDS_FAILS)
        nap_us(2000); /* so that it is likely to have looked */
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    cr_assert(eq(int, the_board()->begun, 4));
    cr_assert(zero(u64, stats_of(pool).lost), "ended on purpose");
    free_working(&pool);
}

EACH_PROCESS_KIND(running, task_that_hangs__is_ended)
{
    expect_ended(HANGS);
    expect_ended(SPINS);
}
EACH_PROCESS_KIND(running, task_that_looks_and_goes_on__is_ended)
{
    expect_ended(LOOKS);
}
EACH_KIND(running, task_that_heeds_and_fails__is_cancelled)
{
    expect_ended(HEEDS_FAILS);
}
EACH_PROCESS_KIND(running, task_that_ignores_SIGTERM__is_ended)
{
    expect_ended(IGNORES);
    expect_ended(BLOCKS);
    expect_ended(SLEEPS);
}
EACH_PROCESS_KIND(running, task_that_exits_on_SIGTERM__is_cancelled_not_crashed)
{
    expect_ended(CATCHES);
}

EACH_PROCESS_KIND(running, task_with_a_child__takes_it_along)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(1);
    one_is(0, FORKS);
    mp_async *async = begin_map(pool, 1, 1);
    cr_assert(SOON(the_board()->word[CHILD] > 0));
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    cr_assert(SOON(!proc_lives(the_board()->word[CHILD])));
    leftovers_reap(0);
    free_working(&pool);
}

/* It has looked before it is cancelled, so it is waited for. */
EACH_KIND(running, task_that_heeds_and_returns__has_its_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(4);
    one_is(0, HEEDS);
    mp_async *async = begin_map(pool, 4, 1);
    nap_us(20000);
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    mp_status status = mp_async_get(async, t.results, 0);
    if (the_board()->word[SAW]) {
        cr_assert(eq(int, mp_async_statuses(async)[0], MP_OK));
        cr_assert(eq(int, t.results[0], -1));
    }
    cr_assert(eq(int, status, MP_ECANCELLED));
    for (int i = 1; i < 4; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], MP_ECANCELLED));
    cr_assert(eq(int, the_board()->begun, 1));
    mp_async_free(&async);
    free_working(&pool);
}

EACH_PROCESS_KIND(running, task_that_would_be_retried__is_not)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .retries = 5);
    trial_begin(2);
    all_are(HANGS);
    mp_async *async = begin_map(pool, 2, 1);
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    expect_cancelled(async);
    cr_assert(zero(u64, stats_of(pool).retried));
    free_working(&pool);
    cr_assert(eq(int, the_board()->begun, 1));
}

/* ---- futures ---- */

EACH_KIND(future, that_is_pending__never_starts)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, behave, AS(HANGS, 0)), *next = SUBMIT(executor, behave, AS(FINE, 1));
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(mp_future_cancel(next, .force = true));
    cr_assert(mp_future_cancelled(next));
    cr_assert(mp_future_cancel(next, .force = true), "already");
    EXPECT_STATUS(next, MP_ECANCELLED);
    cr_assert(mp_future_running(first));
    the_board()->gate = 1;
    EXPECT_RESULT(first, 1);
    cr_assert(not(mp_future_cancel(first, .force = true)), "finished");
    EXPECT_RESULT(first, 1);
    mp_future_free(&first);
    mp_future_free(&next);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
}

EACH_PROCESS_KIND(future, that_runs__is_cancelled_at_once_and_its_worker_replaced)
{
    static const manner manners[] = {HANGS, SPINS, LOOKS, IGNORES, HEEDS, HEEDS_LATE};
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .grace = 0.1);
    for (int i = 0; i < 6; i++) {
        heard ear = {0};
        board_clear(MOST);
        mp_future *future = SUBMIT(executor, behave, AS(manners[i], i)), *behind = SUBMIT(executor, behave, AS(FINE, 20));
        mp_future_add_done_callback(future, hear, &ear);
        cr_assert(SOON(the_board()->begun == 1));
        cr_assert(not(mp_future_cancel(future)), "without force it runs on");
        cr_assert(mp_future_cancel(future, .force = true));
        cr_assert(mp_future_cancelled(future) && mp_future_done(future) && !mp_future_running(future));
        cr_assert(eq(int, mp_future_result(future, &got, 0), MP_ECANCELLED));
        EXPECT_RESULT(behind, 21);
        cr_assert(SOON(ear.times == 1));
        cr_assert(eq(int, mp_future_result(future, &got, 0), MP_ECANCELLED), "what comes late is nothing");
        cr_assert(eq(int, the_board()->begun, 2));
        mp_future_free(&future);
        mp_future_free(&behind);
        cr_assert(eq(int, ear.times, 1));
    }
    mp_executor_free(&executor);
}

ON_THREADS(future, that_runs__is_told_and_not_cancelled)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, behave, AS(HEEDS, 0));
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(not(mp_future_cancel(future, .force = true)));
    EXPECT_RESULT(future, -1);
    cr_assert(not(mp_future_cancelled(future)));
    cr_assert(eq(int, the_board()->word[SAW], 1));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

/* Shutting down waits for what was cancelled, and nothing is left of it. */
EACH_PROCESS_KIND(future, that_ignores_everything_and_is_cancelled__does_not_keep_the_executor)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .grace = 0.1);
    mp_future *futures[2] = {SUBMIT(executor, behave, AS(BLOCKS, 0)), SUBMIT(executor, behave, AS(IGNORES, 1))};
    cr_assert(SOON(the_board()->begun == 2));
    cr_assert(mp_future_cancel(futures[0], .force = true));
    cr_assert(mp_future_cancel(futures[1], .force = true));
    free_futures(futures, 2);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(future, of_an_executor_that_breaks_on_a_crash__does_not_break_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true);
    mp_future *future = SUBMIT(executor, behave, AS(HANGS, 0));
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(mp_future_cancel(future, .force = true));
    mp_future_free(&future);
    future = SUBMIT(executor, behave, AS(FINE, 1));
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(future, one_of_several_that_wait__all_learn_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, behave, AS(HANGS, 0)), *then = mp_future_then(future, executor, behave);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(mp_future_cancel(future, .force = true));
    EXPECT_STATUS(then, MP_ECANCELLED);
    mp_wait_result all = mp_wait((mp_future *[]){future, then}, 2, MP_ALL_COMPLETED, PROMPT);
    cr_assert(eq(sz, all.done, 2));
    mp_future_free(&future);
    mp_future_free(&then);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
}

/* ---- misuse ---- */

CHECK(misuse, nothing__is_no_handle_and_no_future)
{
    mp_async *async = NULL;
    mp_future *future = NULL;
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_EINVAL));
    cr_assert(not(mp_future_cancel(future, .force = true)));
}

CHECK(misuse, future_of_ones_own__is_cancelled_unless_it_runs)
{
    mp_future *pending = mp_future_new(int), *running = mp_future_new(int);
    cr_assert(mp_future_set_running_or_notify_cancel(running));
    cr_assert(mp_future_cancel(pending, .force = true));
    cr_assert(not(mp_future_cancel(running, .force = true)));
    cr_assert(mp_future_running(running));
    mp_future_free(&pending);
    mp_future_free(&running);
}
