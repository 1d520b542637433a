/* `.max_queue`: how many futures of an executor may be not done; what a submit does when there are so many, on every kind. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"
#include <pthread.h>

TestSuite(queue, .timeout = 60);

enum { ROOM = 3, N = 100 };

static void fill_up(mp_executor *executor, mp_future **futures)
{
    for (int i = 0; i < ROOM; i++)
        futures[i] = mp_submit(executor, latch, (&(int){i}), .nowait = true);
    for (int i = 0; i < ROOM; i++)
        cr_assert(not(mp_future_done(futures[i])));
}

EACH_KIND(queue, that_is_full__refuses_who_does_not_wait)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM);
    mp_future *futures[ROOM];
    fill_up(executor, futures);
    for (int i = 0; i < 10; i++)
        EXPECT_REFUSED(mp_submit(executor, mark, (&(int){70}), .nowait = true), MP_EFULL);
    LET_ALL_GO();
    mp_executor_free(&executor);
    for (int i = 0; i < ROOM; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(zero(int, the_board()->times[70]));
    free_futures(futures, ROOM);
}

EACH_KIND(queue, that_is_full__refuses_who_has_waited_long_enough)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM);
    mp_future *futures[ROOM];
    fill_up(executor, futures);
    EXPECT_REFUSED(mp_submit(executor, mark, (&(int){70}), .room_timeout = 0.02), MP_EFULL);
    LET_ALL_GO();
    mp_future *later = mp_submit(executor, mark, (&(int){71}), .room_timeout = PROMPT);
    EXPECT_RESULT(later, 72);
    mp_future_free(&later);
    mp_executor_free(&executor);
    cr_assert(zero(int, the_board()->times[70]));
    free_futures(futures, ROOM);
}

typedef struct submitter {
    mp_executor *executor;
    _Atomic(mp_future *) future;
} submitter;

static void *submit_one(void *argument)
{
    submitter *me = argument;
    me->future = SUBMIT(me->executor, mark, 70);
    return NULL;
}

/* Fills the executor and has one more submitted by a thread, which now waits for room, or soon will. */
static pthread_t submit_beyond(submitter *me, mp_future **futures)
{
    pthread_t thread;
    fill_up(me->executor, futures);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(zero(int, pthread_create(&thread, NULL, submit_one, me)));
    cr_assert(not(UNTIL(0.02, me->future)), "it does not wait");
    return thread;
}

/* The future that it got. */
static mp_future *join_submitter(submitter *me, pthread_t thread)
{
    cr_assert(SOON(me->future), "it waits for ever");
    pthread_join(thread, NULL);
    return me->future;
}

EACH_KIND(queue, that_is_full__holds_who_waits_until_one_is_done)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM)};
    mp_future *futures[ROOM];
    pthread_t thread = submit_beyond(&me, futures);
    LET_GO(1);
    mp_future *beyond = join_submitter(&me, thread);
    cr_assert(mp_future_done(futures[0]));
    LET_ALL_GO();
    EXPECT_RESULT(beyond, 71);
    mp_executor_free(&me.executor);
    mp_future_free(&beyond);
    free_futures(futures, ROOM);
}

EACH_KIND(queue, cancel__makes_room_for_who_waits)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM)};
    mp_future *futures[ROOM];
    pthread_t thread = submit_beyond(&me, futures);
    cr_assert(mp_future_cancel(futures[2]));
    mp_future *beyond = join_submitter(&me, thread);
    LET_ALL_GO();
    EXPECT_RESULT(beyond, 71);
    mp_executor_free(&me.executor);
    mp_future_free(&beyond);
    free_futures(futures, ROOM);
}

EACH_KIND(queue, shutdown__turns_away_who_waits)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM)};
    mp_future *futures[ROOM];
    pthread_t thread = submit_beyond(&me, futures);
    cr_assert(eq(int, mp_executor_shutdown(me.executor, false, false), MP_OK));
    EXPECT_REFUSED(join_submitter(&me, thread), MP_ECLOSED);
    LET_ALL_GO();
    mp_executor_free(&me.executor);
    cr_assert(zero(int, the_board()->times[70]));
    free_futures(futures, ROOM);
}

EACH_KIND(queue, end_of_its_workers__turns_away_who_waits)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM)};
    mp_future *futures[ROOM];
    pthread_t thread = submit_beyond(&me, futures);
    cr_assert(eq(int, mp_executor_kill_workers(me.executor), MP_OK));
    EXPECT_REFUSED(join_submitter(&me, thread), MP_ECLOSED);
    LET_ALL_GO();
    mp_executor_free(&me.executor);
    free_futures(futures, ROOM);
}

EACH_PROCESS_KIND(queue, of_an_executor_that_breaks__turns_away_who_waits)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 1, .break_on_crash = true)};
    int worker = 0;
    mp_future *future = SUBMIT(me.executor, tell_worker, 0);
    pthread_t thread;
    cr_assert(eq(int, mp_future_result(future, &worker, PROMPT), MP_OK));
    mp_future_free(&future);
    future = SUBMIT(me.executor, latch, 0);
    cr_assert(zero(int, pthread_create(&thread, NULL, submit_one, &me)));
    cr_assert(not(UNTIL(0.02, me.future)), "it does not wait");
    cr_assert(proc_signal_child(proc_only_child(), worker, SIGKILL));
    EXPECT_REFUSED(join_submitter(&me, thread), MP_EBROKEN);
    mp_executor_free(&me.executor);
    mp_future_free(&future);
}

EVERY_KIND(queue, that_has_room_again__takes_many_one_by_one)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .max_queue = ROOM);
    mp_future *futures[N];
    for (int i = 0; i < N; i++) {
        futures[i] = SUBMIT(executor, mark, i);
        int open = 0;
        for (int k = 0; k <= i; k++)
            open += !mp_future_done(futures[k]);
        cr_assert(le(int, open, ROOM));
    }
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EACH_KIND(queue, futures_that_were_freed__still_take_room)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = ROOM);
    mp_future *futures[ROOM];
    fill_up(executor, futures);
    free_futures(futures, ROOM);
    EXPECT_REFUSED(mp_submit(executor, mark, (&(int){70}), .nowait = true), MP_EFULL);
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->ended, ROOM));
}

EACH_KIND(queue, of_a_shared_pool__is_each_executors_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *one = OVER_POOL(pool, .max_queue = 1), *two = OVER_POOL(pool, .max_queue = 2);
    mp_future *futures[3] = {SUBMIT(one, latch, 0), SUBMIT(two, latch, 1), SUBMIT(two, latch, 2)};
    EXPECT_REFUSED(mp_submit(one, mark, (&(int){70}), .nowait = true), MP_EFULL);
    EXPECT_REFUSED(mp_submit(two, mark, (&(int){70}), .nowait = true), MP_EFULL);
    LET_ALL_GO();
    mp_executor_free(&one);
    mp_executor_free(&two);
    free_futures(futures, 3);
    mp_pool_free(&pool);
}

static void submit_inside(mp_future *future, void *user)
{
    submitter *me = user;
    (void)future;
    me->future = SUBMIT(me->executor, mark, 70);
}

EACH_KIND(queue, callback_that_waits_for_room__gets_it)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 2)};
    mp_future *futures[3] = {SUBMIT(me.executor, latch, 0), SUBMIT(me.executor, latch, 1)};
    cr_assert(eq(int, mp_future_add_done_callback(futures[0], submit_inside, &me), MP_OK));
    LET_ALL_GO();
    futures[2] = SUBMIT(me.executor, latch, 2);
    cr_assert(SOON(me.future));
    mp_future *inside = me.future;
    EXPECT_RESULT(inside, 71);
    EXPECT_RESULT(futures[2], 3);
    mp_executor_free(&me.executor);
    mp_future_free(&inside);
    free_futures(futures, 3);
}

/* What is done has made room before its callbacks run: else they would wait for themselves. */
EACH_KIND(queue, callback_that_submits_where_there_is_room_for_one__need_not_wait)
{
    submitter me = {.executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 1)};
    mp_future *future = SUBMIT(me.executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(future, submit_inside, &me), MP_OK));
    LET_ALL_GO();
    cr_assert(SOON(me.future), "it waits for ever");
    mp_future *inside = me.future;
    EXPECT_RESULT(inside, 71);
    mp_executor_free(&me.executor);
    mp_future_free(&inside);
    mp_future_free(&future);
}

EACH_KIND(queue, what_follows_where_there_is_room_for_one__is_submitted)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 1);
    mp_future *first = SUBMIT(executor, latch, 0), *next = mp_future_then(first, executor, mark);
    LET_ALL_GO();
    EXPECT_RESULT(next, 2);
    mp_executor_free(&executor);
    mp_future_free(&next);
    mp_future_free(&first);
}

static void wait_for_board(mp_future *future, void *user)
{
    (void)future;
    (void)user;
    while (!the_board()->gate)
        nap_us(200);
}

/* Else who is quicker than his callbacks would have any number of futures. */
EACH_KIND(queue, future_whose_callback_runs__takes_its_place)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_queue = 1);
    mp_future *future = SUBMIT(executor, latch, 0);
    cr_assert(eq(int, mp_future_add_done_callback(future, wait_for_board, NULL), MP_OK));
    LET_ALL_GO();
    EXPECT_RESULT(future, 1);
    EXPECT_REFUSED(mp_submit(executor, mark, (&(int){70}), .nowait = true), MP_EFULL);
    the_board()->gate = 1;
    mp_future *next = SUBMIT(executor, mark, 71);
    EXPECT_RESULT(next, 72);
    mp_executor_free(&executor);
    mp_future_free(&next);
    mp_future_free(&future);
}
