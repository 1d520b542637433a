/* Ctrl-C in every other call, calling mp_interrupt oneself, what comes after, and what is left of it when no pool is there any more. */
#include "tests/lib/futures.h"
#include "tests/lib/program.h"
#include "tests/lib/stuck.h"
#include <pthread.h>

TestSuite(calls, .timeout = 60);
TestSuite(own, .timeout = 60);
TestSuite(after, .timeout = 60);

enum { READY = 12, UNDER_WAY = 12 };

static mp_pool *the_pool;
static mp_executor *the_executor;
static int got;

static void open_two(void)
{
    MUST(mp_pool_open(&the_pool, OPTIONS, .processes = 2, .grace = 0.2) == MP_OK);
}

/* Ten are done, two run and heed, 28 wait: which of those, the board knows. */
static void prepare(void)
{
    trial_begin(40);
    for (int i = 10; i < 40; i++)
        one_is(i, HEEDS);
}
static bool ran(int i)
{
    return the_board()->times[i];
}
static int result_of(int i)
{
    return i < 10 ? i + 1 : ran(i) ? -i - 1 : 0;
}

static void expect_good_end_of(void (*program)(void))
{
    prepare();
    pid_t child = program_begin(program, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY));
    program_press(child);
    EXPECT_GOOD_END(child);
    cr_assert(eq(int, the_board()->begun, UNDER_WAY));
}

/* ---- calls ---- */

static void has_a_handle(void)
{
    open_two();
    mp_async *async = mp_pool_map_async(the_pool, behave, t.items, 40, .chunksize = 1);
    MUST(mp_async_get(async, t.results, PROMPT) == MP_EINTERRUPTED);
    MUST(mp_async_error(async)->status == MP_EINTERRUPTED && !ran((int)mp_async_error(async)->item));
    for (int i = 0; i < 40; i++) {
        MUST(mp_async_statuses(async)[i] == (ran(i) ? MP_OK : MP_EINTERRUPTED));
        MUST(t.results[i] == result_of(i));
    }
    mp_async_free(&async);
    async = mp_pool_apply_async(the_pool, behave, t.items);
    MUST(mp_async_get(async, &got, PROMPT) == MP_EINTERRUPTED);
    mp_async_free(&async);
    mp_pool_free(&the_pool);
}

EACH_KIND(calls, handle__is_complete_with_what_is_done)
{
    expect_good_end_of(has_a_handle);
}

static void reads_a_stream(void)
{
    open_two();
    mp_iter *iter = mp_pool_imap(the_pool, behave, t.items, 40, .chunksize = 1);
    for (int i = 0; i < 40; i++) {
        MUST(mp_iter_next(iter, &got, PROMPT) == (ran(i) ? MP_OK : MP_EINTERRUPTED));
        MUST(got == result_of(i));
    }
    MUST(mp_iter_next(iter, &got, PROMPT) == MP_END);
    mp_iter_free(&iter);
    mp_pool_free(&the_pool);
}

EACH_KIND(calls, stream__ends_behind_what_is_done)
{
    expect_good_end_of(reads_a_stream);
}

static _Atomic int next_item, releases;
static bool endless(int *item, void *user)
{
    (void)user;
    *item = next_item < 40 ? t.items[next_item] : AS(HEEDS, 100 + next_item % 100);
    next_item++;
    return true;
}
static void count_release(void *user)
{
    (void)user;
    releases++;
}

static void reads_an_endless_stream(void)
{
    int good = 0, interrupted = 0, input = 0;
    size_t index;
    mp_status status;
    open_two();
    mp_iter *iter =
        mp_pool_imap_from(the_pool, behave, endless, NULL, .chunksize = 1, .buffersize = 20, .release = count_release);
    while ((status = mp_iter_next(iter, &got, PROMPT, .index = &index)) != MP_END) {
        MUST(status == MP_OK || status == MP_EINTERRUPTED);
        MUST(!input);
        good += status == MP_OK;
        interrupted += index != SIZE_MAX && status != MP_OK;
        input += index == SIZE_MAX;
    }
    MUST(good == 12 && input <= 1);
    mp_iter_free(&iter);
    MUST(SOON(releases == 1));
    /* Its last call may have been under way then: what that gave belongs to the rest, which is told once. */
    int told = good + interrupted;
    MUST(told == next_item || (told == next_item - 1 && input));
    mp_pool_free(&the_pool);
}

EACH_KIND(calls, stream_over_an_endless_generator__ends)
{
    expect_good_end_of(reads_an_endless_stream);
}

static void has_futures(void)
{
    mp_future *futures[40];
    MUST(mp_executor_open(&the_executor, OPTIONS, .max_workers = 2) == MP_OK);
    for (int i = 0; i < 40; i++)
        futures[i] = mp_submit(the_executor, behave, &t.items[i]);
    for (int i = 0; i < 40; i++) {
        int result = 0;
        MUST(mp_future_result(futures[i], &result, PROMPT) == (ran(i) ? MP_OK : MP_EINTERRUPTED));
        MUST(result == result_of(i));
        MUST(mp_future_done(futures[i]));
    }
    free_futures(futures, 40);
    futures[0] = mp_submit(the_executor, behave, t.items);
    MUST(mp_future_result(futures[0], NULL, PROMPT) == MP_EINTERRUPTED);
    mp_future_free(&futures[0]);
    mp_executor_free(&the_executor);
}

EACH_KIND(calls, futures__end)
{
    expect_good_end_of(has_futures);
}

static void maps_by_an_executor(void)
{
    MUST(mp_executor_open(&the_executor, OPTIONS, .max_workers = 2) == MP_OK);
    mp_iter *iter = mp_executor_map(the_executor, behave, t.items, 40, .chunksize = 1);
    for (int i = 0; i < 40; i++) {
        MUST(mp_iter_next(iter, &got, PROMPT) == (ran(i) ? MP_OK : MP_EINTERRUPTED));
        MUST(got == result_of(i));
    }
    MUST(mp_iter_next(iter, &got, PROMPT) == MP_END);
    mp_iter_free(&iter);
    mp_executor_free(&the_executor);
}

EACH_KIND(calls, map_of_an_executor__ends_behind_what_is_done)
{
    expect_good_end_of(maps_by_an_executor);
}

/* Both are told, and each returns what it has. */
static void *run_second_pool(void *argument)
{
    static int in[2] = {AS(HEEDS, 50), AS(FINE, 51)}, out[2];
    static mp_status statuses[2];
    mp_status status = mp_pool_map(argument, behave, in, 2, out, .statuses = statuses, .chunksize = 1);
    MUST(status == MP_EINTERRUPTED && statuses[0] == MP_OK && statuses[1] == MP_EINTERRUPTED && out[0] == -51);
    return NULL;
}

static void has_two_pools(void)
{
    mp_pool *second;
    pthread_t thread;
    open_two();
    MUST(mp_pool_open(&second, OPTIONS, .processes = 1) == MP_OK);
    MUST(pthread_create(&thread, NULL, run_second_pool, second) == 0);
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_EINTERRUPTED);
    for (int i = 0; i < 40; i++)
        MUST(t.statuses[i] == (ran(i) ? MP_OK : MP_EINTERRUPTED));
    pthread_join(thread, NULL);
    mp_pool_free(&the_pool);
    mp_pool_free(&second);
}

EACH_KIND(calls, of_several_pools__return_what_is_done)
{
    prepare();
    pid_t child = program_begin(has_two_pools, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY + 1));
    program_press(child);
    EXPECT_GOOD_END(child);
    cr_assert(eq(int, the_board()->begun, UNDER_WAY + 1));
}

/* ---- mp_interrupt ---- */

static void *interrupt_when_under_way(void *argument)
{
    MUST(SOON(the_board()->begun == UNDER_WAY));
    mp_interrupt();
    mp_interrupt();
    return argument;
}

static void expect_map_interrupted(void)
{
    pthread_t thread;
    prepare();
    MUST(pthread_create(&thread, NULL, interrupt_when_under_way, NULL) == 0);
    RUN(the_pool, .chunksize = 1);
    pthread_join(thread, NULL);
    MUST(t.status == MP_EINTERRUPTED && mp_interrupted());
    for (int i = 0; i < 40; i++)
        MUST(t.statuses[i] == (ran(i) ? MP_OK : MP_EINTERRUPTED) && t.results[i] == result_of(i));
}

static void expect_map_works(void)
{
    trial_begin(40);
    RUN(the_pool, .chunksize = 3);
    MUST(t.status == MP_OK);
    for (int i = 0; i < 40; i++)
        MUST(t.results[i] == i + 1);
}

static void interrupts_itself(void)
{
    open_two();
    for (int round = 0; round < 5; round++) {
        expect_map_interrupted();
        MUST(mp_pool_apply(the_pool, behave, t.items, &got) == MP_EINTERRUPTED);
        mp_interrupt_clear();
        MUST(!mp_interrupted());
        expect_map_works();
    }
    mp_pool_free(&the_pool);
}

EACH_KIND(own, mp_interrupt__stops_and_mp_interrupt_clear_lets_go_on)
{
    pid_t child = program_begin(interrupts_itself, -1);
    EXPECT_GOOD_END(child);
}

static void interrupts_idle_pools(void)
{
    mp_pool *left;
    open_two();
    MUST(mp_pool_open(&left, OPTIONS, .processes = 1, .interrupt = MP_INTERRUPT_LEAVE) == MP_OK);
    mp_interrupt();
    MUST(mp_interrupted());
    MUST(mp_pool_apply(the_pool, add_one, (&(int){1}), &got) == MP_EINTERRUPTED);
    MUST(mp_pool_apply(left, add_one, (&(int){1}), &got) == MP_OK && got == 2);
    mp_interrupt_clear();
    MUST(mp_pool_apply(the_pool, add_one, (&(int){5}), &got) == MP_OK && got == 6);
    mp_pool_free(&the_pool);
    mp_pool_free(&left);
}

EVERY_KIND(own, mp_interrupt_of_idle_pools__refuses_what_comes_and_leaves_those_that_are_to_be_left)
{
    pid_t child = program_begin(interrupts_idle_pools, -1);
    EXPECT_GOOD_END(child);
}

static void interrupts_without_pools(void)
{
    MUST(!mp_interrupted());
    mp_interrupt();
    MUST(mp_interrupted());
    mp_interrupt_clear();
    MUST(!mp_interrupted());
    open_two();
    expect_map_works();
    mp_pool_free(&the_pool);
}

EVERY_KIND(own, mp_interrupt_without_a_pool__can_be_cleared)
{
    pid_t child = program_begin(interrupts_without_pools, -1);
    EXPECT_GOOD_END(child);
}

/* The first that comes with the lock is who cancels: all has ended by then. */
static void cancels_what_was_interrupted(void)
{
    enum { CALLS = 200 };
    static mp_async *asyncs[CALLS];
    int one = 1;
    open_two();
    the_board()->gate = the_board()->begun = 0;
    mp_async *held[2] = {mp_pool_apply_async(the_pool, hold, &one), mp_pool_apply_async(the_pool, hold, &one)};
    MUST(SOON(the_board()->begun == 2));
    for (int i = 0; i < CALLS; i++) {
        asyncs[i] = mp_pool_apply_async(the_pool, hold, &i);
        MUST(i != CALLS / 2 || !mp_async_ready(asyncs[0])); /* so that the engine has some */
    }
    mp_interrupt();
    MUST(mp_async_cancel(asyncs[0]) == MP_OK);
    mp_interrupt_clear();
    the_board()->gate = 1;
    for (int i = 0; i < CALLS; i++) {
        mp_status status = mp_async_get(asyncs[i], &got, PROMPT);
        MUST(status == MP_EINTERRUPTED || (status == MP_OK && got == i + 1) || (status == MP_ECANCELLED && !i));
        mp_async_free(&asyncs[i]);
    }
    for (int i = 0; i < 2; i++) {
        MUST(mp_async_get(held[i], &got, PROMPT) == MP_OK);
        mp_async_free(&held[i]);
    }
    mp_pool_free(&the_pool);
}

static void cancels_again_and_again(void)
{
    for (int round = 0; round < 30; round++)
        cancels_what_was_interrupted();
}

EACH_KIND(own, cancel_of_what_it_has_ended__does_nothing)
{
    pid_t child = program_begin(cancels_again_and_again, -1);
    EXPECT_GOOD_END(child);
}

/* ---- after ---- */

static void goes_on(void)
{
    open_two();
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_EINTERRUPTED);
    mp_interrupt_clear();
    expect_map_works();
    prepare();
    the_board()->lives = 1;
    RUN(the_pool, .chunksize = 1);
    MUST(t.status == MP_EINTERRUPTED && t.statuses[10] == MP_OK && t.statuses[39] == MP_EINTERRUPTED);
    mp_pool_free(&the_pool);
}

/* The next is a first one again, when the second in which it would have been the second is over. */
EACH_KIND(after, clearing__all_works_as_before)
{
    prepare();
    pid_t child = program_begin(goes_on, -1);
    cr_assert(SOON(the_board()->begun == UNDER_WAY));
    program_press(child);
    cr_assert(SOON(the_board()->lives && the_board()->begun == UNDER_WAY));
    nap_us(1200000);
    program_press(child);
    EXPECT_GOOD_END(child);
}

static bool is_default(void)
{
    struct sigaction now;
    return sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

static void frees_its_pools(void)
{
    mp_pool *second;
    MUST(is_default());
    open_two();
    MUST(!is_default());
    MUST(mp_pool_open(&second, OPTIONS, .processes = 1) == MP_OK);
    mp_pool_free(&the_pool);
    MUST(!is_default());
    mp_pool_free(&second);
    MUST(is_default());
    open_two();
    MUST(!is_default());
    mp_pool_free(&the_pool);
    MUST(is_default());
    the_board()->word[READY] = 1;
    for (;;)
        pause();
}

EVERY_KIND(after, the_last_pool__all_is_as_it_was)
{
    pid_t child = program_begin(frees_its_pools, -1);
    cr_assert(SOON(the_board()->word[READY]));
    program_press(child);
    EXPECT_INTERRUPTED(child);
}

static void handler_of_its_own(int number)
{
    (void)number;
}

/* It is the program's choice what comes then: nothing is put back over it. */
static void sets_a_handler_later(void)
{
    struct sigaction now;
    open_two();
    signal(SIGINT, handler_of_its_own);
    mp_pool_free(&the_pool);
    sigaction(SIGINT, NULL, &now);
    MUST(now.sa_handler == handler_of_its_own);
}

EVERY_KIND(after, a_handler_was_set_while_a_pool_was_open__it_stays)
{
    pid_t child = program_begin(sets_a_handler_later, -1);
    EXPECT_GOOD_END(child);
}

/* What it has forked has no pools: there SIGINT is what it was for. */
static void forks(void)
{
    int status;
    open_two();
    mp_async *async = mp_pool_apply_async(the_pool, behave, (&(int){AS(HANGS, 1)}));
    MUST(SOON(the_board()->begun == 1));
    pid_t child = proc_fork();
    if (child == 0) {
        the_board()->word[READY] = 1;
        for (;;)
            pause();
    }
    MUST(SOON(the_board()->word[READY]));
    kill(child, SIGINT);
    MUST(waitpid(child, &status, 0) == child);
    MUST(signaled(status, SIGINT));
    MUST(!mp_interrupted());
    the_board()->gate = 1;
    MUST(mp_async_get(async, &got, PROMPT) == MP_OK);
    mp_async_free(&async);
    mp_pool_free(&the_pool);
}

/* Not under TSan: in a child that was forked from a process with threads, as these programs are, it takes signals and keeps them, and
 * a thread that sleeps never gets them. */
EACH_KIND_UNLESS(CHECK_TSAN, after, forking__the_child_dies_by_its_own)
{
    pid_t child = program_begin(forks, -1);
    EXPECT_GOOD_END(child);
}
