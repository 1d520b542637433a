/* Force against finish, time-out against finish. What must hold whatever happens: an item is done, with its right result, or ended,
 * never both, never neither; it began once at most; and whoever is not meant is not hit: all other items begin once, and succeed. */
#include "tests/lib/futures.h"
#include "tests/lib/stuck.h"
#include <pthread.h>
#include <sched.h>

TestSuite(race, .timeout = 120);

enum { BATCH = 24, AROUND_US = 300 };

/* Takes from 0 to 300 us, by its number. */
static mp_status short_work(const int *in, int *out, mp_call *call)
{
    item_begin(*in);
    double end = seconds_now() + *in * 37 % AROUND_US * 1e-6;
    while (seconds_now() < end && !(*in % 4 == 1 && mp_call_cancelled(call)))
        ;
    *out = *in + 1;
    the_board()->ended++;
    return MP_OK;
}
MP_TASK(short_work, int, int);

/* Waits until so many items have begun, or all have ended, and then for a while that each round has of its own. */
static void meet(int begun, int n, int round)
{
    cr_assert(SOON(the_board()->begun >= begun || the_board()->ended >= n));
    double end = seconds_now() + round * 13 % AROUND_US * 1e-6;
    while (seconds_now() < end)
        ;
}

/* Every other future is cancelled when one of the batch has begun. */
EVERY_KIND(race, force_against_finish_of_futures__done_or_cancelled_and_no_other_is_hit)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    int cancelled = 0;
    for (int round = 0; round < few_lives(120); round++) {
        mp_future *futures[BATCH];
        bool said[BATCH] = {false};
        board_clear(BATCH);
        for (int i = 0; i < BATCH; i++)
            futures[i] = SUBMIT(executor, short_work, i);
        meet(round % BATCH, BATCH, round);
        for (int i = 0; i < BATCH; i += 2)
            said[i] = mp_future_cancel(futures[i], .force = true);
        for (int i = 0; i < BATCH; i++) {
            int result = -77;
            mp_status status = mp_future_result(futures[i], &result, PROMPT);
            cr_assert(eq(int, status, said[i] ? MP_ECANCELLED : MP_OK), "round %d, item %d: %s", round, i,
                      mp_future_exception(futures[i], 0)->message);
            cr_assert(eq(int, result, said[i] ? 0 : i + 1), "round %d, item %d", round, i);
            cr_assert(eq(int, mp_future_cancelled(futures[i]), said[i]));
            cr_assert(said[i] ? the_board()->times[i] <= 1 : the_board()->times[i] == 1, "round %d, item %d began %d times",
                      round, i, the_board()->times[i]);
            cancelled += said[i];
        }
        mp_pool *pool = mp_executor_pool(executor);
        cr_assert(SOON(stats_of(pool).pending == 0));
        free_futures(futures, BATCH);
    }
    cr_assert(zero(u64, stats_of(mp_executor_pool(executor)).lost));
    cr_assert(gt(int, cancelled, 0));
    mp_executor_free(&executor);
}

/* A map that is cancelled as it runs, beside one that is not; their items share workers. */
EACH_KIND(race, force_against_finish_of_a_map__done_or_cancelled_and_the_other_is_not_hit)
{
    enum { N = 60 };
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int items[N], others[N], results[N];
    for (int i = 0; i < N; i++) {
        items[i] = i;
        others[i] = 1000 + i;
    }
    for (int round = 0; round < few_lives(120); round++) {
        board_clear(2000);
        mp_async *one = mp_pool_map_async(pool, short_work, items, N, .chunksize = 1 + round % 9);
        mp_async *other = mp_pool_map_async(pool, short_work, others, N, .chunksize = 1 + round % 5);
        meet(1 + round % N, 2 * N, round);
        cr_assert(eq(int, mp_async_cancel(one, .force = true), MP_OK));
        cr_assert(eq(int, mp_async_wait(one, PROMPT), MP_OK), "round %d", round);
        spoil(results, sizeof results);
        (void)mp_async_get(one, results, 0);
        for (int i = 0; i < N; i++) {
            mp_status status = mp_async_statuses(one)[i];
            cr_assert(status == MP_OK || status == MP_ECANCELLED, "round %d, item %d: %s", round, i,
                      mp_status_name(status));
            cr_assert(eq(int, results[i], status ? 0 : i + 1), "round %d, item %d", round, i);
            cr_assert(status ? the_board()->times[i] <= 1 : the_board()->times[i] == 1, "round %d, item %d", round, i);
        }
        cr_assert(eq(int, mp_async_get(other, results, PROMPT), MP_OK), "round %d: %s", round,
                  mp_async_error(other)->message);
        for (int i = 0; i < N; i++) {
            cr_assert(eq(int, results[i], 1001 + i));
            cr_assert(eq(int, the_board()->times[1000 + i], 1), "round %d, item %d", round, i);
        }
        mp_async_free(&one);
        mp_async_free(&other);
    }
    expect_works(pool);
    cr_assert(zero(u64, stats_of(pool).lost));
    close_join_free(&pool);
}

/* Takes about as long as it may. */
static mp_status about_as_long(const int *in, int *out, mp_call *call)
{
    (void)call;
    item_begin(*in);
    if (*in % 2)
        nap_us(19000 + *in % 20 * 300);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(about_as_long, int, int);

/* Those that take no time are only late if the machine is. So these are not timed: they belong to another call. */
EACH_PROCESS_KIND(race, time_out_against_finish__done_or_timed_out_and_no_other_is_hit)
{
    enum { N = 40 };
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int slow[N], quick[N], results[N];
    for (int i = 0; i < N; i++) {
        slow[i] = 2 * i + 1;
        quick[i] = 1000 + 2 * i;
    }
    for (int round = 0; round < few_lives(10) + 1; round++) {
        board_clear(2000);
        mp_async *timed = mp_pool_map_async(pool, about_as_long, slow, N, .chunksize = 1 + round % 7, .timeout = 0.02);
        mp_async *other = mp_pool_map_async(pool, about_as_long, quick, N, .chunksize = 1 + round % 3);
        cr_assert(eq(int, mp_async_wait(timed, PROMPT), MP_OK));
        spoil(results, sizeof results);
        (void)mp_async_get(timed, results, 0);
        for (int i = 0; i < N; i++) {
            mp_status status = mp_async_statuses(timed)[i];
            cr_assert(status == MP_OK || status == MP_ETIMEDOUT, "round %d, item %d: %s", round, i, mp_status_name(status));
            cr_assert(eq(int, results[i], status ? 0 : slow[i] + 1), "round %d, item %d", round, i);
            /* Its time begins when its worker takes it up: one that then has no CPU for 20 ms does not come to its first line. */
            int begun = the_board()->times[slow[i]];
            cr_assert(status ? begun <= 1 : begun == 1, "round %d, item %d began %d times", round, i, begun);
        }
        cr_assert(eq(int, mp_async_get(other, results, PROMPT), MP_OK), "round %d: %s", round,
                  mp_async_error(other)->message);
        for (int i = 0; i < N; i++)
            cr_assert(eq(int, the_board()->times[quick[i]], 1), "round %d, item %d", round, i);
        mp_async_free(&timed);
        mp_async_free(&other);
    }
    expect_works(pool);
    cr_assert(zero(u64, stats_of(pool).lost));
    close_join_free(&pool);
}

typedef struct canceller {
    pthread_t thread;
    mp_async **handles;
    int n, offset;
} canceller;

static void *cancel_all(void *argument)
{
    canceller *me = argument;
    for (int i = 0; i < me->n; i++) {
        mp_async_cancel(me->handles[(i + me->offset) % me->n], .force = true);
        sched_yield();
    }
    return NULL;
}

/* Several threads cancel the same handles, which are also waited for. */
EVERY_KIND(race, many_who_cancel_the_same__each_item_ends_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int round = 0; round < few_lives(30); round++) {
        mp_async *handles[BATCH];
        canceller who[3];
        board_clear(BATCH);
        for (int i = 0; i < BATCH; i++)
            handles[i] = mp_pool_apply_async(pool, short_work, &i);
        for (int k = 0; k < 3; k++) {
            who[k] = (canceller){.handles = handles, .n = BATCH, .offset = k * BATCH / 3};
            cr_assert(zero(int, pthread_create(&who[k].thread, NULL, cancel_all, &who[k])));
        }
        for (int i = 0; i < BATCH; i++) {
            int result = -77;
            mp_status status = mp_async_get(handles[i], &result, PROMPT);
            cr_assert(status == MP_OK || status == MP_ECANCELLED, "%s", mp_async_error(handles[i])->message);
            cr_assert(eq(int, result, status ? 0 : i + 1));
            cr_assert(le(int, the_board()->times[i], 1));
        }
        for (int k = 0; k < 3; k++)
            pthread_join(who[k].thread, NULL);
        for (int i = 0; i < BATCH; i++)
            mp_async_free(&handles[i]);
    }
    cr_assert(zero(u64, stats_of(pool).lost));
    free_working(&pool);
}
