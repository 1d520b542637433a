/* Done callbacks: when, where, in which order, how often; what may be done inside one. On every kind, and on futures of one's own. */
#include "tests/lib/futures.h"
#include <errno.h>
#include <pthread.h>

TestSuite(callback, .timeout = 60);
TestSuite(inside, .timeout = 60);
TestSuite(own, .timeout = 60);

enum { N = 20 };

#define LISTEN(future, ear) cr_assert(eq(int, mp_future_add_done_callback(future, hear, ear), MP_OK))

/* Called once, when it was done, in this process. */
static bool heard_well(const heard *ear)
{
    return ear->times == 1 && !ear->not_done && ear->process == getpid();
}

/* ---- when, where, how often ---- */

EACH_KIND(callback, of_each_outcome__runs_once_when_it_is_done)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[3] = {0};
    mp_future *futures[3] = {SUBMIT(executor, latch, 0), SUBMIT(executor, mark, -3), SUBMIT(executor, mark, 5)};
    for (int i = 0; i < 3; i++)
        LISTEN(futures[i], &ears[i]);
    cr_assert(mp_future_cancel(futures[2]));
    cr_assert(SOON(ears[2].times == 1));
    cr_assert(zero(int, ears[0].times + ears[1].times), "they are not done");
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int i = 0; i < 3; i++) {
        cr_assert(heard_well(&ears[i]));
        cr_assert(eq(ulong, ears[i].future, (uintptr_t)futures[i]));
    }
    free_futures(futures, 3);
}

EACH_PROCESS_KIND(callback, of_a_crash__runs_once)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ear = {0};
    mp_future *future = SUBMIT(executor, die, 3);
    LISTEN(future, &ear);
    mp_executor_free(&executor);
    cr_assert(heard_well(&ear));
    EXPECT_STATUS(future, MP_ECRASHED);
    mp_future_free(&future);
}

EACH_KIND(callback, several_of_one_future__run_in_the_order_they_were_added)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[N] = {0};
    heard_all = 0;
    mp_future *future = SUBMIT(executor, latch, 0);
    for (int i = 0; i < N; i++)
        LISTEN(future, &ears[i]);
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int i = 0; i < N; i++) {
        cr_assert(heard_well(&ears[i]));
        cr_assert(eq(int, ears[i].order, i + 1));
        cr_assert(eq(int, ears[i].thread, ears[0].thread));
    }
    mp_future_free(&future);
}

EACH_KIND(callback, added_twice__runs_twice)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ear = {0};
    mp_future *future = SUBMIT(executor, latch, 0);
    LISTEN(future, &ear);
    LISTEN(future, &ear);
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, ear.times, 2));
    mp_future_free(&future);
}

static mp_status tell_thread(const int *in, int *out, mp_call *call)
{
    (void)call;
    while (the_board()->word[LET] <= *in)
        nap_us(200);
    *out = (int)gettid();
    return MP_OK;
}
MP_TASK(tell_thread, int, int);

EACH_KIND(callback, of_an_executors_future__runs_on_one_thread_that_is_nobody_elses)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    heard ears[N] = {0};
    mp_future *futures[N];
    for (int i = 0; i < N; i++) {
        futures[i] = SUBMIT(executor, tell_thread, 0);
        LISTEN(futures[i], &ears[i]);
    }
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int i = 0; i < N; i++) {
        int worker = 0;
        cr_assert(eq(int, mp_future_result(futures[i], &worker, 0), MP_OK));
        cr_assert(heard_well(&ears[i]));
        cr_assert(eq(int, ears[i].thread, ears[0].thread));
        cr_assert(ne(int, ears[i].thread, (int)gettid()));
        cr_assert(ne(int, ears[i].thread, worker));
    }
    free_futures(futures, N);
}

EVERY_KIND(callback, added_when_it_is_done__runs_now_on_this_thread)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[4] = {0};
    mp_future *future = SUBMIT(executor, mark, 1), *failed = SUBMIT(executor, mark, -1);
    EXPECT_RESULT(future, 2);
    EXPECT_STATUS(failed, MP_EUSER + 1);
    LISTEN(future, &ears[0]);
    LISTEN(failed, &ears[1]);
    mp_executor_free(&executor);
    LISTEN(future, &ears[2]);
    LISTEN(failed, &ears[3]);
    for (int i = 0; i < 4; i++) {
        cr_assert(heard_well(&ears[i]));
        cr_assert(eq(int, ears[i].thread, (int)gettid()));
    }
    mp_future_free(&future);
    mp_future_free(&failed);
}

static _Atomic int callback_gate;

static void wait_for_gate(mp_future *future, void *user)
{
    hear(future, user);
    while (!callback_gate)
        nap_us(200);
}

EACH_KIND(callback, that_is_slow__does_not_hold_up_results)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard slow = {0}, later = {0};
    callback_gate = 0;
    mp_future *future = SUBMIT(executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(future, wait_for_gate, &slow), MP_OK));
    LISTEN(future, &later);
    LET_ALL_GO();
    EXPECT_RESULT(future, 1);
    cr_assert(SOON(slow.times == 1));
    for (int i = 0; i < N; i++) {
        mp_future *other = SUBMIT(executor, mark, i);
        EXPECT_RESULT(other, i + 1);
        mp_future_free(&other);
    }
    cr_assert(zero(int, later.times));
    callback_gate = 1;
    mp_executor_free(&executor);
    cr_assert(heard_well(&later));
    mp_future_free(&future);
}

EACH_KIND(callback, added_while_others_run__runs_behind_them)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard first = {0}, second = {0};
    callback_gate = heard_all = 0;
    mp_future *future = SUBMIT(executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(future, wait_for_gate, &first), MP_OK));
    LET_ALL_GO();
    cr_assert(SOON(first.times == 1));
    LISTEN(future, &second);
    cr_assert(zero(int, second.times), "not everything of it is over");
    callback_gate = 1;
    mp_executor_free(&executor);
    cr_assert(heard_well(&second));
    cr_assert(eq(int, second.order, 2));
    mp_future_free(&future);
}

EACH_KIND(callback, of_futures_that_shutdown_cancels__runs_before_it_returns)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    heard ears[N] = {0};
    mp_future *futures[N];
    for (int i = 0; i < N; i++) {
        futures[i] = SUBMIT(executor, latch, i);
        LISTEN(futures[i], &ears[i]);
    }
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    for (int i = 1; i < N; i++)
        cr_assert(mp_future_cancelled(futures[i]));
    LET_ALL_GO();
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    for (int i = 0; i < N; i++)
        cr_assert(heard_well(&ears[i]));
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* ---- what may be done inside ---- */

typedef struct inside {
    mp_executor *executor;
    mp_future *future, *other; /* handles of one's own */
    _Atomic int status, value, over;
    heard ear;
} inside;

static void start_inside(inside *me, void (*callback)(mp_future *, void *))
{
    me->future = SUBMIT(me->executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(me->future, callback, me), MP_OK));
    LET_GO(1);
}

static void free_it(mp_future *future, void *user)
{
    inside *me = user;
    mp_future_free(&me->future);
    me->value = mp_future_done(future); /* borrowed until this returns */
    me->over = 1;
}

EACH_KIND(inside, future_is_freed__is_fine)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1)};
    start_inside(&me, free_it);
    mp_executor_free(&me.executor);
    cr_assert(zero(ptr, me.future));
    cr_assert(eq(int, me.value, 1));
}

static void keep_it(mp_future *future, void *user)
{
    ((inside *)user)->other = mp_future_ref(future);
}

EACH_KIND(inside, future_is_kept__outlives_the_callback)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1)};
    start_inside(&me, keep_it);
    mp_future_free(&me.future);
    mp_executor_free(&me.executor);
    EXPECT_RESULT(me.other, 1);
    mp_future_free(&me.other);
}

static void listen_again(mp_future *future, void *user)
{
    inside *me = user;
    me->status = (int)mp_future_add_done_callback(future, hear, &me->ear);
}

EACH_KIND(inside, another_callback_is_added__runs_too)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1), .status = -1};
    start_inside(&me, listen_again);
    mp_executor_free(&me.executor);
    cr_assert(zero(int, me.status));
    cr_assert(heard_well(&me.ear));
    mp_future_free(&me.future);
}

static void submit_and_wait(mp_future *future, void *user)
{
    inside *me = user;
    int got = 0;
    (void)future;
    me->other = SUBMIT(me->executor, mark, 30);
    me->status = (int)mp_future_result(me->other, &got, PROMPT);
    me->value = got;
    me->over = 1;
}

EACH_KIND(inside, more_is_submitted_and_waited_for__works)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1), .status = -1};
    start_inside(&me, submit_and_wait);
    cr_assert(SOON(me.over));
    mp_executor_free(&me.executor);
    cr_assert(zero(int, me.status));
    cr_assert(eq(int, me.value, 31));
    mp_future_free(&me.other);
    mp_future_free(&me.future);
}

static void wait_for_several(mp_future *future, void *user)
{
    inside *me = user;
    mp_future *both[2] = {future, SUBMIT(me->executor, mark, 30)}, *one = NULL;
    mp_wait_result result = mp_wait(both, 2, MP_ALL_COMPLETED, PROMPT);
    mp_as_completed *each = mp_as_completed_new(both, 2, PROMPT);
    me->value = (int)result.done;
    while (mp_as_completed_next(each, &one) == MP_OK)
        me->value++;
    mp_as_completed_free(&each);
    mp_future_free(&both[1]);
    me->status = (int)result.status;
    me->over = 1;
}

EACH_KIND(inside, several_are_waited_for__works)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1), .status = -1};
    start_inside(&me, wait_for_several);
    cr_assert(SOON(me.over));
    mp_executor_free(&me.executor);
    cr_assert(zero(int, me.status));
    cr_assert(eq(int, me.value, 4));
    mp_future_free(&me.future);
}

static void cancel_other(mp_future *future, void *user)
{
    inside *me = user;
    (void)future;
    me->value = mp_future_cancel(me->other);
    me->over = 1;
}

EACH_KIND(inside, another_is_cancelled__never_starts)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1)};
    mp_future *first = SUBMIT(me.executor, mark, 8);
    EXPECT_RESULT(first, 9);
    me.future = SUBMIT(me.executor, latch, 0);
    mp_future *middle = SUBMIT(me.executor, latch, 1);
    me.other = SUBMIT(me.executor, latch, 2);
    cr_assert(eq(int, mp_future_add_done_callback(me.future, cancel_other, &me), MP_OK));
    LET_GO(1);
    cr_assert(SOON(me.over));
    LET_ALL_GO();
    mp_executor_free(&me.executor);
    cr_assert(eq(int, me.value, 1));
    cr_assert(zero(int, the_board()->times[2]));
    cr_assert(mp_future_cancelled(me.other));
    EXPECT_RESULT(middle, 2);
    mp_future *all[4] = {first, me.future, middle, me.other};
    free_futures(all, 4);
}

static void shut_down(mp_future *future, void *user)
{
    inside *me = user;
    (void)future;
    me->status = (int)mp_executor_shutdown(me->executor, true, false);
    me->over = 1;
}

EACH_KIND(inside, executor_is_shut_down__does_not_wait_for_itself)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1), .status = -1};
    me.future = SUBMIT(me.executor, latch, 0);
    me.other = SUBMIT(me.executor, latch, 5);
    cr_assert(eq(int, mp_future_add_done_callback(me.future, shut_down, &me), MP_OK));
    LET_GO(1);
    cr_assert(SOON(me.over), "it waits");
    cr_assert(eq(int, me.status, MP_EDEADLK));
    EXPECT_REFUSED(SUBMIT(me.executor, mark, 1), MP_ECLOSED);
    LET_ALL_GO();
    EXPECT_RESULT(me.other, 6);
    mp_executor_free(&me.executor);
    mp_future_free(&me.other);
    mp_future_free(&me.future);
}

static void free_executor(mp_future *future, void *user)
{
    inside *me = user;
    mp_executor_free(&me->executor);
    me->value = mp_future_done(future);
    me->over = 1;
}

EACH_KIND(inside, executor_is_freed__what_it_has_goes_on)
{
    inside me = {.executor = OPEN_EXECUTOR(.max_workers = 1)};
    me.future = SUBMIT(me.executor, latch, 0);
    me.other = SUBMIT(me.executor, latch, 5);
    LISTEN(me.other, &me.ear);
    cr_assert(eq(int, mp_future_add_done_callback(me.future, free_executor, &me), MP_OK));
    LET_GO(1);
    cr_assert(SOON(me.over), "it waits");
    cr_assert(zero(ptr, me.executor));
    cr_assert(not(mp_future_done(me.other)));
    LET_ALL_GO();
    EXPECT_RESULT(me.other, 6);
    cr_assert(SOON(me.ear.times == 1));
    mp_future_free(&me.other);
    mp_future_free(&me.future);
}

static void *free_from_outside(void *argument)
{
    mp_executor_free((mp_executor **)argument);
    return NULL;
}

EACH_KIND(inside, executor_is_freed_elsewhere_meanwhile__that_waits_for_the_callback)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    pthread_t thread;
    heard ear = {0};
    callback_gate = 0;
    mp_future *future = SUBMIT(executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(future, wait_for_gate, &ear), MP_OK));
    LET_ALL_GO();
    cr_assert(SOON(ear.times == 1));
    cr_assert(zero(int, pthread_create(&thread, NULL, free_from_outside, &executor)));
    cr_assert(eq(int, pthread_tryjoin_np(thread, NULL), EBUSY));
    callback_gate = 1;
    pthread_join(thread, NULL);
    cr_assert(zero(ptr, executor));
    mp_future_free(&future);
}

/* ---- of futures of one's own ---- */

CHECK(own, set_result__runs_them_on_this_thread_before_it_returns)
{
    mp_future *future = mp_future_new(int);
    heard ears[3] = {0};
    heard_all = 0;
    for (int i = 0; i < 3; i++)
        LISTEN(future, &ears[i]);
    cr_assert(eq(int, mp_future_set_result(future, &(int){1}), MP_OK));
    for (int i = 0; i < 3; i++) {
        cr_assert(heard_well(&ears[i]));
        cr_assert(eq(int, ears[i].order, i + 1));
        cr_assert(eq(int, ears[i].thread, (int)gettid()));
    }
    mp_future_free(&future);
}

CHECK(own, set_exception__runs_them_on_this_thread)
{
    mp_future *future = mp_future_new(int);
    mp_error error = error_of(MP_EUSER, "no");
    heard ear = {0};
    LISTEN(future, &ear);
    cr_assert(eq(int, mp_future_set_exception(future, &error), MP_OK));
    cr_assert(heard_well(&ear));
    cr_assert(eq(int, ear.thread, (int)gettid()));
    mp_future_free(&future);
}

CHECK(own, cancel__runs_them_on_this_thread_once)
{
    mp_future *future = mp_future_new(int);
    heard ear = {0};
    LISTEN(future, &ear);
    cr_assert(mp_future_cancel(future));
    cr_assert(heard_well(&ear));
    cr_assert(eq(int, ear.thread, (int)gettid()));
    cr_assert(mp_future_cancel(future));
    cr_assert(not(mp_future_set_running_or_notify_cancel(future)));
    cr_assert(eq(int, ear.times, 1));
    mp_future_free(&future);
}

static void finish_other(mp_future *future, void *user)
{
    (void)future;
    (void)mp_future_set_result((mp_future *)user, &(int){7});
}

CHECK(own, callback_that_finishes_the_next__passes_a_chain)
{
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = mp_future_new(int);
    for (int i = 0; i + 1 < N; i++)
        cr_assert(eq(int, mp_future_add_done_callback(futures[i], finish_other, futures[i + 1]), MP_OK));
    cr_assert(eq(int, mp_future_set_result(futures[0], &(int){7}), MP_OK));
    EXPECT_RESULT(futures[N - 1], 7);
    free_futures(futures, N);
}

static void leave_thread(mp_future *future, void *user)
{
    hear(future, user);
    pthread_exit(NULL);
}

static void *end_it(void *future)
{
    mp_future_set_result(future, &(int){1});
    return NULL;
}

CHECK(own, that_end_their_thread__are_over_and_the_others_run)
{
    mp_future *future = mp_future_new(int);
    heard ears[5] = {0};
    pthread_t thread;
    heard_all = 0;
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, mp_future_add_done_callback(future, i % 2 ? hear : leave_thread, &ears[i]), MP_OK));
    cr_assert(zero(int, pthread_create(&thread, NULL, end_it, future)));
    pthread_join(thread, NULL);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, ears[i].order, i + 1));
    LISTEN(future, &ears[4]);
    cr_assert(eq(int, ears[4].order, 5));
    mp_future_free(&future);
}

CHECK(own, freed_undone__hear_that_it_is_cancelled)
{
    mp_future *future = mp_future_new(int);
    heard ears[2] = {0};
    for (int i = 0; i < 2; i++)
        LISTEN(future, &ears[i]);
    cr_assert(mp_future_set_running_or_notify_cancel(future));
    mp_future_free(&future);
    for (int i = 0; i < 2; i++)
        cr_assert(eq(int, ears[i].times, 1));
}

EACH_KIND(callback, that_end_their_thread__are_over_and_the_others_run)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[3];
    heard ears[3][4] = {0};
    heard_all = 0;
    for (int k = 0; k < 3; k++) {
        futures[k] = SUBMIT(executor, latch, k);
        for (int i = 0; i < 4; i++)
            cr_assert(eq(int, mp_future_add_done_callback(futures[k], i % 2 ? hear : leave_thread, &ears[k][i]), MP_OK));
    }
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 4; i++)
            cr_assert(eq(int, ears[k][i].times, 1));
    free_futures(futures, 3);
}
