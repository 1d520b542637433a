/* Executors over a pool that is there already, several over one, both faces of a pool at once, and executors of all kinds side by
 * side. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"

TestSuite(over, .timeout = 60);
TestSuite(faces, .timeout = 60);

enum { N = 100 };

EACH_KIND(over, pool__uses_its_workers)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_future *futures[N];
    cr_assert(eq(ptr, mp_executor_pool(executor), pool));
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(eq(ulong, stats_of(pool).started, 2));
    mp_executor_free(&executor);
    cr_assert(zero(ptr, executor));
    mp_pool_free(&pool);
    free_futures(futures, N);
}

EACH_KIND(over, pool__shutdown_leaves_it_and_the_others_alone)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_executor *one = OVER_POOL(pool, .max_queue = 0), *two = OVER_POOL(pool, .max_queue = 0);
    mp_future *held = SUBMIT(two, latch, 0), *future = SUBMIT(one, mark, 5);
    int results[2], items[2] = {1, 2};
    cr_assert(eq(int, mp_executor_shutdown(one, true, false), MP_OK), "it waits for its own only");
    cr_assert(mp_future_done(future));
    cr_assert(not(mp_future_done(held)));
    EXPECT_REFUSED(SUBMIT(one, mark, 1), MP_ECLOSED);
    mp_future *later = SUBMIT(two, mark, 6);
    EXPECT_RESULT(later, 7);
    cr_assert(eq(int, mp_pool_map(pool, mark, items, 2, results), MP_OK));
    mp_executor_free(&one);
    LET_ALL_GO();
    EXPECT_RESULT(held, 1);
    mp_executor_free(&two);
    cr_assert(eq(int, mp_pool_map(pool, mark, items, 2, results), MP_OK));
    close_join_free(&pool);
    mp_future *all[3] = {held, future, later};
    free_futures(all, 3);
}

EACH_KIND(over, pool__shutdown_cancels_its_own_only)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *one = OVER_POOL(pool, .max_queue = 0), *two = OVER_POOL(pool, .max_queue = 0);
    mp_future *mine[10], *others[10];
    for (int i = 0; i < 10; i++) {
        others[i] = SUBMIT(two, latch, 50 + i);
        mine[i] = SUBMIT(one, latch, i);
    }
    cr_assert(SOON(the_board()->begun == 1));
    mp_async *async = mp_pool_apply_async(pool, mark, (&(int){80}));
    cr_assert(eq(int, mp_executor_shutdown(one, true, true), MP_OK));
    for (int i = 0; i < 10; i++)
        cr_assert(mp_future_cancelled(mine[i]));
    LET_ALL_GO();
    for (int i = 0; i < 10; i++)
        EXPECT_RESULT(others[i], 51 + i);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(mp_async_successful(async));
    mp_async_free(&async);
    mp_executor_free(&one);
    mp_executor_free(&two);
    mp_pool_free(&pool);
    free_futures(mine, 10);
    free_futures(others, 10);
}

EVERY_KIND(over, pool__its_workers_are_not_its_to_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    cr_assert(eq(int, mp_executor_terminate_workers(executor), MP_EINVAL));
    cr_assert(eq(int, mp_executor_kill_workers(executor), MP_EINVAL));
    mp_future *future = SUBMIT(executor, mark, 1);
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&executor);
    mp_pool_free(&pool);
}

EACH_KIND(over, pool_that_is_closed__what_is_there_ends_and_more_is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_future *first = SUBMIT(executor, latch, 0), *second = SUBMIT(executor, latch, 1);
    mp_pool_close(pool);
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_ECLOSED);
    LET_ALL_GO();
    EXPECT_RESULT(first, 1);
    EXPECT_RESULT(second, 2);
    mp_executor_free(&executor);
    close_join_free(&pool);
    mp_future_free(&first);
    mp_future_free(&second);
}

EACH_KIND(over, max_workers__is_what_the_pool_has)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    cr_assert(eq(int, mp_executor_max_workers(executor), 1));
    cr_assert(eq(int, mp_pool_resize(pool, 3), MP_OK));
    cr_assert(eq(int, mp_executor_max_workers(executor), 3));
    mp_executor_free(&executor);
    close_join_free(&pool);
}

EACH_KIND(over, pool_that_is_terminated__ends_all)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    heard ears[3] = {0};
    mp_future *futures[3], *one = NULL;
    for (int i = 0; i < 3; i++) {
        futures[i] = i ? SUBMIT(executor, latch, i) : SUBMIT(executor, hold_or_see, i);
        cr_assert(eq(int, mp_future_add_done_callback(futures[i], hear, &ears[i]), MP_OK));
    }
    cr_assert(SOON(the_board()->begun == 1));
    mp_as_completed *each = mp_as_completed_new(futures, 3, PROMPT);
    mp_pool_terminate(pool);
    cr_assert(eq(sz, mp_wait(futures, 3, MP_ALL_COMPLETED, PROMPT).done, 3));
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    for (int i = 1; i < 3; i++)
        EXPECT_STATUS(futures[i], MP_ETERMINATED);
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    mp_pool_free(&pool);
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, ears[i].times, 1));
    free_futures(futures, 3);
}

EACH_PROCESS_KIND(over, pool__a_crash_costs_its_task_only)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *one = OVER_POOL(pool, .max_queue = 0), *two = OVER_POOL(pool, .max_queue = 0);
    mp_future *dies = SUBMIT(one, die, 4), *mine = SUBMIT(one, mark, 1), *other = SUBMIT(two, mark, 2);
    EXPECT_STATUS(dies, MP_ECRASHED);
    EXPECT_RESULT(mine, 2);
    EXPECT_RESULT(other, 3);
    mp_executor_free(&one);
    mp_executor_free(&two);
    mp_pool_free(&pool);
    mp_future *all[3] = {dies, mine, other};
    free_futures(all, 3);
}

EVERY_KIND(over, pool__futures_outlive_both)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_str text;
    mp_future *future = SUBMIT(executor, tell_text, 500);
    mp_executor_free(&executor);
    mp_pool_free(&pool);
    cr_assert(mp_future_done(future));
    cr_assert(eq(int, mp_future_result(future, &text, 0), MP_OK));
    cr_assert(is_text(&text, 500));
    mp_future_free(&future);
}

/* ---- both faces ---- */

EVERY_KIND(faces, both_at_once__each_gets_its_own)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_pool *pool = mp_executor_pool(executor);
    mp_future *futures[N];
    int items[N], results[N], ones[N], got;
    fill(items, N);
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    mp_async *async = mp_pool_map_async(pool, add_one, items, N);
    mp_iter *iter = mp_pool_imap(pool, add_one, items, N);
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    cr_assert(eq(int, mp_async_get(async, (void *)ones, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(ones, N), N));
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_OK));
        cr_assert(eq(int, got, i + 1));
        EXPECT_RESULT(futures[i], i + 1);
    }
    mp_iter_free(&iter);
    mp_async_free(&async);
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EACH_KIND(faces, map_that_fails_or_is_cancelled__does_not_touch_futures)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *held = SUBMIT(executor, latch, 0), *future = SUBMIT(executor, latch, 1);
    int items[2] = {-1, 3};
    mp_async *fails = mp_pool_map_async(mp_executor_pool(executor), mark, items, 2);
    mp_async *cancelled = mp_pool_map_async(mp_executor_pool(executor), latch, items, 2);
    cr_assert(eq(int, mp_async_cancel(cancelled), MP_OK));
    LET_ALL_GO();
    EXPECT_RESULT(held, 1);
    EXPECT_RESULT(future, 2);
    cr_assert(eq(int, mp_async_get(fails, NULL, PROMPT), MP_EUSER + 1));
    cr_assert(eq(int, mp_async_get(cancelled, NULL, PROMPT), MP_ECANCELLED));
    mp_async_free(&fails);
    mp_async_free(&cancelled);
    mp_executor_free(&executor);
    mp_future_free(&held);
    mp_future_free(&future);
}

CHECK(faces, executors_of_every_kind__work_side_by_side)
{
    static const mp_executor_options all[4] = {{.kind = MP_THREADS, .max_workers = 2},
                                               {.start_method = MP_FORK, .max_workers = 2},
                                               {.start_method = MP_SPAWN, .max_workers = 1},
                                               {.start_method = MP_FORKSERVER, .max_workers = 2}};
    mp_executor *executors[4];
    mp_future *futures[4 * N], *one = NULL;
    int seen = 0;
    board_open();
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, mp_executor_open_with(&executors[i], &all[i]), MP_OK));
    for (int i = 0; i < 4 * N; i++)
        futures[i] = SUBMIT(executors[i % 4], mark, i);
    mp_as_completed *each = mp_as_completed_new(futures, 4 * N, PROMPT);
    while (mp_as_completed_next(each, &one) == MP_OK)
        seen++;
    cr_assert(eq(int, seen, 4 * N));
    mp_as_completed_free(&each);
    for (int i = 0; i < 4 * N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(eq(sz, board_find_other(4 * N, 1), 4 * N));
    free_futures(futures, 4 * N);
    for (int i = 0; i < 4; i++)
        mp_executor_free(&executors[i]);
    board_close();
}
