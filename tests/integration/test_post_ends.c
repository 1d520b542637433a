/* What ends calls that were posted before they run, or while: Ctrl-C, an executor that is shut down, policies, crashes. */
#include "tests/lib/posted.h"
#include <poll.h>
#include <pthread.h>

TestSuite(post_interrupt, .timeout = 60);
TestSuite(post_executor, .timeout = 60);
TestSuite(post_policy, .timeout = 60);

enum { N = 500 };

/* ---- Ctrl-C ---- */

EACH_KIND(post_interrupt, while_all_are_busy__what_was_posted_never_starts)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *held[WORKERS], *all[N];
    for (int round = 0; round < 4; round++) {
        board_clear(N);
        LET_GO(0);
        hold_all(pool, held);
        for (int i = 0; i < N; i++)
            all[i] = POST(pool, mark, i);
        mp_interrupt();
        if (round % 2)
            mp_interrupt_clear(); /* what came before it ends all the same */
        for (int i = 0; i < N; i++)
            expect_ended(all[i], MP_EINTERRUPTED);
        if (round % 2 == 0) {
            mp_async *late = POST(pool, mark, N);
            expect_ended(late, MP_EINTERRUPTED);
            mp_async_free(&late);
            mp_interrupt_clear();
        }
        mp_async *later = POST(pool, mark, N + 1 + round);
        let_all_go(held);
        EXPECT_GOT(later, N + 2 + round);
        mp_async_free(&later);
        cr_assert(eq(sz, board_find_other(N + 1, 0), (size_t)N + 1));
        expect_books(pool, 0);
        free_handles(all, N);
    }
    close_join_free(&pool);
}

/* Without the lock, so that nothing is taken by who looks: the engine has minded the interruption, all that came before is over. */
static void wait_until_minded(int bell)
{
    cr_assert(eq(int, poll(&(struct pollfd){.fd = bell, .events = POLLIN}, 1, PROMPT * 1000), 1));
}

EACH_KIND(post_interrupt, while_all_are_busy__futures_end_and_the_executor_is_none_the_worse)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N];
    for (int round = 0; round < 3; round++) {
        board_clear(N);
        LET_GO(0);
        mp_future *held = SUBMIT(executor, latch, N);
        cr_assert(SOON(the_board()->begun == 1));
        mp_async *taken = POST(mp_executor_pool(executor), mark, 0);
        int bell = mp_async_fd(taken);
        for (int i = 0; i < N; i++)
            futures[i] = SUBMIT(executor, mark, i);
        mp_interrupt();
        wait_until_minded(bell);
        mp_interrupt_clear();
        for (int i = 0; i < N; i++)
            EXPECT_STATUS(futures[i], MP_EINTERRUPTED);
        mp_future *later = SUBMIT(executor, mark, N + 1);
        LET_ALL_GO();
        EXPECT_RESULT(held, N + 1);
        EXPECT_RESULT(later, N + 2);
        cr_assert(eq(sz, board_find_other(N, 0), (size_t)N));
        mp_future_free(&held);
        mp_future_free(&later);
        mp_async_free(&taken);
        free_futures(futures, N);
    }
    cr_assert(eq(int, mp_executor_shutdown(executor), MP_OK), "it counts what it has sent, and waits for no more");
    mp_executor_free(&executor);
}

/* All workers are held from beginning to end: what is posted before or behind the interruption, or just when it comes, must not be
 * accepted and kept for later, for nobody would stop it any more. */
typedef struct interrupting {
    pthread_t thread;
    int after;
} interrupting;

static void *interrupt_soon(void *argument)
{
    for (volatile int wait = 0; wait < ((interrupting *)argument)->after; wait++)
        ;
    mp_interrupt();
    return NULL;
}

ON_THREADS(post_interrupt, as_it_comes__nothing_is_kept_for_later)
{
    static mp_async *all[N];
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *held[WORKERS];
    hold_all(pool, held);
    for (int round = 0; round < ROUNDS(400); round++) {
        interrupting other = {.after = round * 97 % 60000};
        int n = 0;
        cr_assert(zero(int, pthread_create(&other.thread, NULL, interrupt_soon, &other)));
        for (; n < N && !mp_interrupted(); n++)
            all[n] = POST(pool, mark, n);
        pthread_join(other.thread, NULL);
        for (int i = 0; i < n; i++)
            expect_ended(all[i], MP_EINTERRUPTED);
        free_handles(all, n);
        mp_interrupt_clear();
    }
    cr_assert(eq(sz, board_find_other(N, 0), (size_t)N));
    let_all_go(held);
    close_join_free(&pool);
}

/* Also when the engine has not heard of the interruption yet: what comes behind the clearing is not stopped by it. */
EACH_KIND(post_interrupt, cleared_at_once__what_is_posted_then_runs)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int round = 0; round < ROUNDS(300); round++) {
        LET_GO(0);
        mp_async *held = POST(pool, latch, N), *before = POST(pool, mark, 0);
        (void)stats_of(pool); /* all that was posted is taken */
        mp_interrupt();
        mp_interrupt_clear();
        mp_async *later = POST(pool, mark, 1);
        if (round % 2)
            (void)stats_of(pool);
        expect_ended(before, MP_EINTERRUPTED);
        LET_ALL_GO();
        expect_ended(later, MP_OK);
        cr_assert(eq(int, mp_async_wait(held, PROMPT), MP_OK), "it has begun or not");
        free_handles((mp_async *[]){held, before, later}, 3);
    }
    cr_assert(zero(int, the_board()->times[0]));
    close_join_free(&pool);
}

/* ---- executors ---- */

EACH_KIND(post_executor, shut_down__what_was_posted_before_runs_and_what_comes_later_does_not)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N], *held = SUBMIT(executor, latch, N);
    cr_assert(SOON(the_board()->begun == 1));
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    cr_assert(eq(int, mp_executor_shutdown(executor, .wait = false), MP_OK));
    EXPECT_REFUSED(SUBMIT(executor, mark, N), MP_ECLOSED);
    LET_ALL_GO();
    cr_assert(eq(int, mp_executor_shutdown(executor), MP_OK));
    for (int i = 0; i < N; i++) {
        cr_assert(mp_future_done(futures[i]));
        EXPECT_RESULT(futures[i], i + 1);
    }
    cr_assert(eq(sz, board_find_other(N, 1), (size_t)N));
    mp_future_free(&held);
    free_futures(futures, N);
    mp_executor_free(&executor);
}

EACH_KIND(post_executor, shut_down_with_cancel__what_was_posted_never_starts)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *futures[N], *held = SUBMIT(executor, latch, N);
    cr_assert(SOON(the_board()->begun == 1));
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, mark, i);
    cr_assert(eq(int, mp_executor_shutdown(executor, .wait = false, .cancel_futures = true), MP_OK));
    for (int i = 0; i < N; i++)
        cr_assert(mp_future_cancelled(futures[i]), "future %d", i);
    LET_ALL_GO();
    EXPECT_RESULT(held, N + 1);
    mp_executor_free(&executor);
    cr_assert(eq(sz, board_find_other(N, 0), (size_t)N));
    mp_future_free(&held);
    free_futures(futures, N);
}

/* Two over one pool, whose workers are all busy: one is shut down, or full, and the other one, and the pool, do not mind. */
EACH_KIND(post_executor, over_a_pool__is_one_of_several)
{
    enum { ROOM = 5 };
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_executor *one = OVER_POOL(pool, .max_queue = 0), *full = OVER_POOL(pool, .max_queue = ROOM);
    mp_future *ones[N], *fulls[ROOM];
    mp_async *held[WORKERS], *all[N];
    hold_all(pool, held);
    for (int i = 0; i < N; i++) {
        ones[i] = SUBMIT(one, mark, 2 * i);
        all[i] = POST(pool, mark, 2 * i + 1);
        if (i < ROOM)
            fulls[i] = SUBMIT(full, mark, 2 * N + i);
    }
    EXPECT_REFUSED(mp_submit(full, mark, (&(int){0}), .nowait = true), MP_EFULL);
    cr_assert(eq(int, mp_executor_shutdown(one, .wait = false, .cancel_futures = true), MP_OK));
    EXPECT_REFUSED(SUBMIT(one, mark, 0), MP_ECLOSED);
    EXPECT_REFUSED(mp_submit(full, mark, (&(int){0}), .nowait = true), MP_EFULL);
    mp_executor_free(&one);
    let_all_go(held);
    for (int i = 0; i < N; i++) {
        EXPECT_STATUS(ones[i], MP_ECANCELLED);
        EXPECT_GOT(all[i], 2 * i + 2);
        cr_assert(zero(int, the_board()->times[2 * i]));
    }
    for (int i = 0; i < ROOM; i++)
        EXPECT_RESULT(fulls[i], 2 * N + i + 1);
    mp_executor_free(&full);
    expect_books(pool, 0);
    free_futures(ones, N);
    free_futures(fulls, ROOM);
    free_handles(all, N);
    close_join_free(&pool);
}

/* ---- policies ---- */

static mp_status third_time(const int *in, int *out, mp_call *call)
{
    item_begin(*in);
    *out = (int)mp_call_attempt(call);
    return *out < 3 ? mp_fail(call, MP_EUSER, "attempt %d", *out) : MP_OK;
}
MP_TASK(third_time, int, int);

EVERY_KIND(post_policy, retries__are_made_until_it_succeeds_or_they_are_used_up)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *all[N];
    for (int i = 0; i < N; i++)
        all[i] = mp_pool_apply_async(pool, third_time, (&(int){i}), .retries = i % 4);
    for (int i = 0; i < N; i++)
        if (i % 4 >= 2)
            EXPECT_GOT(all[i], 3);
        else
            expect_ended(all[i], MP_EUSER);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, the_board()->times[i], i % 4 >= 2 ? 3 : i % 4 + 1), "call %d", i);
    expect_books(pool, 0);
    free_handles(all, N);
    close_join_free(&pool);
}

/* That of a call counts from its begin: waiting behind others does not use it up. A deadline does. */
EACH_KIND(post_policy, time_outs_and_deadlines__end_those_that_have_them)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS, .grace = 0.1);
    mp_async *held[WORKERS], *all[20];
    hold_all(pool, held);
    for (int i = 0; i < 20; i++)
        all[i] = i % 2 ? mp_pool_apply_async(pool, mark, (&(int){i}), .timeout = 5)
                       : mp_pool_apply_async(pool, mark, (&(int){i}), .deadline = 0.02);
    for (int i = 0; i < 20; i += 2)
        expect_ended(all[i], MP_EOVERTIME);
    for (int i = 1; i < 20; i += 2)
        cr_assert(not(mp_async_ready(all[i])));
    let_all_go(held);
    for (int i = 1; i < 20; i += 2)
        EXPECT_GOT(all[i], i + 1);
    for (int i = 0; i < 20; i += 2)
        cr_assert(zero(int, the_board()->times[i]), "call %d", i);
    free_handles(all, 20);
    close_join_free(&pool);
}

EACH_PROCESS_KIND(post_policy, one_that_hangs__is_ended_when_its_time_is_up)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = 0.1);
    mp_async *before = POST(pool, mark, 1), *hangs = mp_pool_apply_async(pool, hold, (&(int){2}), .timeout = 0.05);
    mp_async *behind = POST(pool, mark, 3);
    EXPECT_GOT(before, 2);
    expect_ended(hangs, MP_EOVERTIME);
    EXPECT_GOT(behind, 4);
    expect_books(pool, 0);
    free_handles((mp_async *[]){before, hangs, behind}, 3);
    close_join_free(&pool);
}

/* It dies, and no other with it. */
EACH_PROCESS_KIND(post_policy, a_call_that_crashes__costs_itself)
{
    enum { FEW = 60 };
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *all[FEW];
    int n = few_lives(FEW);
    for (int i = 0; i < n; i++)
        all[i] = i % 5 == 4 ? POST(pool, die, 0) : POST(pool, mark, i);
    for (int i = 0; i < n; i++)
        if (i % 5 == 4)
            expect_ended(all[i], MP_ECRASHED);
        else
            EXPECT_GOT(all[i], i + 1);
    for (int i = 0; i < n; i++)
        cr_assert(eq(int, the_board()->times[i], i % 5 != 4), "call %d", i);
    expect_books(pool, 0);
    free_handles(all, n);
    close_join_free(&pool);
}
