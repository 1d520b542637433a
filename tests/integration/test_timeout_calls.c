/* Time-outs in every other call: handles, streams, futures, the map of an executor. What waits with a time-out of its own says
 * MP_EOVERTIME for an item whose time was up, so that MP_ETIMEDOUT always means "not yet"; a status of an item is MP_ETIMEDOUT
 * everywhere. On threads the items heed and fail. */
#include "tests/lib/futures.h"
#include "tests/lib/stuck.h"

TestSuite(handle, .timeout = 60);
TestSuite(stream, .timeout = 60);
TestSuite(future, .timeout = 60);
TestSuite(executor, .timeout = 60);

static int got;

/* What is timed out, of every kind. */
static manner stuck(void)
{
    return on_threads() ? HEEDS_FAILS : HANGS;
}

/* ---- handles ---- */

EVERY_KIND(handle, of_one_hung_item__says_overtime)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = AS(stuck(), 0);
    mp_async *async = mp_pool_apply_async(pool, behave, &in, .timeout = TIME_UP);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_async_get(async, &got, PROMPT), MP_EOVERTIME));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_error(async)->status, MP_EOVERTIME));
    cr_assert(eq(int, mp_async_statuses(async)[0], MP_ETIMEDOUT));
    cr_assert(not(mp_async_successful(async)));
    mp_async_free(&async);
    free_working(&pool);
}

EACH_KIND(handle, that_is_asked_too_early__says_not_yet)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = AS(stuck(), 0);
    mp_async *async = mp_pool_apply_async(pool, behave, &in, .timeout = TIME_UP);
    cr_assert(eq(int, mp_async_get(async, &got, 0.01), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_async_error(async)->status, MP_ERUNNING));
    cr_assert(eq(int, mp_async_get(async, &got, PROMPT), MP_EOVERTIME));
    mp_async_free(&async);
    free_working(&pool);
}

static _Atomic int callbacks, failures;
static void count_callback(const int *results, size_t n, void *user)
{
    (void)results, (void)n, (void)user;
    callbacks++;
}
static void count_failure(const mp_error *error, void *user)
{
    (void)user;
    failures += error->item == 3;
}

EVERY_KIND(handle, of_a_map__has_the_others_results_and_calls_back_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(12);
    one_is(3, stuck());
    one_is(11, stuck());
    mp_async *async = mp_pool_map_async(pool, behave, t.items, 12, .timeout = TIME_UP, .chunksize = 6,
                                        .callback = count_callback, .error_callback = count_failure);
    cr_assert(eq(int, mp_async_get(async, t.results, PROMPT), MP_EOVERTIME));
    for (int i = 0; i < 12; i++) {
        cr_assert(eq(int, t.results[i], t.items[i] < NUMBERS ? i + 1 : 0));
        cr_assert(eq(int, mp_async_statuses(async)[i], t.items[i] < NUMBERS ? MP_OK : MP_ETIMEDOUT));
    }
    cr_assert(eq(sz, mp_async_error(async)->item, 3));
    cr_assert(eq(int, failures, 1));
    cr_assert(zero(int, callbacks));
    expect_each_began(1);
    mp_async_free(&async);
    free_working(&pool);
}

/* Nobody waits, and yet it is ended. */
EVERY_KIND(handle, that_was_freed__its_item_is_ended_all_the_same)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = AS(stuck(), 0);
    mp_async *async = mp_pool_apply_async(pool, behave, &in, .timeout = TIME_UP);
    mp_async_free(&async);
    cr_assert(SOON(stats_of(pool).failed == 1));
    free_working(&pool);
}

EVERY_KIND(handle, of_a_pool_with_a_limit__has_that)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = TIME_UP);
    int in = AS(stuck(), 0);
    mp_async *async = mp_pool_apply_async(pool, behave, &in);
    cr_assert(eq(int, mp_async_get(async, &got, PROMPT), MP_EOVERTIME));
    mp_async_free(&async);
    free_working(&pool);
}

/* ---- streams ---- */

enum { N = 30 };

static void expect_ordered(mp_iter *iter)
{
    mp_error error;
    for (int i = 0; i < N; i++) {
        bool fine = t.items[i] < NUMBERS;
        size_t index;
        mp_status status = mp_iter_next(iter, &got, PROMPT, .index = &index, .error = &error);
        cr_assert(eq(int, status, fine ? MP_OK : MP_EOVERTIME), "item %d: %s", i, error.message);
        cr_assert(eq(int, error.status, status));
        cr_assert(eq(int, mp_iter_error(iter)->status, status));
        cr_assert(eq(sz, index, (size_t)i));
        cr_assert(eq(int, got, fine ? i + 1 : 0));
    }
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    mp_iter_free(&iter);
}

static void expect_unordered(mp_iter *iter)
{
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        size_t index = SIZE_MAX;
        mp_status status = mp_iter_next(iter, &got, PROMPT, .index = &index);
        cr_assert(lt(sz, index, N));
        cr_assert(not(seen[index]));
        seen[index] = true;
        cr_assert(eq(int, status, t.items[index] < NUMBERS ? MP_OK : MP_EOVERTIME), "%s", mp_iter_error(iter)->message);
        cr_assert(eq(int, got, status ? 0 : (int)index + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    mp_iter_free(&iter);
}

static void begin_stream(void)
{
    trial_begin(N);
    one_is(0, stuck());
    one_is(12, stuck());
    one_is(13, stuck());
    one_is(N - 1, stuck());
}

EACH_KIND(stream, with_hung_items__goes_on_behind_each)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static const ptrdiff_t sizes[] = {1, 7, 100};
    for (int i = 0; i < 3; i++) {
        begin_stream();
        expect_ordered(mp_pool_imap(pool, behave, t.items, N, .timeout = TIME_UP, .chunksize = sizes[i]));
        expect_each_began(1);
        begin_stream();
        expect_unordered(mp_pool_imap_unordered(pool, behave, t.items, N, .timeout = TIME_UP, .chunksize = sizes[i]));
        expect_each_began(1);
    }
    free_working(&pool);
}

static bool next_item(int *item, void *user)
{
    int *at = user;
    if (*at == N)
        return false;
    *item = t.items[(*at)++];
    return true;
}

EVERY_KIND(stream, of_a_generator_with_little_room__goes_on_behind_hung_items)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int at = 0;
    begin_stream();
    expect_ordered(mp_pool_imap_from(pool, behave, next_item, &at, .timeout = TIME_UP, .buffersize = 3));
    expect_each_began(1);
    free_working(&pool);
}

EACH_KIND(stream, that_is_asked_too_early__says_not_yet)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = AS(stuck(), 0);
    mp_iter *iter = mp_pool_imap(pool, behave, &in, 1, .timeout = TIME_UP);
    cr_assert(eq(int, mp_iter_next(iter, &got, 0.01), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_EOVERTIME));
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    mp_iter_free(&iter);
    free_working(&pool);
}

/* What runs is told at once, and nobody waits for it; its time still ends it. */
EVERY_KIND(stream, that_is_left__its_hung_items_are_ended)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(2);
    all_are(stuck());
    mp_iter *iter = mp_pool_imap(pool, behave, t.items, 2, .timeout = TIME_UP);
    cr_assert(SOON(the_board()->begun == 2));
    mp_iter_free(&iter);
    cr_assert(SOON(stats_of(pool).pending == 0));
    free_working(&pool);
}

/* ---- futures ---- */

#define SUBMIT_AS(executor, manner, number, ...) mp_submit(executor, behave, (&(int){AS(manner, number)}), __VA_ARGS__)

EACH_KIND(future, of_a_hung_item__says_overtime)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT_AS(executor, stuck(), 0, .timeout = TIME_UP),
              *next = SUBMIT_AS(executor, FINE, 1, .timeout = TIME_UP);
    cr_assert(eq(int, mp_future_result(future, &got, 0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_future_exception(future, 0)->status, MP_ETIMEDOUT));
    EXPECT_STATUS(future, MP_EOVERTIME);
    cr_assert(eq(int, mp_future_exception(future, PROMPT)->status, MP_EOVERTIME));
    cr_assert(mp_future_done(future));
    cr_assert(not(mp_future_cancelled(future)));
    EXPECT_RESULT(next, 2);
    cr_assert(eq(int, the_board()->begun, 2));
    mp_future_free(&future);
    mp_future_free(&next);
    mp_executor_free(&executor);
}

EVERY_KIND(future, that_many_wait_for__calls_back_once)
{
    enum { MANY = 6 };
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .timeout = TIME_UP);
    mp_future *futures[MANY];
    heard ears[MANY] = {0};
    for (int i = 0; i < MANY; i++) {
        futures[i] = SUBMIT_AS(executor, i % 3 ? FINE : stuck(), i, .nowait = false);
        mp_future_add_done_callback(futures[i], hear, &ears[i]);
    }
    mp_wait_result result = mp_wait(futures, MANY, MP_ALL_COMPLETED, PROMPT);
    cr_assert(eq(sz, result.done, MANY));
    for (int i = 0; i < MANY; i++) {
        EXPECT_STATUS(futures[i], i % 3 ? MP_OK : MP_EOVERTIME);
        cr_assert(SOON(ears[i].times == 1));
        cr_assert(eq(int, the_board()->times[i], 1));
    }
    free_futures(futures, MANY);
    mp_executor_free(&executor);
}

EACH_KIND(future, of_a_hung_item__is_the_first_exception)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[2] = {SUBMIT_AS(executor, HEEDS, 0, .timeout = MP_FOREVER),
                             SUBMIT_AS(executor, stuck(), 1, .timeout = TIME_UP)};
    mp_wait_result result = mp_wait(futures, 2, MP_FIRST_EXCEPTION, PROMPT);
    cr_assert(eq(sz, result.done, 1));
    cr_assert(mp_future_done(futures[1]));
    the_board()->gate = 1;
    EXPECT_RESULT(futures[0], -1);
    free_futures(futures, 2);
    mp_executor_free(&executor);
}

EVERY_KIND(future, that_comes_after_one_of_a_hung_item__ends_as_that)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT_AS(executor, stuck(), 0, .timeout = TIME_UP), *then = mp_future_then(first, executor, behave);
    EXPECT_STATUS(then, MP_EOVERTIME);
    EXPECT_STATUS(first, MP_EOVERTIME);
    cr_assert(eq(int, the_board()->begun, 1));
    mp_future_free(&first);
    mp_future_free(&then);
    mp_executor_free(&executor);
}

/* A worker that is ended on purpose is no crash. */
EACH_PROCESS_KIND(executor, that_breaks_on_a_crash__does_not_on_a_time_out)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true);
    mp_future *future = SUBMIT_AS(executor, HANGS, 0, .timeout = AT_ONCE);
    EXPECT_STATUS(future, MP_EOVERTIME);
    mp_future_free(&future);
    future = SUBMIT_AS(executor, FINE, 1, .timeout = TIME_UP);
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EVERY_KIND(executor, over_a_pool__has_the_limit_of_that)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = TIME_UP);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 10);
    mp_future *future = SUBMIT_AS(executor, stuck(), 0, .nowait = false),
              *free_one = SUBMIT_AS(executor, TAKES, 1, .timeout = MP_FOREVER);
    EXPECT_STATUS(future, MP_EOVERTIME);
    EXPECT_RESULT(free_one, 2);
    mp_future_free(&future);
    mp_future_free(&free_one);
    mp_executor_free(&executor);
    free_working(&pool);
}

EVERY_KIND(executor, its_map__has_item_timeout)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    begin_stream();
    expect_ordered(mp_executor_map(executor, behave, t.items, N, .item_timeout = TIME_UP, .chunksize = 5));
    expect_each_began(1);
    begin_stream();
    expect_ordered(mp_executor_map(executor, behave, t.items, N, .item_timeout = TIME_UP, .buffersize = 4));
    expect_each_began(1);
    mp_executor_free(&executor);
}

/* Both are about time, and say different things. */
EACH_KIND(executor, the_deadline_of_its_map__is_told_as_before)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int in = AS(HEEDS, 0);
    mp_iter *iter = mp_executor_map(executor, behave, &in, 1, .timeout = AT_ONCE, .item_timeout = PROMPT);
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_ETIMEDOUT));
    mp_iter_free(&iter);
    the_board()->gate = 1;
    mp_executor_free(&executor);
}
