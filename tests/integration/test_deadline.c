/* Deadlines: when they are over, a call ends, whatever its items do: those that have not started never start, those that run are
 * ended. On threads these are told. */
#include "tests/lib/futures.h"
#include "tests/lib/stuck.h"

TestSuite(deadline, .timeout = 60);
TestSuite(stream, .timeout = 60);

static int got;

static manner stuck(void)
{
    return on_threads() ? HEEDS_FAILS : HANGS;
}

EVERY_KIND(deadline, of_a_map_with_hung_and_queued_items__ends_all_of_them)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static const ptrdiff_t sizes[] = {1, 5, 100};
    for (int round = 0; round < 3; round++) {
        trial_begin(100);
        all_are(stuck());
        RUN(pool, .deadline = TIME_UP, .chunksize = sizes[round]);
        expect_only_fine_ones(MP_ETIMEDOUT);
        cr_assert(ge(dbl, t.took, TIME_UP));
        cr_assert(le(int, the_board()->begun, 2), "none begins after it");
    }
    expect_works(pool);
    cr_assert(le(int, the_board()->begun, 2));
    close_join_free(&pool);
}

EVERY_KIND(deadline, results_that_are_there__are_kept)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(20);
    for (int i = 10; i < 20; i++)
        one_is(i, stuck());
    RUN(pool, .deadline = 2 * TIME_UP, .chunksize = 20);
    expect_only_fine_ones(MP_ETIMEDOUT);
    cr_assert(eq(int, the_board()->begun, 11));
    free_working(&pool);
}

EVERY_KIND(deadline, task_that_returns_its_best__has_its_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(3);
    all_are(HEEDS);
    RUN(pool, .deadline = TIME_UP, .chunksize = 3);
    expect_ok(0, -1);
    expect_failed(1, MP_ETIMEDOUT);
    expect_failed(2, MP_ETIMEDOUT);
    cr_assert(eq(int, t.status, MP_ETIMEDOUT));
    cr_assert(eq(int, the_board()->begun, 1));
    cr_assert(ge(int, the_board()->word[US], 0));
    free_working(&pool);
}

EACH_PROCESS_KIND(deadline, task_that_ignores_everything__is_ended_too)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .grace = 0.1);
    trial_begin(4);
    one_is(0, IGNORES);
    one_is(1, BLOCKS);
    one_is(2, HANGS);
    one_is(3, HANGS);
    RUN(pool, .deadline = TIME_UP, .chunksize = 1);
    expect_only_fine_ones(MP_ETIMEDOUT);
    cr_assert(zero(u64, stats_of(pool).lost));
    free_working(&pool);
}

EACH_KIND(deadline, that_is_not_reached__is_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(200);
    for (int i = 0; i < 10; i++) {
        RUN(pool, .deadline = PROMPT, .timeout = i % 2 ? PROMPT : 0);
        expect_only_fine_ones(MP_OK);
    }
    expect_each_began(10);
    cr_assert(eq(u64, stats_of(pool).started, 2));
    free_working(&pool);
}

/* What blocks the pool is another's. */
EACH_KIND(deadline, of_a_call_whose_items_all_wait__ends_it_and_none_ever_starts)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int blocks = AS(HANGS, 90);
    mp_async *blocker = mp_pool_apply_async(pool, behave, &blocks);
    cr_assert(SOON(the_board()->begun == 1));
    trial_begin(50);
    RUN(pool, .deadline = 0.1);
    for (int i = 0; i < 50; i++)
        expect_failed(i, MP_ETIMEDOUT);
    cr_assert(eq(int, t.status, MP_ETIMEDOUT));
    cr_assert(ge(dbl, t.took, 0.1));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(blocker, &got, PROMPT), MP_OK), "another's item is left alone");
    mp_async_free(&blocker);
    free_working(&pool);
    cr_assert(zero(int, the_board()->begun));
    cr_assert(eq(sz, board_find_other(50, 0), 50));
}

EVERY_KIND(deadline, of_an_apply__ends_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_error error;
    int in = AS(stuck(), 0);
    cr_assert(eq(int, mp_pool_apply(pool, behave, &in, &got, .deadline = AT_ONCE, .error = &error), MP_ETIMEDOUT));
    cr_assert(eq(int, error.status, MP_ETIMEDOUT));
    free_working(&pool);
}

EVERY_KIND(deadline, of_a_handle__ends_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(10);
    all_are(stuck());
    mp_async *async = mp_pool_map_async(pool, behave, t.items, 10, .deadline = TIME_UP, .chunksize = 3);
    cr_assert(eq(int, mp_async_get(async, t.results, PROMPT), MP_EOVERTIME));
    for (int i = 0; i < 10; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], MP_ETIMEDOUT));
    cr_assert(le(int, the_board()->begun, 1));
    mp_async_free(&async);
    free_working(&pool);
}

EVERY_KIND(deadline, of_a_future__ends_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int in = AS(stuck(), 0), waits = AS(FINE, 1);
    mp_future *future = mp_submit(executor, behave, &in, .deadline = TIME_UP);
    mp_future *queued = mp_submit(executor, behave, &waits, .deadline = PROMPT);
    EXPECT_STATUS(future, MP_EOVERTIME);
    EXPECT_RESULT(queued, 2);
    mp_future_free(&future);
    mp_future_free(&queued);
    mp_executor_free(&executor);
}

/* Retries are for time-outs, not for what has no time left; and one that waits for its next attempt ends. */
EVERY_KIND(deadline, of_items_that_would_be_retried__ends_them)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(2);
    one_is(0, FAILS);
    one_is(1, stuck());
    RUN(pool, .deadline = TIME_UP, .retries = 5, .retry_delay = 60, .chunksize = 1);
    cr_assert(eq(int, t.statuses[1], MP_ETIMEDOUT));
    cr_assert(ne(int, t.statuses[0], MP_OK));
    expect_each_began(1);
    cr_assert(eq(u64, stats_of(pool).retried, 1), "it was to be run again, but for the deadline");
    free_working(&pool);
}

/* Many calls, each with its own. */
EACH_KIND(deadline, of_many_handles__each_ends_with_its_own)
{
    enum { MANY = 100 };
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *handles[MANY];
    int blocks = AS(HANGS, 200);
    mp_async *blocker = mp_pool_apply_async(pool, behave, &blocks);
    cr_assert(SOON(the_board()->begun == 1));
    for (int i = 0; i < MANY; i++)
        handles[i] =
            mp_pool_apply_async(pool, behave, (&(int){AS(FINE, i)}), .deadline = i % 2 ? 0.01 * (i * 37 % 20 + 1) : 0);
    for (int i = 1; i < MANY; i += 2)
        cr_assert(eq(int, mp_async_get(handles[i], &got, PROMPT), MP_EOVERTIME));
    for (int i = 0; i < MANY; i += 2)
        cr_assert(eq(int, mp_async_get(handles[i], &got, 0), MP_ETIMEDOUT));
    the_board()->gate = 1;
    for (int i = 0; i < MANY; i += 2)
        cr_assert(eq(int, mp_async_get(handles[i], &got, PROMPT), MP_OK));
    for (int i = 0; i < MANY; i++) {
        cr_assert(eq(int, the_board()->times[i], i % 2 ? 0 : 1), "item %d", i);
        mp_async_free(&handles[i]);
    }
    mp_async_free(&blocker);
    free_working(&pool);
}

/* ---- streams ---- */

static _Atomic int released, asked;
static void count_release(void *user)
{
    (void)user;
    released++;
}

static bool endless(int *item, void *user)
{
    *item = AS(*(manner *)user, asked++ % 100);
    return true;
}

/* Every item that was taken is told, and the stream ends. How many failed. */
static int read_to_end(mp_iter *iter)
{
    mp_status status;
    int failed = 0;
    while ((status = mp_iter_next(iter, &got, PROMPT)) != MP_END) {
        cr_assert(status == MP_OK || status == MP_EOVERTIME, "%s", mp_iter_error(iter)->message);
        failed += status != MP_OK;
    }
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
    return failed;
}

EVERY_KIND(stream, over_an_endless_generator__ends)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    manner fine = FINE;
    mp_iter *iter = mp_pool_imap_from(pool, behave, endless, &fine, .deadline = 0.2, .release = count_release);
    cr_assert(gt(int, read_to_end(iter), 0));
    cr_assert(SOON(released == 1));
    mp_iter_free(&iter);
    iter = mp_pool_imap_unordered_from(pool, behave, endless, &fine, .deadline = 0.2, .buffersize = 5,
                                       .release = count_release);
    cr_assert(gt(int, read_to_end(iter), 0));
    cr_assert(SOON(released == 2));
    mp_iter_free(&iter);
    free_working(&pool);
}

EVERY_KIND(stream, over_an_endless_generator_of_hung_items__ends)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    manner hangs = stuck();
    mp_iter *iter = mp_pool_imap_from(pool, behave, endless, &hangs, .deadline = TIME_UP, .buffersize = 10, .chunksize = 2);
    cr_assert(ge(int, read_to_end(iter), 2));
    cr_assert(le(int, the_board()->begun, 2));
    mp_iter_free(&iter);
    free_working(&pool);
}

/* Though nobody reads, so that the generator is not asked. */
EVERY_KIND(stream, that_is_not_read__ends_too)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    manner hangs = stuck();
    mp_iter *iter =
        mp_pool_imap_from(pool, behave, endless, &hangs, .deadline = AT_ONCE, .buffersize = 5, .release = count_release);
    cr_assert(SOON(released == 1));
    cr_assert(SOON(stats_of(pool).pending == 0));
    cr_assert(ge(int, read_to_end(iter), 1));
    mp_iter_free(&iter);
    free_working(&pool);
}

EVERY_KIND(stream, over_an_array__tells_every_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(50);
    for (int i = 20; i < 50; i++)
        one_is(i, stuck());
    mp_iter *iter = mp_pool_imap(pool, behave, t.items, 50, .deadline = 2 * TIME_UP, .chunksize = 4);
    for (int i = 0; i < 20; i++)
        cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_OK));
    cr_assert(eq(int, read_to_end(iter), 30));
    cr_assert(le(int, the_board()->begun, 21));
    mp_iter_free(&iter);
    free_working(&pool);
}
