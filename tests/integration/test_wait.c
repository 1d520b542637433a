/* concurrent.futures.wait: what counts as done, when it returns, for futures of any executors and of one's own. */
#include "tests/lib/futures.h"
#include <pthread.h>

TestSuite(wait, .timeout = 60);
TestSuite(own, .timeout = 60);

enum { N = 10 };

/* That many are done, the rest of `n` is not, and why it returned. */
#define EXPECT_WAIT(wait, all_done, n, why)                                                                                \
    do {                                                                                                                   \
        mp_wait_result expect_wait = (wait);                                                                               \
        cr_assert(eq(int, expect_wait.status, why));                                                                       \
        cr_assert(eq(sz, expect_wait.done, all_done));                                                                     \
        cr_assert(eq(sz, expect_wait.not_done, (n) - (all_done)));                                                         \
    } while (0)

static void new_futures(mp_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        futures[i] = mp_future_new(int);
}

static void finish(mp_future *future)
{
    cr_assert(eq(int, mp_future_set_result(future, &(int){1}), MP_OK));
}

static void fail(mp_future *future)
{
    mp_error error = error_of(MP_EUSER, "no");
    cr_assert(eq(int, mp_future_set_exception(future, &error), MP_OK));
}

/* ---- every kind ---- */

EACH_KIND(wait, for_all__returns_when_all_are_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    EXPECT_WAIT(mp_wait(futures, N, MP_ALL_COMPLETED, 0.02), 0, N, MP_ETIMEDOUT);
    LET_GO(3);
    EXPECT_RESULT(futures[0], 1);
    EXPECT_RESULT(futures[1], 2);
    EXPECT_RESULT(futures[2], 3);
    EXPECT_WAIT(mp_wait(futures, N, MP_ALL_COMPLETED, 0), 3, N, MP_ETIMEDOUT);
    LET_ALL_GO();
    EXPECT_WAIT(mp_wait(futures, N, MP_ALL_COMPLETED, PROMPT), N, N, MP_OK);
    free_futures(futures, N);
    mp_executor_free(&executor);
}

EACH_KIND(wait, for_the_first__returns_when_one_is_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[3] = {SUBMIT(executor, latch, 8), SUBMIT(executor, latch, 1)};
    cr_assert(SOON(the_board()->begun == 2));
    futures[2] = SUBMIT(executor, latch, 9);
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_COMPLETED, 0.02), 0, 3, MP_ETIMEDOUT);
    LET_GO(2);
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_COMPLETED, PROMPT), 1, 3, MP_OK);
    cr_assert(mp_future_done(futures[1]));
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_COMPLETED, MP_FOREVER), 1, 3, MP_OK);
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, 3);
}

EACH_KIND(wait, for_the_first_that_fails__passes_over_the_others)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[4] = {SUBMIT(executor, latch, 8), SUBMIT(executor, mark, 1)};
    EXPECT_RESULT(futures[1], 2);
    futures[2] = SUBMIT(executor, latch, 2);
    cr_assert(SOON(the_board()->begun == 3));
    futures[3] = SUBMIT(executor, mark, -1);
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_EXCEPTION, 0.02), 1, 3, MP_ETIMEDOUT);
    LET_GO(3);
    EXPECT_WAIT(mp_wait(futures, 4, MP_FIRST_EXCEPTION, PROMPT), 3, 4, MP_OK);
    EXPECT_STATUS(futures[3], MP_EUSER + 1);
    LET_ALL_GO();
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_EXCEPTION, PROMPT), 3, 3, MP_OK);
    mp_executor_free(&executor);
    free_futures(futures, 4);
}

/* gh-92001, gh-109934: Python waits for ever. */
EACH_KIND(wait, for_cancelled_ones__returns_at_once)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[4];
    for (int i = 0; i < 4; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(mp_future_cancel(futures[1]));
    EXPECT_WAIT(mp_wait(futures, 4, MP_FIRST_COMPLETED, PROMPT), 1, 4, MP_OK);
    EXPECT_WAIT(mp_wait(futures, 4, MP_FIRST_EXCEPTION, 0.02), 1, 4, MP_ETIMEDOUT);
    cr_assert(mp_future_cancel(futures[2]));
    cr_assert(mp_future_cancel(futures[3]));
    EXPECT_WAIT(mp_wait(futures + 1, 3, MP_ALL_COMPLETED, PROMPT), 3, 3, MP_OK);
    EXPECT_WAIT(mp_wait(futures + 1, 3, MP_FIRST_EXCEPTION, PROMPT), 3, 3, MP_OK);
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, 4);
}

static void *wait_for_three(void *argument)
{
    mp_wait_result result = mp_wait((mp_future *const *)argument, 3, MP_ALL_COMPLETED, PROMPT);
    return (void *)(intptr_t)(result.status == MP_OK && result.done == 3);
}

EACH_KIND(wait, under_way_when_they_are_cancelled__is_woken)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[4];
    pthread_t threads[2];
    for (int i = 0; i < 4; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == 1));
    for (int i = 0; i < 2; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, wait_for_three, (void *)(futures + 1))));
    nap_us(2000); /* mostly so that they wait; right either way */
    cr_assert(mp_future_cancel(futures[1]));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    for (int i = 0; i < 2; i++) {
        void *right = NULL;
        pthread_join(threads[i], &right);
        cr_assert(ne(ptr, right, NULL));
    }
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, 4);
}

EACH_KIND(wait, for_futures_of_two_executors_and_ones_own__works)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *threads = NULL;
    cr_assert(eq(int, mp_executor_open(&threads, .kind = MP_THREADS, .max_workers = 1), MP_OK));
    mp_future *futures[3] = {SUBMIT(executor, latch, 0), SUBMIT(threads, latch, 1), mp_future_new(int)};
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_COMPLETED, 0.02), 0, 3, MP_ETIMEDOUT);
    finish(futures[2]);
    EXPECT_WAIT(mp_wait(futures, 3, MP_FIRST_COMPLETED, PROMPT), 1, 3, MP_OK);
    LET_ALL_GO();
    EXPECT_WAIT(mp_wait(futures, 3, MP_ALL_COMPLETED, PROMPT), 3, 3, MP_OK);
    mp_executor_free(&executor);
    mp_executor_free(&threads);
    free_futures(futures, 3);
}

/* A waiter leaves no trace in futures that it was not served by. */
EVERY_KIND(wait, again_and_again_for_the_first__each_is_seen_once)
{
    enum { MANY = 100 };
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[MANY];
    int left = MANY;
    for (int i = 0; i < MANY; i++)
        futures[i] = SUBMIT(executor, mark, i);
    while (left > 0) {
        mp_wait_result result = mp_wait(futures, (size_t)left, MP_FIRST_COMPLETED, PROMPT);
        cr_assert(eq(int, result.status, MP_OK));
        cr_assert(ge(sz, result.done, 1));
        for (int i = left - 1; i >= 0; i--)
            if (mp_future_done(futures[i])) {
                mp_future_free(&futures[i]);
                futures[i] = futures[--left];
            }
    }
    mp_executor_free(&executor);
}

/* ---- futures of one's own ---- */

CHECK(own, none__returns_at_once)
{
    for (int when = MP_ALL_COMPLETED; when <= MP_FIRST_EXCEPTION; when++) {
        mp_future *nothing[1] = {NULL};
        EXPECT_WAIT(mp_wait(nothing, 0, (mp_return_when)when, MP_FOREVER), 0, 0, MP_OK);
        EXPECT_WAIT(mp_wait(NULL, 0, (mp_return_when)when, MP_FOREVER), 0, 0, MP_OK);
    }
}

CHECK(own, null_among_them__is_refused)
{
    mp_future *futures[3];
    new_futures(futures, 2);
    futures[2] = NULL;
    for (int when = MP_ALL_COMPLETED; when <= MP_FIRST_EXCEPTION; when++)
        cr_assert(eq(int, mp_wait(futures, 3, (mp_return_when)when, MP_FOREVER).status, MP_EINVAL));
    cr_assert(eq(int, mp_wait(NULL, 3, MP_ALL_COMPLETED, MP_FOREVER).status, MP_EINVAL));
    cr_assert(eq(int, mp_wait(futures, 2, (mp_return_when)9, 0).status, MP_EINVAL));
    free_futures(futures, 2);
}

CHECK(own, the_same_several_times__counts_once)
{
    mp_future *one[2], *futures[6];
    new_futures(one, 2);
    for (int i = 0; i < 6; i++)
        futures[i] = one[i % 2];
    EXPECT_WAIT(mp_wait(futures, 6, MP_ALL_COMPLETED, 0.02), 0, 2, MP_ETIMEDOUT);
    finish(one[1]);
    EXPECT_WAIT(mp_wait(futures, 6, MP_ALL_COMPLETED, 0.02), 1, 2, MP_ETIMEDOUT);
    EXPECT_WAIT(mp_wait(futures, 6, MP_FIRST_COMPLETED, PROMPT), 1, 2, MP_OK);
    finish(one[0]);
    EXPECT_WAIT(mp_wait(futures, 6, MP_ALL_COMPLETED, PROMPT), 2, 2, MP_OK);
    EXPECT_WAIT(mp_wait(futures, 6, MP_FIRST_EXCEPTION, PROMPT), 2, 2, MP_OK);
    free_futures(one, 2);
}

CHECK(own, time_out__is_a_look_when_zero_or_less)
{
    mp_future *futures[2];
    new_futures(futures, 2);
    finish(futures[0]);
    EXPECT_WAIT(mp_wait(futures, 2, MP_ALL_COMPLETED, 0), 1, 2, MP_ETIMEDOUT);
    EXPECT_WAIT(mp_wait(futures, 2, MP_ALL_COMPLETED, -1.0), 1, 2, MP_ETIMEDOUT);
    EXPECT_WAIT(mp_wait(futures, 2, MP_ALL_COMPLETED, __builtin_nan("")), 1, 2, MP_ETIMEDOUT);
    EXPECT_WAIT(mp_wait(futures, 2, MP_FIRST_COMPLETED, 0), 1, 2, MP_OK);
    EXPECT_WAIT(mp_wait(futures, 1, MP_ALL_COMPLETED, -1.0), 1, 1, MP_OK);
    free_futures(futures, 2);
}

CHECK(own, first_exception__a_cancelled_one_is_none)
{
    mp_future *futures[4];
    new_futures(futures, 4);
    cr_assert(mp_future_cancel(futures[0]));
    finish(futures[1]);
    EXPECT_WAIT(mp_wait(futures, 4, MP_FIRST_EXCEPTION, 0.02), 2, 4, MP_ETIMEDOUT);
    fail(futures[2]);
    EXPECT_WAIT(mp_wait(futures, 4, MP_FIRST_EXCEPTION, MP_FOREVER), 3, 4, MP_OK);
    cr_assert(mp_future_cancel(futures[3]));
    EXPECT_WAIT(mp_wait(futures, 4, MP_ALL_COMPLETED, MP_FOREVER), 4, 4, MP_OK);
    free_futures(futures, 4);
}

CHECK(own, first_exception__one_that_runs_does_not_count)
{
    mp_future *futures[2];
    new_futures(futures, 2);
    cr_assert(mp_future_set_running_or_notify_cancel(futures[0]));
    EXPECT_WAIT(mp_wait(futures, 2, MP_FIRST_COMPLETED, 0.02), 0, 2, MP_ETIMEDOUT);
    fail(futures[0]);
    EXPECT_WAIT(mp_wait(futures, 2, MP_FIRST_EXCEPTION, PROMPT), 1, 2, MP_OK);
    free_futures(futures, 2);
}

/* One of three ends as the round wants it; whoever waits for that is woken by it and by nothing else. */
static void *end_one(void *argument)
{
    mp_future **futures = argument;
    nap_us(2000); /* mostly so that somebody waits; right either way */
    finish(futures[0]);
    (void)mp_future_cancel(futures[1]);
    fail(futures[2]);
    return NULL;
}

CHECK(own, under_way__is_woken_by_what_it_waits_for)
{
    for (int when = MP_ALL_COMPLETED; when <= MP_FIRST_EXCEPTION; when++) {
        mp_future *futures[4];
        pthread_t thread;
        new_futures(futures, 4);
        cr_assert(zero(int, pthread_create(&thread, NULL, end_one, futures)));
        mp_wait_result result = mp_wait(futures, when == MP_ALL_COMPLETED ? 3 : 4, (mp_return_when)when, PROMPT);
        cr_assert(eq(int, result.status, MP_OK));
        if (when == MP_FIRST_COMPLETED)
            cr_assert(ge(sz, result.done, 1));
        else
            cr_assert(eq(sz, result.done, 3));
        pthread_join(thread, NULL);
        free_futures(futures, 4);
    }
}
