/* What goes wrong below an executor: workers that crash, with and without `.break_on_crash`, while they run something or idle, and in
 * the middle of a large result; initializers that fail or crash, in the first worker and in later ones. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include <pthread.h>

TestSuite(crash, .timeout = 60);
TestSuite(breaks, .timeout = 60);
TestSuite(initializer, .timeout = 60);

enum { N = 20 };

static mp_pool_stats executor_stats(mp_executor *executor)
{
    return stats_of(mp_executor_pool(executor));
}

/* ---- a crash costs its task ---- */

EACH_PROCESS_KIND(crash, of_some__fails_these_and_nothing_else)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, die, i % 5 == 0 ? i : -10 - i);
    for (int i = 0; i < N; i++) {
        if (i % 5) {
            EXPECT_RESULT(futures[i], -9 - i);
            continue;
        }
        EXPECT_STATUS(futures[i], MP_ECRASHED);
        const mp_error *error = mp_future_exception(futures[i], 0);
        cr_assert(eq(int, error->signal, i ? 0 : SIGKILL));
        cr_assert(eq(int, error->exit_code, i ? i : -1));
        cr_assert(ne(int, error->pid, 0));
        cr_assert(eq(str, (char *)error->task, (char *)"die"));
    }
    cr_assert(eq(ulong, executor_stats(executor).lost, N / 5));
    mp_future *after = SUBMIT(executor, mark, 1);
    EXPECT_RESULT(after, 2);
    mp_future_free(&after);
    free_futures(futures, N);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(crash, with_exit_code_zero__is_one_too)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *leaves = SUBMIT(executor, die, 256); /* as an exit code: 0 */
    EXPECT_STATUS(leaves, MP_ECRASHED);
    cr_assert(zero(int, mp_future_exception(leaves, 0)->exit_code));
    mp_future_free(&leaves);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(crash, while_others_run_and_wait__does_not_touch_them)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    mp_future *held = SUBMIT(executor, latch, 100), *futures[N];
    cr_assert(SOON(the_board()->begun == 1));
    mp_future *dies = SUBMIT(executor, die, 0);
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    EXPECT_STATUS(dies, MP_ECRASHED);
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(mp_future_running(held));
    LET_ALL_GO();
    EXPECT_RESULT(held, 101);
    mp_executor_free(&executor);
    cr_assert(eq(sz, board_find_other(N, 1), N));
    free_futures(futures, N);
    mp_future_free(&dies);
    mp_future_free(&held);
}

EACH_PROCESS_KIND(crash, of_an_idle_worker__fails_nothing)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int worker = 0;
    mp_future *future = SUBMIT(executor, tell_worker, 0);
    cr_assert(eq(int, mp_future_result(future, &worker, PROMPT), MP_OK));
    cr_assert(proc_signal_child(proc_only_child(), worker, SIGKILL));
    cr_assert(SOON(executor_stats(executor).lost == 1));
    mp_future_free(&future);
    future = SUBMIT(executor, mark, 1);
    EXPECT_RESULT(future, 2);
    mp_future_free(&future);
    mp_executor_free(&executor);
}

static void *kill_soon(void *argument)
{
    nap_us(500);
    kill(getpid(), SIGKILL);
    return argument;
}

/* A text of 8 MiB, and killed while it is on its way: the pipe holds 64 KiB. */
static mp_status large_then_killed(const int *in, mp_str *out, mp_call *call)
{
    enum { SIZE = 8 << 20 };
    char *text = mp_call_alloc(call, SIZE);
    if (!text)
        return MP_ENOMEM;
    memset(text, 'x', SIZE);
    *out = (mp_str){text, SIZE};
    pthread_t thread;
    return *in && pthread_create(&thread, NULL, kill_soon, NULL) ? MP_ESYSTEM : MP_OK;
}
MP_TASK(large_then_killed, int, mp_str);

/* Python waits for the rest for ever. What it may be is any of these: the kill may come before, in the middle of, or after it. */
EACH_PROCESS_KIND(crash, in_the_middle_of_a_large_result__ends_it_and_the_next_works)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    for (int i = 0; i < ROUNDS(8); i++) {
        mp_future *future = SUBMIT(executor, large_then_killed, 1), *next = SUBMIT(executor, mark, i);
        mp_status status = mp_future_result(future, NULL, PROMPT);
        cr_assert(status == MP_OK || status == MP_ECRASHED || status == MP_ELOST, "%s", mp_status_name(status));
        status = mp_future_result(next, NULL, PROMPT);
        cr_assert(status == MP_OK || status == MP_ECRASHED, "%s", mp_status_name(status));
        mp_future_free(&future);
        mp_future_free(&next);
    }
    mp_executor_free(&executor);
}

/* ---- break_on_crash ---- */

/* When the gate is open. */
static mp_status die_later(const int *in, int *out, mp_call *call)
{
    item_begin(*in);
    while (!the_board()->gate)
        nap_us(200);
    return die(&(int){0}, out, call);
}
MP_TASK(die_later, int, int);

EACH_PROCESS_KIND(breaks, on_a_crash__what_has_no_result_says_so)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .break_on_crash = true);
    mp_future *before = SUBMIT(executor, mark, 90), *futures[N];
    heard ears[N] = {0};
    EXPECT_RESULT(before, 91);
    for (int i = 0; i < N; i++) {
        futures[i] = i == 1 ? SUBMIT(executor, die_later, i) : SUBMIT(executor, latch, i);
        cr_assert(eq(int, mp_future_add_done_callback(futures[i], hear, &ears[i]), MP_OK));
        cr_assert(SOON(i > 1 || the_board()->begun == i + 2));
    }
    the_board()->gate = 1;
    for (int i = 0; i < N; i++) {
        mp_status status = mp_future_result(futures[i], NULL, PROMPT);
        if (i != 1 || status != MP_ECRASHED) /* the one that crashed may say more */
            cr_assert(eq(int, status, MP_EBROKEN), "%d: %s", i, mp_status_name(status));
        cr_assert(mp_future_exception(futures[i], 0)->message[0] != 0);
    }
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_EBROKEN);
    EXPECT_RESULT(before, 91);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    mp_executor_free(&executor);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, ears[i].times, 1));
    cr_assert(eq(int, the_board()->begun, 3), "nothing more was started");
    free_futures(futures, N);
    mp_future_free(&before);
}

EACH_PROCESS_KIND(breaks, when_an_idle_worker_dies)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true);
    int worker = 0;
    mp_future *future = SUBMIT(executor, tell_worker, 0);
    cr_assert(eq(int, mp_future_result(future, &worker, PROMPT), MP_OK));
    cr_assert(proc_signal_child(proc_only_child(), worker, SIGKILL));
    cr_assert(SOON(executor_stats(executor).lost == 1));
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_EBROKEN);
    mp_executor_free(&executor);
    mp_future_free(&future);
}

EACH_PROCESS_KIND(breaks, when_a_worker_dies_for_a_map)
{
    for (int i = 0; i < 2; i++) {
        mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true);
        int items[3] = {-1, 0, -2}, results[3];
        if (i) {
            mp_iter *iter = mp_executor_map(executor, die, items, 3);
            cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
            cr_assert(ne(int, mp_iter_next(iter, results, PROMPT), MP_OK));
            mp_iter_free(&iter);
        } else {
            cr_assert(ne(int, mp_pool_map(mp_executor_pool(executor), die, items, 3, results), MP_OK));
        }
        EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_EBROKEN);
        mp_executor_free(&executor);
    }
}

EACH_PROCESS_KIND(breaks, not__when_a_task_only_fails_or_a_worker_is_replaced)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true, .max_tasks_per_child = 2);
    mp_future *futures[6];
    for (int i = 0; i < 6; i++)
        futures[i] = SUBMIT(executor, mark, i % 2 ? i : -i - 1);
    for (int i = 0; i < 6; i++)
        EXPECT_STATUS(futures[i], i % 2 ? MP_OK : MP_EUSER + i + 1);
    free_futures(futures, 6);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(breaks, and_is_ended_by_force__is_fine)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .break_on_crash = true);
    mp_future *future = SUBMIT(executor, die, 1);
    mp_status status = mp_future_result(future, NULL, PROMPT);
    cr_assert(status == MP_ECRASHED || status == MP_EBROKEN, "%s", mp_status_name(status));
    cr_assert(eq(int, mp_executor_terminate_workers(executor), MP_OK));
    cr_assert(eq(int, mp_executor_kill_workers(executor), MP_OK));
    mp_executor_free(&executor);
    mp_future_free(&future);
}

/* ---- initializers ---- */

/* Fails from the *in-th life on. */
static mp_status come_in_vain(const int *in, mp_none *out, mp_call *call)
{
    (void)out;
    return ++the_board()->lives >= *in ? mp_fail(call, MP_EUSER + 3, "no model for life %d", *in) : MP_OK;
}
MP_TASK(come_in_vain, int, mp_none);

EVERY_KIND(initializer, that_fails_in_the_first_worker__fails_the_opening)
{
    mp_executor *executor = (mp_executor *)&how;
    mp_error error = {0};
    mp_executor_options options = {OPTIONS, .max_workers = 4, .initializer = MP_HOOK(come_in_vain, (&(int){1})),
                                   .error = &error};
    cr_assert(eq(int, mp_executor_open_with(&executor, &options), MP_EUSER + 3));
    cr_assert(zero(ptr, executor));
    cr_assert(says(&error, "no model for life 1"), "%s", error.message);
    cr_assert(eq(int, error.status, MP_EUSER + 3));
}

static mp_status come_and_die(const int *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    if (++the_board()->lives >= *in)
        _exit(9);
    return MP_OK;
}
MP_TASK(come_and_die, int, mp_none);

EACH_PROCESS_KIND(initializer, that_crashes_in_the_first_worker__fails_the_opening)
{
    mp_executor *executor = (mp_executor *)&how;
    mp_error error = {0};
    mp_executor_options options = {OPTIONS, .max_workers = 4, .initializer = MP_HOOK(come_and_die, (&(int){1})),
                                   .error = &error};
    cr_assert(ne(int, mp_executor_open_with(&executor, &options), MP_OK));
    cr_assert(zero(ptr, executor));
    cr_assert(ne(int, error.status, MP_OK));
    cr_assert(error.message[0] != 0);
}

EACH_KIND(initializer, that_fails_in_a_later_worker__breaks_it_with_the_message)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3, .initializer = MP_HOOK(come_in_vain, (&(int){2})));
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    for (int i = 1; i < N; i++) {
        EXPECT_STATUS(futures[i], MP_EBROKEN);
        cr_assert(says(mp_future_exception(futures[i], 0), "no model for life 2"), "%s",
                  mp_future_exception(futures[i], 0)->message);
    }
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_EBROKEN);
    LET_ALL_GO();
    mp_status status = mp_future_result(futures[0], NULL, PROMPT); /* a thread finishes what it runs, a process need not */
    cr_assert(status == MP_EBROKEN || (on_threads() && status == MP_OK), "%s", mp_status_name(status));
    mp_executor_free(&executor);
    cr_assert(le(int, the_board()->begun, 1));
    free_futures(futures, N);
}

EACH_PROCESS_KIND(initializer, that_crashes_in_a_later_worker__breaks_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .initializer = MP_HOOK(come_and_die, (&(int){2})));
    mp_future *held = SUBMIT(executor, latch, 0), *future = SUBMIT(executor, latch, 1);
    EXPECT_STATUS(future, MP_EBROKEN);
    EXPECT_STATUS(held, MP_EBROKEN);
    EXPECT_REFUSED(SUBMIT(executor, mark, 1), MP_EBROKEN);
    mp_executor_free(&executor);
    mp_future_free(&held);
    mp_future_free(&future);
}

EACH_PROCESS_KIND(initializer, that_fails_in_a_replacement__breaks_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .initializer = MP_HOOK(come_in_vain, (&(int){2})));
    mp_future *dies = SUBMIT(executor, die, 0), *future = SUBMIT(executor, mark, 1);
    EXPECT_STATUS(dies, MP_ECRASHED);
    EXPECT_STATUS(future, MP_EBROKEN);
    mp_executor_free(&executor);
    mp_future_free(&dies);
    mp_future_free(&future);
}

/* gh-83285 and others: what is broken still shuts down. */
EACH_KIND(initializer, that_broke_it__does_not_hold_up_waits_and_shutdowns)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .initializer = MP_HOOK(come_in_vain, (&(int){2})));
    mp_future *futures[N], *one = NULL;
    int seen = 0;
    futures[0] = SUBMIT(executor, hold_or_see, 0);
    for (int i = 1; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    mp_as_completed *each = mp_as_completed_new(futures + 1, N - 1, PROMPT);
    while (mp_as_completed_next(each, &one) == MP_OK)
        seen++;
    cr_assert(eq(int, seen, N - 1));
    cr_assert(eq(int, mp_wait(futures + 1, N - 1, MP_FIRST_EXCEPTION, PROMPT).status, MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_executor_shutdown(executor, true, true), MP_OK));
    cr_assert(mp_future_done(futures[0]));
    mp_as_completed_free(&each);
    mp_executor_free(&executor);
    free_futures(futures, N);
}
