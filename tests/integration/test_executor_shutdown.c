/* Shutting executors of every kind down: with and without waiting and cancelling, again, meanwhile; and ending their workers. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include <errno.h>
#include <pthread.h>

TestSuite(shut, .timeout = 60);
TestSuite(end_workers, .timeout = 60);

enum { N = 30 };

static void submit_latches(mp_executor *executor, mp_future **futures, int n)
{
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, latch, i);
}

/* How many processes work for the only executor that is there. */
static int executor_workers(void)
{
    pid_t zygote = proc_only_child();
    return zygote ? proc_living_children(zygote, &(pid_t){0}, 1) : 0;
}

/* ---- shutdown ---- */

EVERY_KIND(shut, with_wait__returns_when_all_is_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    heard ears[N] = {0};
    for (int i = 0; i < N; i++) {
        futures[i] = SUBMIT(executor, mark, i);
        cr_assert(eq(int, mp_future_add_done_callback(futures[i], hear, &ears[i]), MP_OK));
    }
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    for (int i = 0; i < N; i++) {
        cr_assert(mp_future_done(futures[i]));
        cr_assert(eq(int, ears[i].times, 1));
        EXPECT_RESULT(futures[i], i + 1);
    }
    cr_assert(zero(int, executor_workers()), "they have left");
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EVERY_KIND(shut, without_options__waits_and_cancels_nothing)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    cr_assert(eq(int, mp_executor_shutdown(executor), MP_OK));
    for (int i = 0; i < N; i++) {
        cr_assert(mp_future_done(futures[i]));
        EXPECT_RESULT(futures[i], i + 1);
    }
    cr_assert(eq(int, mp_executor_shutdown_with(executor, NULL), MP_OK));
    mp_executor_free(&executor);
    mp_futures_free(futures, N);
    for (int i = 0; i < N; i++)
        cr_assert(eq(ptr, futures[i], NULL));
}

EACH_KIND(shut, options__are_named_in_any_order_or_not_at_all)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    submit_latches(executor, futures, N);
    cr_assert(SOON(mp_future_running(futures[0])));
    cr_assert(eq(int, mp_executor_shutdown(executor, .wait = false), MP_OK));
    cr_assert(eq(int, (mp_executor_shutdown)(executor, false, false), MP_OK));
    cr_assert(not(mp_future_done(futures[N - 1])));
    cr_assert(eq(int, mp_executor_shutdown(executor, .cancel_futures = true, .wait = false), MP_OK));
    cr_assert(mp_future_cancelled(futures[N - 1]));
    cr_assert(not(mp_future_done(futures[0])));
    LET_ALL_GO();
    cr_assert(eq(int, mp_executor_shutdown(executor, .cancel_futures = true), MP_OK));
    cr_assert(mp_future_done(futures[0]), "it has waited");
    mp_executor_free(&executor);
    mp_futures_free(futures, N);
}

CHECK(shut, futures_free__of_nothing__is_fine)
{
    mp_future *futures[2] = {NULL, mp_future_new(int)};
    mp_futures_free(NULL, 3);
    mp_futures_free(futures, 2);
    cr_assert(eq(ptr, futures[1], NULL));
}

EACH_KIND(shut, without_wait__returns_at_once_and_all_is_done_later)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    submit_latches(executor, futures, N);
    cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
    cr_assert(not(mp_future_done(futures[N - 1])));
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_ECLOSED);
    LET_ALL_GO();
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EVERY_KIND(shut, before_a_needed_worker_has_started__all_is_done_all_the_same)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 4);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    cr_assert(eq(sz, board_find_other(N, 1), N));
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EVERY_KIND(shut, again__is_fine)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, mark, 1);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
        cr_assert(eq(int, mp_executor_shutdown(executor, true, i == 1), MP_OK));
        EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_ECLOSED);
    }
    EXPECT_RESULT(future, 2);
    mp_executor_free(&executor);
    mp_future_free(&future);
}

EACH_KIND(shut, that_cancels__leaves_what_runs)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    submit_latches(executor, futures, N);
    cr_assert(SOON(the_board()->begun == 2));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_future_cancelled(futures[i]), the_board()->times[i] == 0), "%d", i);
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 2));
    cr_assert(eq(int, the_board()->ended, 2));
    for (int i = 0; i < N; i++)
        EXPECT_STATUS(futures[i], the_board()->times[i] ? MP_OK : MP_ECANCELLED);
    free_futures(futures, N);
}

EACH_KIND(shut, that_cancels_after_one_that_did_not__cancels)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    submit_latches(executor, futures, N);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    LET_ALL_GO();
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    cr_assert(eq(int, the_board()->begun, 1));
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* gh-87893, gh-92001, gh-109934, gh-136655: Python waits for ever here. */
EACH_KIND(shut, that_cancels__wakes_who_waits_and_who_takes_them_as_completed)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N], *one = NULL;
    submit_latches(executor, futures, N);
    cr_assert(SOON(the_board()->begun == 1));
    mp_as_completed *each = mp_as_completed_new(futures + 1, N - 1, PROMPT);
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    mp_wait_result result = mp_wait(futures + 1, N - 1, MP_ALL_COMPLETED, PROMPT);
    cr_assert(eq(int, result.status, MP_OK));
    cr_assert(eq(sz, result.done, N - 1));
    for (int i = 1; i < N; i++) {
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
        cr_assert(mp_future_cancelled(one));
    }
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_END));
    mp_as_completed_free(&each);
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* gh-94440 */
EACH_KIND(shut, after_a_cancel__comes_to_an_end)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *held = SUBMIT(executor, latch, 0), *future = SUBMIT(executor, latch, 1);
    cr_assert(mp_future_cancel(future));
    LET_ALL_GO();
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    cr_assert(zero(int, the_board()->times[1]));
    mp_executor_free(&executor);
    mp_future_free(&future);
    mp_future_free(&held);
}

static void *shut_down(void *argument)
{
    return (void *)(intptr_t)mp_executor_shutdown((mp_executor *)argument, true, false);
}

EACH_KIND(shut, by_several_threads__all_wait_until_it_is_over)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(executor, latch, 0);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, shut_down, executor)));
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, pthread_tryjoin_np(threads[i], NULL), EBUSY));
    LET_ALL_GO();
    for (int i = 0; i < 3; i++) {
        void *status = (void *)-1;
        pthread_join(threads[i], &status);
        cr_assert(zero(ptr, status));
    }
    EXPECT_RESULT(future, 1);
    mp_executor_free(&executor);
    mp_future_free(&future);
}

EVERY_KIND(shut, unused_and_freed_at_once__leaves_nothing)
{
    for (int i = 0; i < ROUNDS(8); i++) {
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
        mp_executor_free(&executor);
    }
}

/* ---- ending its workers ---- */

/* One that does not listen to SIGTERM. */
static mp_status stubborn(const int *in, int *out, mp_call *call)
{
    signal(SIGTERM, SIG_IGN);
    return latch(in, out, call);
}
MP_TASK(stubborn, int, int);

static void end_while_one_runs(mp_status (*end)(mp_executor *executor))
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[4] = {0};
    mp_future *futures[4] = {SUBMIT(executor, mark, 9)};
    EXPECT_RESULT(futures[0], 10);
    futures[1] = on_threads() ? SUBMIT(executor, latch, 1) : SUBMIT(executor, stubborn, 1);
    cr_assert(SOON(the_board()->times[1] == 1));
    futures[2] = SUBMIT(executor, latch, 2);
    futures[3] = SUBMIT(executor, latch, 3);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, mp_future_add_done_callback(futures[i], hear, &ears[i]), MP_OK));
    cr_assert(eq(int, end(executor), MP_OK));
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_ECLOSED);
    EXPECT_STATUS(futures[2], MP_ETERMINATED);
    EXPECT_STATUS(futures[3], MP_ETERMINATED);
    if (on_threads()) {
        cr_assert(not(mp_future_done(futures[1])), "what runs on a thread goes on");
        LET_ALL_GO();
        EXPECT_RESULT(futures[1], 2);
    } else {
        EXPECT_STATUS(futures[1], MP_ETERMINATED);
    }
    cr_assert(eq(int, end(executor), MP_OK), "again is fine");
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    cr_assert(eq(int, end(executor), MP_OK), "after the end too");
    EXPECT_RESULT(futures[0], 10);
    mp_executor_free(&executor);
    cr_assert(zero(int, the_board()->times[2] + the_board()->times[3]));
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, ears[i].times, 1));
    free_futures(futures, 4);
}

EACH_KIND(end_workers, terminate__ends_what_has_no_result)
{
    end_while_one_runs(mp_executor_terminate_workers);
}

EACH_KIND(end_workers, kill__ends_what_has_no_result)
{
    end_while_one_runs(mp_executor_kill_workers);
}

EVERY_KIND(end_workers, of_one_that_did_nothing__is_fine)
{
    for (int i = 0; i < 2; i++) {
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
        cr_assert(eq(int, i ? mp_executor_kill_workers(executor) : mp_executor_terminate_workers(executor), MP_OK));
        EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_ECLOSED);
        mp_executor_free(&executor);
    }
}

EACH_KIND(end_workers, after_a_shutdown_that_does_not_wait__still_ends_them)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *held = SUBMIT(executor, hold_or_see, 0), *future = SUBMIT(executor, latch, 1);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
    cr_assert(eq(int, mp_executor_terminate_workers(executor), MP_OK));
    EXPECT_STATUS(future, MP_ETERMINATED);
    if (on_threads())
        EXPECT_RESULT(held, -1); /* it saw that nobody waits */
    else
        EXPECT_STATUS(held, MP_ETERMINATED);
    mp_executor_free(&executor);
    mp_future_free(&held);
    mp_future_free(&future);
}

static void end_them(mp_future *future, void *user)
{
    (void)future;
    (void)mp_executor_kill_workers((mp_executor *)user);
}

EACH_KIND(end_workers, in_a_callback__is_fine)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, latch, 0), *future = SUBMIT(executor, hold_or_see, 1);
    cr_assert(eq(int, mp_future_add_done_callback(first, end_them, executor), MP_OK));
    LET_ALL_GO();
    mp_status status = mp_future_result(future, NULL, PROMPT);
    cr_assert(status == MP_ETERMINATED || (on_threads() && status == MP_OK), "%s", mp_status_name(status));
    mp_executor_free(&executor);
    mp_future_free(&first);
    mp_future_free(&future);
}
