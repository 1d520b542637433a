/* Posts that race with all that can go on meanwhile, from several threads; and handles that others look at, without the lock, while
 * they come to their end. Oracle: each call ends once, with a status that can be; it ran once if that is MP_OK, and never if it was
 * cancelled, refused or interrupted; and what the pool has accepted has succeeded, failed, or waits. */
#include "serial/memory.h"
#include "tests/lib/posted.h"
#include <pthread.h>

TestSuite(post_race, .timeout = 120);
TestSuite(post_looked_at, .timeout = 60);
TestSuite(post_memory, .timeout = 60);

enum { POSTERS = 3, EACH = 150, MEETING = 13 /* the board's word: how many posters have begun */ };

typedef enum weather { CLOSE, TERMINATE, FREE_AT_ONCE, CANCEL, INTERRUPT, WEATHERS } weather;

typedef struct poster {
    pthread_t thread;
    mp_pool *pool;
    mp_executor *executor;
    weather weather;
    int first;
    mp_async *handles[EACH];
    mp_future *futures[EACH];
    bool said[EACH]; /* that its future is cancelled */
} poster;

/* Every third a future, where there is an executor. */
static void post_one(poster *me, int i)
{
    int number = me->first + i;
    if (i % 3 == 0)
        me->futures[i] = SUBMIT(me->executor, mark, number);
    else
        me->handles[i] = POST(me->pool, mark, number);
    if (me->weather == FREE_AT_ONCE) {
        mp_async_free(&me->handles[i]);
        mp_future_free(&me->futures[i]);
    } else if (me->weather == CANCEL && i >= 2) {
        if (me->futures[i - 2])
            me->said[i - 2] = mp_future_cancel(me->futures[i - 2]);
        else
            (void)mp_async_cancel(me->handles[i - 2]);
    }
}

static void *post_all(void *argument)
{
    poster *me = argument;
    the_board()->word[MEETING]++;
    for (int i = 0; i < EACH; i++)
        post_one(me, i);
    return NULL;
}

static void make_weather(mp_pool *pool, weather what)
{
    if (what == CLOSE)
        cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    if (what == TERMINATE)
        cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    if (what == INTERRUPT)
        mp_interrupt();
}

static bool can_be(mp_status status, weather what)
{
    switch ((int)status) {
    case MP_OK: return true;
    case MP_ECLOSED: return what == CLOSE || what == TERMINATE;
    case MP_ETERMINATED: return what == TERMINATE;
    case MP_ECANCELLED: return what == CANCEL;
    default: return what == INTERRUPT && status == MP_EINTERRUPTED;
    }
}

/* How many of its calls the pool has accepted. */
static uint64_t judge(poster *me)
{
    uint64_t accepted = 0;
    for (int i = 0; i < EACH && me->weather != FREE_AT_ONCE; i++) {
        int out = -77;
        mp_status status =
            me->futures[i] ? mp_future_result(me->futures[i], &out, PROMPT) : mp_async_get(me->handles[i], &out, PROMPT);
        int times = the_board()->times[me->first + i];
        cr_assert(can_be(status, me->weather), "call %d: %s", i, mp_status_name(status));
        cr_assert(eq(int, out, status ? 0 : me->first + i + 1));
        cr_assert(le(int, times, status == MP_OK || status == MP_ETERMINATED), "call %d: %s", i, mp_status_name(status));
        cr_assert(ge(int, times, status == MP_OK), "call %d", i);
        cr_assert(status == MP_ECANCELLED || !me->said[i], "call %d: %s", i, mp_status_name(status));
        accepted += status != MP_ECLOSED;
        mp_async_free(&me->handles[i]);
        mp_future_free(&me->futures[i]);
    }
    return accepted;
}

static void race(mp_pool *pool, mp_executor *executor, weather what, int round)
{
    poster *all = calloc(POSTERS, sizeof *all);
    uint64_t accepted = 0, before = stats_of(pool).accepted;
    board_clear(POSTERS * EACH);
    the_board()->word[MEETING] = 0;
    for (int k = 0; k < POSTERS; k++) {
        all[k] = (poster){.pool = pool, .executor = executor, .weather = what, .first = k * EACH};
        cr_assert(zero(int, pthread_create(&all[k].thread, NULL, post_all, &all[k])));
    }
    cr_assert(SOON(the_board()->word[MEETING] > round % POSTERS));
    for (volatile int wait = 0; wait < round * 1009 % 100000; wait++)
        ;
    make_weather(pool, what);
    for (int k = 0; k < POSTERS; k++)
        pthread_join(all[k].thread, NULL);
    for (int k = 0; k < POSTERS; k++)
        accepted += judge(&all[k]);
    mp_interrupt_clear();
    cr_assert(SOON(!stats_of(pool).pending));
    expect_books(pool, 0);
    if (what == FREE_AT_ONCE) {
        cr_assert(eq(sz, board_find_other((size_t)POSTERS * EACH, 1), (size_t)POSTERS * EACH));
        accepted = (uint64_t)POSTERS * EACH;
    }
    if (what != INTERRUPT) /* where some were refused, and some accepted and stopped: both say the same */
        cr_assert(eq(u64, stats_of(pool).accepted - before, accepted));
    free(all);
}

static void race_often(weather what, int rounds)
{
    bool ends = what == CLOSE || what == TERMINATE;
    for (int round = 0; round < (ends ? rounds : 1); round++) {
        mp_pool *pool = OPEN_POOL(.processes = WORKERS, .grace = 0.1);
        mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
        for (int more = 0; more < (ends ? 1 : rounds); more++)
            race(pool, executor, what, ends ? round : more);
        mp_executor_free(&executor);
        close_join_free(&pool);
    }
}

EVERY_KIND(post_race, with_close__each_runs_or_is_refused)
{
    race_often(CLOSE, few_lives(40));
}

EVERY_KIND(post_race, with_terminate__each_ends)
{
    race_often(TERMINATE, few_lives(40));
}

EVERY_KIND(post_race, with_free_at_once__each_runs)
{
    race_often(FREE_AT_ONCE, ROUNDS(60));
}

EVERY_KIND(post_race, with_cancel__each_runs_or_is_cancelled)
{
    race_often(CANCEL, ROUNDS(60));
}

EVERY_KIND(post_race, with_ctrl_c__each_runs_or_is_stopped)
{
    race_often(INTERRUPT, ROUNDS(60));
}

/* ---- looked at from all sides ---- */

enum { LOOKERS = 4 };

typedef struct looker {
    pthread_t thread;
    int manner, wrong;
    mp_async **handles;
    mp_future **futures;
} looker;

/* What is complete stays as it is. */
static int look_at_one(mp_async *handle, mp_future *future, int i, int manner)
{
    int out = -77, wrong = 0;
    mp_status wanted = i % 5 ? MP_OK : (mp_status)(MP_EUSER + 1 + i);
    while (manner % 2 && !(mp_async_ready(handle) && mp_future_done(future)))
        continue;
    wrong += mp_async_get(handle, &out, PROMPT) != wanted || out != (wanted ? 0 : i + 1);
    wrong += mp_async_error(handle)->status != wanted;
    wrong += mp_future_result(future, &out, PROMPT) != wanted || out != (wanted ? 0 : i + 1);
    wrong += mp_future_exception(future, 0)->status != wanted;
    wrong += wanted && !says(mp_future_exception(future, 0), "minus");
    return wrong + mp_future_cancelled(future) + mp_future_running(future);
}

static void *look_at_all(void *argument)
{
    looker *me = argument;
    for (int i = 0; i < EACH; i++)
        me->wrong += look_at_one(me->handles[i], me->futures[i], i, me->manner);
    return NULL;
}

EVERY_KIND(post_looked_at, by_several_threads__all_see_the_same_end)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    for (int round = 0; round < ROUNDS(20); round++) {
        mp_async *handles[EACH];
        mp_future *futures[EACH];
        looker lookers[LOOKERS];
        for (int i = 0; i < EACH; i++) {
            handles[i] = POST(pool, mark, i % 5 ? i : -1 - i);
            futures[i] = SUBMIT(executor, mark, i % 5 ? i : -1 - i);
        }
        for (int k = 0; k < LOOKERS; k++) {
            lookers[k] = (looker){.manner = k, .handles = handles, .futures = futures};
            cr_assert(zero(int, pthread_create(&lookers[k].thread, NULL, look_at_all, &lookers[k])));
        }
        for (int k = 0; k < LOOKERS; k++)
            pthread_join(lookers[k].thread, NULL);
        for (int k = 0; k < LOOKERS; k++)
            cr_assert(zero(int, lookers[k].wrong), "looker %d", k);
        free_handles(handles, EACH);
        free_futures(futures, EACH);
    }
    mp_executor_free(&executor);
    close_join_free(&pool);
}

/* ---- without memory ---- */

static mp__memory_calls real_memory;
static _Atomic int until_refused; /* the allocation of this number fails, whichever thread's */

/* On threads all behind it fail as well: elsewhere no worker could be started, and the pool would rightly be broken. */
static bool is_refused(void)
{
    int left = until_refused--;
    return left == 0 || (left < 0 && on_threads());
}
static void *failing_malloc(size_t size)
{
    return is_refused() ? NULL : real_memory.malloc(size);
}
static void *failing_calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : real_memory.calloc(count, size);
}
static void *failing_realloc(void *old, size_t size)
{
    return is_refused() ? NULL : real_memory.realloc(old, size);
}
static void *failing_aligned_alloc(size_t alignment, size_t size)
{
    return is_refused() ? NULL : real_memory.aligned_alloc(alignment, size);
}

/* Whether or not there is memory for it, the status is known, and there is a text. A worker whose results cannot be read for want of
 * memory is ended. */
static void expect_told(const mp_error *error, mp_status status, mp_status wanted)
{
    bool for_want = status == MP_ENOMEM || ((status == MP_ECRASHED || status == MP_ELOST) && !on_threads());
    cr_assert(status == wanted || (for_want && until_refused < 0), "%s: %s", mp_status_name(status), error->message);
    cr_assert(eq(int, error->status, status));
    cr_assert(eq(int, error->message[0] != 0, status != MP_OK));
}

/* A call that fails, one that is cancelled, a future of each; in a pool in which memory runs out somewhere on the way. */
static void live_in_need(mp_pool *pool, mp_executor *executor)
{
    LET_GO(0);
    mp_async *held = POST(pool, latch, 1), *fails = POST(pool, mark, -3), *never = POST(pool, mark, 5);
    mp_future *failing = SUBMIT(executor, mark, -4), *given_up = SUBMIT(executor, mark, 6);
    (void)mp_async_cancel(never);
    bool said = mp_future_cancel(given_up);
    LET_ALL_GO();
    cr_assert(eq(int, mp_async_wait(held, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_wait(fails, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_wait(never, PROMPT), MP_OK));
    bool was_held = mp_async_get(held, NULL, 0) == MP_OK; /* else those behind it may have run before they were cancelled */
    mp_status cancelled = was_held || mp_async_get(never, NULL, 0) ? MP_ECANCELLED : MP_OK;
    expect_told(mp_async_error(fails), mp_async_get(fails, NULL, 0), (mp_status)(MP_EUSER + 3));
    expect_told(mp_async_error(never), mp_async_get(never, NULL, 0), cancelled);
    mp_status status = mp_future_result(failing, NULL, PROMPT);
    expect_told(mp_future_exception(failing, 0), status, (mp_status)(MP_EUSER + 4));
    status = mp_future_result(given_up, NULL, PROMPT);
    expect_told(mp_future_exception(given_up, 0), status, was_held || status ? MP_ECANCELLED : MP_OK);
    cr_assert(eq(int, said, status == MP_ECANCELLED));
    mp_async *handles[] = {held, fails, never};
    mp_future *futures[] = {failing, given_up};
    free_handles(handles, 3);
    free_futures(futures, 2);
}

EACH_KIND(post_memory, that_runs_out_anywhere__each_ends_and_says_so)
{
    real_memory = mp__memory;
    until_refused = INT_MAX;
    mp__memory = (mp__memory_calls){failing_malloc, failing_calloc, failing_realloc, failing_aligned_alloc};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    bool all_had = false;
    for (int first = 0; !all_had; first++) {
        until_refused = first;
        live_in_need(pool, executor);
        all_had = until_refused >= 0;
        until_refused = INT_MAX;
        cr_assert(eq(int, mp_pool_apply(pool, add_one, (&(int){1}), &(int){0}), MP_OK));
        expect_books(pool, 0);
    }
    mp_executor_free(&executor);
    close_join_free(&pool);
    mp__memory = real_memory;
}
