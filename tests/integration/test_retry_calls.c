/* Retries in every other call: handles, streams, futures, the map of an executor. Each shows the last attempt, once. */
#include "tests/lib/futures.h"
#include "tests/lib/tries.h"

TestSuite(handle, .timeout = 60);
TestSuite(stream, .timeout = 60);
TestSuite(future, .timeout = 60);
TestSuite(executor, .timeout = 60);

enum { N = 60 };
static int got;

/* Every seventh item succeeds at its third attempt, every eleventh never. */
static void begin_tries(void)
{
    trial_begin(N);
    for (int i = 0; i < N; i++)
        t.items[i] = UNTIL_ATTEMPT(i % 11 == 10 ? NEVER : i % 7 == 6 ? 3 : 1, FAILS, i);
}
static int attempts_of(int i)
{
    return i % 11 == 10 || i % 7 == 6 ? 3 : 1;
}
static void expect_attempts(void)
{
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, the_board()->times[i], attempts_of(i)), "item %d", i);
}

/* ---- handles ---- */

EVERY_KIND(handle, of_one_item__has_its_last_attempt)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *good = mp_pool_apply_async(pool, try, (&(int){UNTIL_ATTEMPT(3, FAILS, 1)}), .retries = 2);
    mp_async *bad =
        mp_pool_apply_async(pool, try, (&(int){UNTIL_ATTEMPT(NEVER, FAILS, 2)}), .retries = 2, .retry_delay = 0.01);
    cr_assert(eq(int, mp_async_get(good, &got, PROMPT), MP_OK));
    cr_assert(eq(int, got, 13));
    cr_assert(eq(int, mp_async_get(bad, &got, PROMPT), MP_EUSER + 1));
    cr_assert(eq(int, mp_async_error(bad)->attempt, 3));
    mp_async_free(&good);
    mp_async_free(&bad);
    free_working(&pool);
}

static _Atomic int failures;
static void count_failure(const mp_error *error, void *user)
{
    (void)user;
    failures += error->attempt == 3;
}

EVERY_KIND(handle, of_a_map__calls_back_once_when_all_attempts_are_over)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    begin_tries();
    mp_async *async =
        mp_pool_map_async(pool, try, t.items, N, .retries = 2, .chunksize = 4, .error_callback = count_failure);
    cr_assert(eq(int, mp_async_get(async, t.results, PROMPT), MP_EUSER + 1));
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_async_statuses(async)[i], i % 11 == 10 ? MP_EUSER + 1 : MP_OK));
        cr_assert(eq(int, t.results[i], i % 11 == 10 ? 0 : 10 * i + attempts_of(i)));
    }
    cr_assert(eq(sz, mp_async_error(async)->item, 10));
    cr_assert(eq(int, failures, 1));
    expect_attempts();
    mp_async_free(&async);
    free_working(&pool);
}

/* The inputs that it keeps are needed again. */
static mp_status size_at_second(const mp_str *in, int *out, mp_call *call)
{
    the_board()->begun++;
    if (mp_call_attempt(call) == 1)
        return mp_fail(call, MP_EUSER, "the first attempt");
    *out = is_text(in, in->size) ? (int)in->size : -1;
    return MP_OK;
}
MP_TASK(size_at_second, mp_str, int);

EVERY_KIND(handle, whose_inputs_were_reused__retries_with_what_they_were)
{
    enum { SIZE = 200000 };
    mp_pool *pool = OPEN_POOL(.processes = 1);
    char *text = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 26);
    mp_str in[2] = {{text, SIZE}, {text, 10}};
    int out[2];
    mp_async *async = mp_pool_map_async(pool, size_at_second, in, 2, .retries = 1, .retry_delay = 0.01);
    spoil(text, SIZE);
    spoil(in, sizeof in);
    free(text);
    cr_assert(eq(int, mp_async_get(async, out, PROMPT), MP_OK));
    cr_assert(eq(int, out[0], SIZE));
    cr_assert(eq(int, out[1], 10));
    cr_assert(eq(int, the_board()->begun, 4));
    mp_async_free(&async);
    free_working(&pool);
}

/* ---- streams ---- */

static void expect_in_order(mp_iter *iter)
{
    mp_error error;
    for (int i = 0; i < N; i++) {
        mp_status status = mp_iter_next(iter, &got, PROMPT, .error = &error);
        cr_assert(eq(int, status, i % 11 == 10 ? MP_EUSER + 1 : MP_OK), "item %d: %s", i, error.message);
        cr_assert(eq(int, got, status ? 0 : 10 * i + attempts_of(i)));
        cr_assert(eq(int, error.attempt, status ? 3 : 0));
    }
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    mp_iter_free(&iter);
    expect_attempts();
}

static bool next_item(int *item, void *user)
{
    int *at = user;
    if (*at == N)
        return false;
    *item = t.items[(*at)++];
    return true;
}

EVERY_KIND(stream, in_order__waits_for_the_last_attempt_of_each)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    begin_tries();
    expect_in_order(mp_pool_imap(pool, try, t.items, N, .retries = 2));
    begin_tries();
    expect_in_order(
        mp_pool_imap(pool, try, t.items, N, .retries = 2, .chunksize = 5, .buffersize = 7, .retry_delay = 0.01));
    begin_tries();
    int at = 0;
    expect_in_order(mp_pool_imap_from(pool, try, next_item, &at, .retries = 2, .buffersize = 2));
    begin_tries();
    at = 0;
    expect_in_order(mp_pool_imap_from(pool, try, next_item, &at, .retries = 2, .bufferbytes = 1));
    free_working(&pool);
}

EVERY_KIND(stream, unordered__gives_each_item_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    bool seen[N] = {false};
    begin_tries();
    mp_iter *iter = mp_pool_imap_unordered(pool, try, t.items, N, .retries = 2, .chunksize = 3, .buffersize = 9);
    for (int i = 0; i < N; i++) {
        size_t index = SIZE_MAX;
        mp_status status = mp_iter_next(iter, &got, PROMPT, .index = &index);
        cr_assert(lt(sz, index, N));
        cr_assert(not(seen[index]));
        seen[index] = true;
        cr_assert(eq(int, status, index % 11 == 10 ? MP_EUSER + 1 : MP_OK));
        cr_assert(eq(int, got, status ? 0 : 10 * (int)index + attempts_of((int)index)));
    }
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    mp_iter_free(&iter);
    expect_attempts();
    free_working(&pool);
}

/* With nobody to wait for it, no attempt is made. */
EACH_KIND(stream, that_is_left__does_not_retry)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(1);
    t.items[0] = UNTIL_ATTEMPT(NEVER, FAILS, 0);
    mp_iter *iter = mp_pool_imap(pool, try, t.items, 1, .retries = 5, .retry_delay = 60);
    cr_assert(SOON(the_board()->begun == 1));
    mp_iter_free(&iter);
    cr_assert(SOON(stats_of(pool).pending == 0));
    free_working(&pool);
    cr_assert(eq(int, the_board()->begun, 1));
}

/* ---- futures ---- */

EVERY_KIND(future, whose_task_fails_at_first__has_the_last_result)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    begin_tries();
    for (int i = 0; i < N; i++)
        futures[i] = mp_submit(executor, try, &t.items[i], .retries = 2);
    for (int i = 0; i < N; i++) {
        if (i % 11 != 10) {
            EXPECT_RESULT(futures[i], 10 * i + attempts_of(i));
            continue;
        }
        EXPECT_STATUS(futures[i], MP_EUSER + 1);
        cr_assert(eq(int, mp_future_exception(futures[i], 0)->attempt, 3));
    }
    expect_attempts();
    free_futures(futures, N);
    mp_executor_free(&executor);
}

/* Between two attempts it does not run. */
EACH_KIND(future, that_waits_for_its_retry__can_be_cancelled)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(NEVER, FAILS, 1)}), .retries = 1, .retry_delay = 60);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(SOON(mp_future_cancel(future)));
    EXPECT_STATUS(future, MP_ECANCELLED);
    mp_future_free(&future);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
}

EACH_PROCESS_KIND(future, whose_worker_dies__is_run_again_and_nobody_notices)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .retries = 1, .retry_on = MP_ON_CRASHED);
    mp_future *future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(2, CRASHES, 1)}), .nowait = false);
    heard ear = {0};
    mp_future_add_done_callback(future, hear, &ear);
    EXPECT_RESULT(future, 12);
    cr_assert(SOON(ear.times == 1));
    mp_future_free(&future);
    mp_executor_free(&executor);
    cr_assert(eq(int, ear.times, 1));
}

/* As many futures as may be not done include those that wait for another attempt. */
EACH_KIND(future, that_waits_for_its_retry__takes_room)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 1);
    mp_future *future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(2, FAILS, 1)}), .retries = 1, .retry_delay = 0.2);
    EXPECT_REFUSED(mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(1, FAILS, 2)}), .nowait = true), MP_EFULL);
    EXPECT_RESULT(future, 12);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EVERY_KIND(executor, its_map__retries)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    begin_tries();
    expect_in_order(mp_executor_map(executor, try, t.items, N, .retries = 2, .retry_delay = 0.01));
    begin_tries();
    expect_in_order(mp_executor_map(executor, try, t.items, N, .retries = 2, .buffersize = 3));
    mp_executor_free(&executor);
}

EVERY_KIND(executor, with_retries_of_its_own__retries_what_does_not_say_otherwise)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .retries = 2);
    begin_tries();
    expect_in_order(mp_executor_map(executor, try, t.items, N, .chunksize = 4));
    mp_future *future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(3, FAILS, 1)}), .retries = MP_NO_RETRY);
    EXPECT_STATUS(future, MP_EUSER + 1);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(executor, item_that_crashes_each_time__is_given_up_and_the_next_ones_run)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .retries = 1);
    mp_future *future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(2, CRASHES, 1)}), .nowait = false);
    EXPECT_RESULT(future, 12);
    mp_future_free(&future);
    future = mp_submit(executor, try, (&(int){UNTIL_ATTEMPT(NEVER, CRASHES, 2)}), .nowait = false);
    EXPECT_STATUS(future, MP_ECRASHED);
    cr_assert(eq(int, mp_future_exception(future, 0)->attempt, 2));
    mp_future_free(&future);
    mp_executor_free(&executor);
}
