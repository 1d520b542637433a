/* Executors of every kind: opening one, what can be wrong with it, submitting, the scoped form, and what a program keeps of one that
 * was freed. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"

TestSuite(open, .timeout = 60);
TestSuite(submit, .timeout = 60);
TestSuite(with, .timeout = 60);
TestSuite(left, .timeout = 60);

enum { N = 200 };

/* ---- opening ---- */

static void expect_not_open(mp_executor_options options, mp_status status)
{
    mp_error error;
    mp_executor *executor = (mp_executor *)&error;
    spoil(&error, sizeof error);
    options.error = &error;
    cr_assert(eq(int, mp_executor_open_with(&executor, &options), status));
    cr_assert(zero(ptr, executor));
    cr_assert(eq(int, error.status, status));
    cr_assert(error.message[0] != 0);
}

EVERY_KIND(open, options_that_cannot_be__are_refused)
{
    expect_not_open((mp_executor_options){OPTIONS, .max_workers = -1}, MP_EINVAL);
    expect_not_open((mp_executor_options){OPTIONS, .max_workers = 100001}, MP_EINVAL);
    expect_not_open((mp_executor_options){OPTIONS, .max_workers = 1, .max_queue = -1}, MP_EINVAL);
    expect_not_open((mp_executor_options){OPTIONS, .max_workers = 1, .max_tasks_per_child = -1}, MP_EINVAL);
    expect_not_open(
        (mp_executor_options){OPTIONS, .max_workers = 1, .thread_name_prefix = "0123456789012345678901234567890123456789+"},
        MP_EINVAL);
}

CHECK(open, kinds_and_methods_that_are_none__are_refused)
{
    expect_not_open((mp_executor_options){.kind = (mp_kind)9}, MP_EINVAL);
    expect_not_open((mp_executor_options){.start_method = (mp_start_method)9}, MP_EINVAL);
    expect_not_open((mp_executor_options){.kind = MP_THREADS, .start_method = MP_SPAWN}, MP_EINVAL);
}

EVERY_KIND(open, success__zeroes_the_error)
{
    mp_error error;
    mp_executor *executor = NULL;
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_executor_open(&executor, OPTIONS, .max_workers = 1, .error = &error), MP_OK));
    cr_assert(ne(ptr, executor, NULL));
    cr_assert(is_zero(&error, sizeof error));
    mp_executor_free(&executor);
    cr_assert(zero(ptr, executor));
}

CHECK(open, no_executor__is_answered)
{
    mp_executor *none = NULL;
    mp_pool *pool = NULL;
    cr_assert(eq(int, mp_executor_open_with(NULL, &(mp_executor_options){0}), MP_EINVAL));
    cr_assert(eq(int, mp_executor_over(&none, pool, .max_queue = 1), MP_EINVAL));
    cr_assert(eq(int, mp_executor_shutdown(none, true, false), MP_EINVAL));
    cr_assert(eq(int, mp_executor_shutdown(none, .wait = false), MP_EINVAL));
    cr_assert(zero(int, mp_executor_max_workers(none)));
    cr_assert(eq(int, mp_executor_terminate_workers(none), MP_EINVAL));
    cr_assert(eq(int, mp_executor_kill_workers(none), MP_EINVAL));
    cr_assert(zero(ptr, mp_executor_pool(none)));
    EXPECT_REFUSED(SUBMIT(none, mark, 1), MP_EINVAL);
    mp_executor_free(&none);
    mp_executor_free(NULL);
}

/* ---- submitting ---- */

EVERY_KIND(submit, many__each_ends_with_its_own_result)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(eq(sz, board_find_other(N, 1), N));
    free_futures(futures, N);
    mp_executor_free(&executor);
}

EACH_KIND(submit, on_one_worker__runs_in_the_order_of_the_calls)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    for (int i = 0; i < N; i++) {
        cr_assert(SOON(the_board()->begun == i + 1));
        cr_assert(eq(int, the_board()->times[i], 1), "%d is not the next", i);
        LET_GO(i + 1);
    }
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* With two workers the next that runs is the first that waits: a task may rely on those before it. All of these are long, for short
 * ones may travel in company. */
EACH_KIND(submit, of_long_tasks_on_two_workers__none_is_overtaken)
{
    enum { LONG = 20 };
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[LONG];
    for (int i = 0; i < LONG; i++)
        futures[i] = SUBMIT(executor, latch, i);
    for (int i = 0; i + 1 < LONG; i++) {
        cr_assert(SOON(the_board()->begun == i + 2));
        cr_assert(eq(int, the_board()->times[i + 1], 1), "%d is overtaken", i + 1);
        nap_us(3000);
        LET_GO(i + 1);
    }
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, LONG);
}

/* So many at once stopped Python's: a full pipe that only wakes. */
EVERY_KIND(submit, far_more_than_a_pipe_holds__all_end)
{
    enum { MANY = 20000 };
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    int n = ROUNDS(MANY);
    mp_future **futures = calloc(MANY, sizeof *futures);
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, mark, i);
    mp_wait_result result = mp_wait(futures, (size_t)n, MP_ALL_COMPLETED, 2 * PROMPT);
    cr_assert(eq(int, result.status, MP_OK));
    cr_assert(eq(sz, result.done, (size_t)n));
    cr_assert(eq(sz, board_find_other((size_t)n, 1), (size_t)n));
    free_futures(futures, (size_t)n);
    free(futures);
    mp_executor_free(&executor);
}

static mp_task ghost;

EVERY_KIND(submit, what_cannot_be__is_a_future_that_says_why)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int *nothing = NULL;
    ghost = mp__task_mark;
    ghost.name = "ghost";
    EXPECT_REFUSED(mp_submit_task(executor, &ghost, &(int){1}, NULL), MP_EUNREGISTERED);
    EXPECT_REFUSED(mp_submit_task(executor, NULL, &(int){1}, NULL), MP_EINVAL);
    EXPECT_REFUSED(mp_submit(executor, mark, nothing), MP_EINVAL);
    mp_future *future = SUBMIT(executor, mark, 1);
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

EVERY_KIND(submit, one_that_was_refused__takes_callbacks_too)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ear = {0};
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    mp_future *future = SUBMIT(executor, mark, 1), *one = NULL;
    cr_assert(eq(int, mp_future_add_done_callback(future, hear, &ear), MP_OK));
    cr_assert(eq(int, ear.times, 1));
    cr_assert(eq(int, ear.thread, (int)gettid()));
    cr_assert(eq(sz, mp_wait(&future, 1, MP_FIRST_EXCEPTION, MP_FOREVER).done, 1));
    mp_as_completed *each = mp_as_completed_new(&future, 1, MP_FOREVER);
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    cr_assert(eq(ptr, one, future));
    mp_as_completed_free(&each);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

static mp_status bad_text(const int *in, mp_str *out, mp_call *call)
{
    (void)call;
    *out = *in ? (mp_str){"\xff\xfe", 2} : (mp_str){"good", 4};
    return MP_OK;
}
MP_TASK(bad_text, int, mp_str);

EACH_PROCESS_KIND(submit, what_cannot_be_encoded__fails_its_future_only)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_str text;
    mp_future *futures[3] = {SUBMIT(executor, bad_text, 1), mp_submit(executor, append, (&(mp_str){"\xff", 1})),
                             SUBMIT(executor, bad_text, 0)};
    EXPECT_STATUS(futures[0], MP_EENCODING);
    EXPECT_STATUS(futures[1], MP_EENCODING);
    cr_assert(eq(int, mp_future_result(futures[2], &text, PROMPT), MP_OK));
    cr_assert(is_str(&text, "good"));
    free_futures(futures, 3);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(submit, what_cannot_be_encoded__does_not_hold_up_a_shutdown)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = mp_submit(executor, append, (&(mp_str){"\xff", 1}));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, false), MP_OK));
    EXPECT_STATUS(future, MP_EENCODING);
    mp_executor_free(&executor);
    mp_future_free(&future);
}

EVERY_KIND(submit, of_no_input_and_no_result__works)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_str text = {0};
    mp_future *future = mp_submit(executor, append, &text);
    cr_assert(eq(int, mp_future_result(future, &text, PROMPT), MP_OK));
    cr_assert(is_str(&text, "and so on"));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

/* ---- a task that submits ---- */

static mp_executor *shared;

static mp_status submit_and_wait(const int *in, int *out, mp_call *call)
{
    mp_future *inner = SUBMIT(shared, mark, *in);
    mp_status status = mp_future_result(inner, out, PROMPT);
    if (status != MP_OK)
        (void)mp_fail(call, status, "%s", mp_future_exception(inner, 0)->message);
    mp_future_free(&inner);
    return status;
}
MP_TASK(submit_and_wait, int, int);

ON_THREADS(submit, and_wait_in_a_task__works_while_a_thread_is_free)
{
    shared = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *future = SUBMIT(shared, submit_and_wait, 1);
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&shared);
}

ON_THREADS(submit, and_wait_on_the_last_thread__is_refused_instead_of_a_deadlock)
{
    shared = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(shared, submit_and_wait, 1);
    EXPECT_STATUS(future, MP_EDEADLK);
    mp_future_free(&future);
    mp_executor_free(&shared);
    cr_assert(eq(int, the_board()->times[1], 1), "the inner one ran all the same");
}

/* 0: wait; 1: as completed; 2: shutdown; 3: submit only. */
static mp_status wait_inside(const int *in, int *out, mp_call *call)
{
    mp_future *inner = SUBMIT(shared, mark, 7), *one = NULL;
    (void)call;
    *out = MP_OK;
    if (*in == 0)
        *out = (int)mp_wait(&inner, 1, MP_ALL_COMPLETED, PROMPT).status;
    mp_as_completed *each = mp_as_completed_new(&inner, 1, PROMPT);
    if (*in == 1)
        *out = (int)mp_as_completed_next(each, &one);
    if (*in == 2)
        *out = (int)mp_executor_shutdown(shared, true, false);
    mp_as_completed_free(&each);
    mp_future_free(&inner);
    return MP_OK;
}
MP_TASK(wait_inside, int, int);

ON_THREADS(submit, other_waits_on_the_last_thread__are_refused_too)
{
    static const int answers[4] = {MP_EDEADLK, MP_EDEADLK, MP_EDEADLK, MP_OK};
    for (int i = 0; i < 4; i++) {
        shared = OPEN_EXECUTOR(.max_workers = 1);
        mp_future *future = SUBMIT(shared, wait_inside, i);
        EXPECT_RESULT(future, answers[i]);
        mp_future_free(&future);
        mp_executor_free(&shared);
        cr_assert(eq(int, the_board()->times[7], i + 1));
    }
}

static mp_status free_inside(const int *in, int *out, mp_call *call)
{
    (void)call;
    mp_executor_free(&shared);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(free_inside, int, int);

ON_THREADS(submit, task_that_frees_its_executor__ends_well)
{
    shared = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *future = SUBMIT(shared, free_inside, 1);
    EXPECT_RESULT(future, 2);
    cr_assert(zero(ptr, shared));
    mp_future_free(&future);
}

/* ---- MP_WITH_EXECUTOR ---- */

EVERY_KIND(with, block__waits_for_what_was_submitted)
{
    mp_future *futures[N];
    MP_WITH_EXECUTOR (executor, OPTIONS, .max_workers = 2) {
        for (int i = 0; i < N; i++)
            futures[i] = SUBMIT(executor, mark, i);
    }
    for (int i = 0; i < N; i++) {
        cr_assert(mp_future_done(futures[i]));
        EXPECT_RESULT(futures[i], i + 1);
    }
    free_futures(futures, N);
}

static mp_future *leave_by_return(void)
{
    MP_WITH_EXECUTOR (executor, OPTIONS, .max_workers = 1)
        return SUBMIT(executor, mark, 1);
    return NULL;
}

EVERY_KIND(with, left_by_break_and_return__waits_too)
{
    mp_future *future = NULL;
    MP_WITH_EXECUTOR (executor, OPTIONS, .max_workers = 1) {
        future = SUBMIT(executor, mark, 1);
        break;
    }
    cr_assert(mp_future_done(future));
    mp_future_free(&future);
    future = leave_by_return();
    cr_assert(mp_future_done(future));
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
}

EVERY_KIND(with, executor_that_cannot_be__skips_the_block)
{
    mp_error error;
    bool entered = false;
    MP_WITH_EXECUTOR (executor, OPTIONS, .max_workers = -1, .error = &error)
        entered = executor;
    cr_assert(not(entered));
    cr_assert(eq(int, error.status, MP_EINVAL));
}

/* ---- what is left of one that was freed ---- */

EVERY_KIND(left, futures__are_done_and_answer)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N], *one = NULL;
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    mp_executor_free(&executor);
    for (int i = 0; i < N; i++) {
        cr_assert(mp_future_done(futures[i]));
        cr_assert(not(mp_future_running(futures[i])));
        cr_assert(not(mp_future_cancel(futures[i])));
        EXPECT_RESULT(futures[i], i + 1);
    }
    cr_assert(eq(sz, mp_wait(futures, N, MP_ALL_COMPLETED, 0).done, N));
    mp_as_completed *each = mp_as_completed_new(futures, N, 0);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_as_completed_next(each, &one), MP_OK));
    cr_assert(eq(int, mp_as_completed_next(each, &one), MP_END));
    mp_as_completed_free(&each);
    free_futures(futures, N);
}

EVERY_KIND(left, as_completed__holds_its_futures)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N], *one = NULL;
    int sum = 0;
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    mp_as_completed *each = mp_as_completed_new(futures, N, PROMPT);
    free_futures(futures, N);
    mp_executor_free(&executor);
    while (mp_as_completed_next(each, &one) == MP_OK) {
        int got = 0;
        cr_assert(eq(int, mp_future_result(one, &got, 0), MP_OK));
        sum += got;
    }
    cr_assert(eq(int, sum, N *(N + 1) / 2));
    mp_as_completed_free(&each);
}
