/* mp_future_then: how what follows ends, by how what it follows ended; mp_when_any; and futures in a process that they do not
 * belong to. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include <pthread.h>

TestSuite(then, .timeout = 60);
TestSuite(any, .timeout = 60);
TestSuite(foreign, .timeout = 60);

/* ---- then ---- */

EVERY_KIND(then, success__its_result_is_the_next_ones_input)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_str text;
    mp_future *first = SUBMIT(executor, tell_text, 3);
    mp_future *second = mp_future_then(first, executor, append);
    mp_future *third = mp_future_then(second, executor, text_size);
    mp_future *fourth = mp_future_then(third, executor, mark);
    EXPECT_RESULT(fourth, 13);
    cr_assert(eq(int, mp_future_result(second, &text, 0), MP_OK));
    cr_assert(is_str(&text, "abcand so on"));
    mp_future *all[4] = {first, second, third, fourth};
    free_futures(all, 4);
    mp_executor_free(&executor);
}

EACH_KIND(then, not_done_yet__starts_only_when_it_is)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *first = SUBMIT(executor, latch, 4);
    mp_future *next = mp_future_then(first, executor, mark);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(not(mp_future_done(next)));
    cr_assert(not(mp_future_running(next)));
    cr_assert(zero(int, the_board()->times[5]));
    LET_ALL_GO();
    EXPECT_RESULT(next, 6);
    cr_assert(eq(int, the_board()->times[5], 1));
    mp_future_free(&next);
    mp_future_free(&first);
    mp_executor_free(&executor);
}

EVERY_KIND(then, done_already__is_submitted_now)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, mark, 4);
    EXPECT_RESULT(first, 5);
    mp_future *next = mp_future_then(first, executor, mark);
    EXPECT_RESULT(next, 6);
    mp_future_free(&next);
    mp_future_free(&first);
    mp_executor_free(&executor);
}

EVERY_KIND(then, failure__ends_all_that_follow_as_it_did)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, mark, -7);
    mp_future *second = mp_future_then(first, executor, latch);
    mp_future *third = mp_future_then(second, executor, latch);
    EXPECT_STATUS(third, MP_EUSER + 7);
    cr_assert(says(mp_future_exception(third, 0), "minus 7"));
    EXPECT_STATUS(second, MP_EUSER + 7);
    cr_assert(not(mp_future_cancelled(second)));
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
    mp_future *all[3] = {first, second, third};
    free_futures(all, 3);
}

EACH_KIND(then, cancel_of_the_first__cancels_what_follows)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ear = {0};
    mp_future *held = SUBMIT(executor, latch, 0);
    mp_future *first = SUBMIT(executor, latch, 1);
    mp_future *next = mp_future_then(first, executor, mark);
    cr_assert(eq(int, mp_future_add_done_callback(next, hear, &ear), MP_OK));
    cr_assert(mp_future_cancel(first));
    EXPECT_STATUS(next, MP_ECANCELLED);
    cr_assert(mp_future_cancelled(next));
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, ear.times, 1));
    cr_assert(eq(int, the_board()->begun, 1));
    mp_future *all[3] = {held, first, next};
    free_futures(all, 3);
}

EACH_KIND(then, cancel_of_what_follows__leaves_the_first_alone)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, latch, 1);
    mp_future *next = mp_future_then(first, executor, mark), *third = mp_future_then(next, executor, mark);
    cr_assert(mp_future_cancel(next));
    cr_assert(mp_future_cancelled(next));
    EXPECT_STATUS(third, MP_ECANCELLED);
    cr_assert(not(mp_future_done(first)));
    LET_ALL_GO();
    EXPECT_RESULT(first, 2);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
    mp_future *all[3] = {first, next, third};
    free_futures(all, 3);
}

EACH_KIND(then, executor_freed_before_the_first_is_done__is_refused)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *other = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, latch, 1);
    mp_future *next = mp_future_then(first, other, mark);
    mp_executor_free(&other);
    LET_ALL_GO();
    EXPECT_STATUS(next, MP_ECLOSED);
    mp_executor_free(&executor);
    mp_future_free(&next);
    mp_future_free(&first);
}

static void *end_it(void *future)
{
    mp_future_set_result(future, &(int){1});
    return NULL;
}

/* It is submitted, and run, or it is refused. */
EACH_KIND(then, executor_freed_just_now__it_is_one_or_the_other)
{
    for (int round = 0; round < few_lives(40); round++) {
        pthread_t thread;
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
        mp_future *first = mp_future_new(int), *next = mp_future_then(first, executor, mark);
        cr_assert(zero(int, pthread_create(&thread, NULL, end_it, first)));
        mp_executor_free(&executor);
        pthread_join(thread, NULL);
        mp_status status = mp_future_exception(next, PROMPT)->status;
        cr_assert(status == MP_OK || status == MP_ECLOSED, "%s", mp_status_name(status));
        mp_future_free(&next);
        mp_future_free(&first);
    }
}

EACH_KIND(then, first_of_ones_own_freed_undone__is_cancelled)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = mp_future_new(int), *next = mp_future_then(first, executor, mark);
    mp_future *third = mp_future_then(next, executor, mark);
    mp_future_free(&first);
    EXPECT_STATUS(next, MP_ECANCELLED);
    EXPECT_STATUS(third, MP_ECANCELLED);
    mp_executor_free(&executor);
    mp_future_free(&third);
    mp_future_free(&next);
}

EVERY_KIND(then, task_that_takes_something_else__is_refused)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, mark, 1);
    mp_future *next = mp_future_then(first, executor, text_size);
    EXPECT_STATUS(next, MP_ETYPE);
    cr_assert(ne(chr, mp_future_exception(next, 0)->message[0], 0));
    mp_future_free(&next);
    mp_future_free(&first);
    mp_executor_free(&executor);
}

EACH_KIND(then, handles_freed_at_once__the_chain_still_runs)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *first = SUBMIT(executor, latch, 1);
    mp_future *second = mp_future_then(first, executor, mark), *third = mp_future_then(second, executor, mark);
    mp_future_free(&first);
    mp_future_free(&second);
    LET_ALL_GO();
    EXPECT_RESULT(third, 4);
    mp_future_free(&third);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 3));
}

EACH_KIND(then, several_follow_one__each_gets_the_result)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *first = SUBMIT(executor, latch, 1), *next[10];
    for (int i = 0; i < 10; i++)
        next[i] = mp_future_then(first, executor, mark);
    LET_ALL_GO();
    for (int i = 0; i < 10; i++)
        EXPECT_RESULT(next[i], 3);
    free_futures(next, 10);
    mp_future_free(&first);
    mp_executor_free(&executor);
}

EVERY_KIND(then, another_executor_and_a_future_of_ones_own__work)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *threads = NULL;
    cr_assert(eq(int, mp_executor_open(&threads, .kind = MP_THREADS, .max_workers = 1), MP_OK));
    mp_future *own = mp_future_new(int);
    mp_future *second = mp_future_then(own, executor, mark), *third = mp_future_then(second, threads, mark);
    cr_assert(not(mp_future_done(third)));
    cr_assert(eq(int, mp_future_set_result(own, &(int){5}), MP_OK));
    EXPECT_RESULT(third, 7);
    mp_future *all[3] = {own, second, third};
    free_futures(all, 3);
    mp_executor_free(&executor);
    mp_executor_free(&threads);
}

EVERY_KIND(then, executor_that_was_shut_down__is_an_end_too)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *done = SUBMIT(executor, mark, 1);
    EXPECT_RESULT(done, 2);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    mp_future *next = mp_future_then(done, executor, mark);
    EXPECT_STATUS(next, MP_ECLOSED);
    mp_executor_free(&executor);
    mp_future_free(&next);
    mp_future_free(&done);
}

EACH_KIND(then, first_is_done_after_the_shutdown__it_ends)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *other = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *own = mp_future_new(int);
    mp_future *first = SUBMIT(executor, latch, 1);
    mp_future *next = mp_future_then(first, executor, mark), *beyond = mp_future_then(own, other, mark);
    cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
    cr_assert(eq(int, mp_executor_shutdown(other, false, true), MP_OK));
    LET_ALL_GO();
    cr_assert(eq(int, mp_future_set_result(own, &(int){1}), MP_OK));
    mp_status status = mp_future_result(next, NULL, PROMPT);
    cr_assert(status == MP_OK || status == MP_ECLOSED, "%s", mp_status_name(status));
    status = mp_future_result(beyond, NULL, PROMPT);
    cr_assert(status == MP_ECANCELLED || status == MP_ECLOSED, "%s", mp_status_name(status));
    mp_executor_free(&executor);
    mp_executor_free(&other);
    mp_future *all[4] = {own, first, next, beyond};
    free_futures(all, 4);
}

CHECK(then, no_future_or_no_executor__is_a_future_that_says_so)
{
    mp_future *own = mp_future_new(int);
    mp_executor *none = NULL;
    mp_future *nothing = NULL;
    cr_assert(eq(int, mp_future_set_result(own, &(int){1}), MP_OK));
    EXPECT_REFUSED(mp_future_then(own, none, mark), MP_EINVAL);
    EXPECT_REFUSED(mp_future_then(nothing, none, mark), MP_EINVAL);
    mp_future_free(&own);
}

/* ---- when any ---- */

EACH_KIND(any, one_succeeds__is_it_and_what_waits_is_cancelled)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[6] = {SUBMIT(executor, latch, 5), SUBMIT(executor, mark, -1)};
    EXPECT_STATUS(futures[1], MP_EUSER + 1);
    cr_assert(SOON(the_board()->times[5] == 1));
    futures[2] = SUBMIT(executor, latch, 0);
    cr_assert(SOON(the_board()->times[0] == 1));
    for (int i = 3; i < 6; i++)
        futures[i] = SUBMIT(executor, latch, i - 2);
    LET_GO(1); /* the third succeeds; one of those behind it may have begun by then */
    mp_future *first = mp_when_any(futures, 6, PROMPT);
    cr_assert(eq(ptr, first, futures[2]));
    cr_assert(
        ge(int, mp_future_cancelled(futures[3]) + mp_future_cancelled(futures[4]) + mp_future_cancelled(futures[5]), 2));
    cr_assert(not(mp_future_done(futures[0])), "what runs goes on");
    LET_ALL_GO();
    mp_executor_free(&executor);
    EXPECT_RESULT(futures[0], 6);
    for (int i = 3; i < 6; i++)
        cr_assert(eq(int, mp_future_cancelled(futures[i]), the_board()->times[i - 2] == 0));
    free_futures(futures, 6);
}

CHECK(any, failed_and_cancelled_ones__are_passed_over)
{
    mp_future *futures[4];
    mp_error error = error_of(MP_EUSER, "no");
    for (int i = 0; i < 4; i++)
        futures[i] = mp_future_new(int);
    cr_assert(eq(int, mp_future_set_exception(futures[0], &error), MP_OK));
    cr_assert(mp_future_cancel(futures[1]));
    cr_assert(zero(ptr, mp_when_any(futures, 4, 0.02)), "the time is up");
    cr_assert(not(mp_future_done(futures[3])));
    cr_assert(eq(int, mp_future_set_result(futures[2], &(int){1}), MP_OK));
    cr_assert(eq(ptr, mp_when_any(futures, 4, PROMPT), futures[2]));
    cr_assert(mp_future_cancelled(futures[3]));
    free_futures(futures, 4);
}

CHECK(any, none_succeeds__is_null)
{
    mp_future *futures[3];
    mp_error error = error_of(MP_EUSER, "no");
    for (int i = 0; i < 3; i++)
        futures[i] = mp_future_new(int);
    cr_assert(eq(int, mp_future_set_exception(futures[0], &error), MP_OK));
    cr_assert(mp_future_cancel(futures[1]));
    cr_assert(eq(int, mp_future_set_exception(futures[2], &error), MP_OK));
    cr_assert(zero(ptr, mp_when_any(futures, 3, MP_FOREVER)));
    cr_assert(zero(ptr, mp_when_any(futures, 0, MP_FOREVER)));
    cr_assert(zero(ptr, mp_when_any(NULL, 0, MP_FOREVER)));
    free_futures(futures, 3);
}

/* ---- elsewhere ---- */

/* In a child of ours, which must not assert: the number of the first answer that is wrong. */
static int ask_from_elsewhere(mp_executor *executor, mp_future *pending, mp_future *done)
{
    mp_future *both[2] = {pending, done}, *one = NULL;
    mp_future *refused = SUBMIT(executor, mark, 1);
    mp_as_completed *each = mp_as_completed_new(both, 2, MP_FOREVER);
    mp_executor *mine = executor;
    heard ear = {0};
    alarm(PROMPT);
    if (mp_future_result(refused, NULL, MP_FOREVER) != MP_EFOREIGN)
        return 1;
    if (mp_future_result(pending, NULL, MP_FOREVER) != MP_EFOREIGN || mp_future_result(done, NULL, 0) != MP_EFOREIGN)
        return 2;
    if (mp_future_exception(pending, MP_FOREVER)->status != MP_EFOREIGN)
        return 3;
    if (mp_future_cancel(pending) || mp_future_cancelled(pending) || mp_future_running(pending))
        return 4;
    if (mp_future_done(pending) || mp_future_done(done))
        return 5;
    if (mp_future_add_done_callback(done, hear, &ear) != MP_EFOREIGN || ear.times)
        return 6;
    if (mp_wait(both, 2, MP_ALL_COMPLETED, MP_FOREVER).status != MP_EFOREIGN)
        return 7;
    if (mp_as_completed_next(each, &one) != MP_EFOREIGN)
        return 8;
    if (mp_executor_shutdown(executor, true, true) != MP_EFOREIGN)
        return 9;
    if (mp_executor_kill_workers(executor) != MP_EFOREIGN || mp_executor_terminate_workers(executor) != MP_EFOREIGN)
        return 10;
    mp_executor_free(&mine);
    return mine ? 11 : 0;
}

EACH_KIND(foreign, every_call__is_refused_and_does_no_harm)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *done = SUBMIT(executor, mark, 1), *pending = SUBMIT(executor, latch, 2);
    int status = -1;
    EXPECT_RESULT(done, 2);
    cr_assert(SOON(the_board()->begun == 2)); /* and soon nobody allocates any more: see proc_fork */
    pid_t child = proc_fork();
    if (child == 0)
        _exit(ask_from_elsewhere(executor, pending, done));
    waitpid(child, &status, 0);
    cr_assert(exited(status, 0), "%s %d", WIFEXITED(status) ? "wrong answer" : "signal",
              WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    LET_ALL_GO();
    EXPECT_RESULT(pending, 3);
    mp_executor_free(&executor);
    mp_future_free(&pending);
    mp_future_free(&done);
}

/* The child of a program whose threads are amid something: what it has inherited is left alone, and what it makes works. */
static int use_futures_of_its_own(mp_as_completed *inherited)
{
    mp_future *own = mp_future_new(int), *other = NULL;
    int value = 0, wrong = 0;
    wrong += 1 * (mp_as_completed_next(inherited, &other) != MP_EFOREIGN);
    wrong += 2 * (mp_as_completed_fd(inherited) != -1);
    mp_as_completed_free(&inherited);
    wrong += 4 * (inherited != NULL);
    for (int i = 0; i < 64; i++) {
        mp_future_free(&own);
        own = mp_future_new(int);
        wrong |= 8 * (mp_future_set_result(own, &i) != MP_OK || mp_future_result(own, &value, 0) != MP_OK || value != i);
    }
    mp_future_free(&own);
    return wrong;
}

static atomic_bool goes_on;
static void *end_futures(void *argument)
{
    mp_future *futures[64];
    while (goes_on) {
        for (int i = 0; i < 64; i++) {
            futures[i] = mp_future_new(int);
            mp_future_set_result(futures[i], &i);
        }
        mp_futures_free(futures, 64);
    }
    return argument;
}

/* Not under TSan: a child that was forked from a process with threads hangs in its allocator. */
CHECK(foreign, a_child__has_futures_of_its_own)
{
    enum { FUTURES = 4 };
    mp_future *futures[FUTURES];
    pthread_t thread;
    if (CHECK_TSAN)
        return;
    for (int i = 0; i < FUTURES; i++)
        futures[i] = mp_future_new(int);
    mp_as_completed *each = mp_as_completed_new(futures, FUTURES, MP_FOREVER);
    mp_future_set_result(futures[1], &(int){1});
    goes_on = true;
    cr_assert(zero(int, pthread_create(&thread, NULL, end_futures, NULL)));
    for (int round = 0; round < ROUNDS(60); round++) {
        int status = -1;
        pid_t reaped = 0, child = fork();
        if (child == 0)
            _exit(use_futures_of_its_own(each));
        bool ended = SOON((reaped = waitpid(child, &status, WNOHANG)) != 0);
        if (!ended) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
        }
        cr_assert(ended && exited(status, 0), "round %d: %#x", round, status);
    }
    goes_on = false;
    pthread_join(thread, NULL);
    mp_as_completed_free(&each);
    mp_futures_free(futures, FUTURES);
}
