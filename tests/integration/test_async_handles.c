/* Handles in number, freed in every order, and cancelled at every moment, on every kind of pool. */
#include "tests/lib/kinds.h"
#include <string.h>

TestSuite(cancel, .timeout = 60);
TestSuite(handles, .timeout = 60);

enum { N = 300 };
static int items[N], results[N];

/* ---- cancel ---- */

EACH_KIND(cancel, what_has_not_started__never_does)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *held = mp_pool_apply_async(pool, hold, items);
    cr_assert(SOON(the_board()->begun == 1));
    mp_async *async = mp_pool_map_async(pool, count_one, items, N, .chunksize = 7);
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_ECANCELLED), "while the only worker is busy");
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], MP_ECANCELLED));
    cr_assert(not(mp_async_ready(held)));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(held, NULL, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->begun, 1));
    mp_async_free(&held);
    mp_async_free(&async);
}

static mp_status hold_first(const mp_bytes *in, int *out, mp_call *call)
{
    *out = (int)in->size;
    return mp_call_item(call) ? count_one(out, out, call) : hold(out, out, call);
}
MP_TASK(hold_first, mp_bytes, int);

/* The third one does not fit into the pipe, so the worker cannot be told that the second one is cancelled before it has read that. */
EACH_PROCESS_KIND(cancel, what_stands_before_one_that_is_half_sent__never_starts)
{
    static char bytes[8 << 20];
    mp_bytes inputs[4] = {{bytes, 1}, {bytes, 1}, {bytes, sizeof bytes}, {bytes, 1}};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_map_async(pool, hold_first, inputs, 4, .chunksize = 4);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], i ? MP_ECANCELLED : MP_OK), "item %d", i);
    cr_assert(eq(int, the_board()->begun, 1));
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    cr_assert(zero(u64, stats_of(pool).lost));
    mp_async_free(&async);
    close_join_free(&pool);
}

/* It never reads its pipe again, and does not stand in the way of its own end. */
EACH_PROCESS_KIND(cancel, what_hangs_before_one_that_is_half_sent__is_ended_by_force)
{
    static char bytes[8 << 20];
    mp_bytes inputs[3] = {{bytes, 1}, {bytes, 1}, {bytes, sizeof bytes}};
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = 0.05);
    mp_async *async = mp_pool_map_async(pool, hold_first, inputs, 3, .chunksize = 3);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_async_cancel(async, .force = true), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], MP_ECANCELLED), "item %d", i);
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    cr_assert(eq(int, the_board()->begun, 1));
    mp_async_free(&async);
    close_join_free(&pool);
}

EACH_KIND(cancel, what_runs__goes_on_and_can_see_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 10);
    mp_async *async = mp_pool_map_async(pool, hold_or_see, items, 10, .chunksize = 10);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(not(mp_async_ready(async)));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_ECANCELLED));
    cr_assert(eq(sz, mp_async_error(async)->item, 1));
    cr_assert(eq(int, mp_async_statuses(async)[0], MP_OK));
    cr_assert(eq(int, results[0], -1), "it has seen that nobody waits for it");
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->begun, 1));
    mp_async_free(&async);
}

EVERY_KIND(cancel, what_is_complete__does_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, add_one, items, N);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    cr_assert(eq(int, mp_async_get(async, results, 0), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(cancel, one_call__leaves_others_alone)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *all[20];
    fill(items, N);
    for (int i = 0; i < 20; i++)
        all[i] = mp_pool_map_async(pool, hold, items, 10, .chunksize = 3);
    for (int i = 1; i < 20; i += 2)
        cr_assert(eq(int, mp_async_cancel(all[i]), MP_OK));
    the_board()->gate = 1;
    for (int i = 0; i < 20; i += 2) {
        cr_assert(eq(int, mp_async_get(all[i], results, PROMPT), MP_OK));
        cr_assert(eq(int, find_wrong(results, 10), 10));
    }
    for (int i = 1; i < 20; i += 2)
        cr_assert(eq(int, mp_async_get(all[i], NULL, PROMPT), MP_ECANCELLED));
    for (int i = 0; i < 20; i++)
        mp_async_free(&all[i]);
    mp_pool_free(&pool);
}

/* Whatever the moment: each item has run and succeeded, or has not begun and is cancelled; never both, never neither. */
EVERY_KIND(cancel, at_any_moment__each_item_has_run_or_is_cancelled)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    for (int round = 0; round < ROUNDS(60); round++) {
        board_clear(N);
        mp_async *async = mp_pool_map_async(pool, count_one, items, N, .chunksize = round % 9);
        nap_us(round * 20);
        cr_assert(eq(int, mp_async_cancel(async), MP_OK));
        mp_status status = mp_async_get(async, results, PROMPT);
        cr_assert(status == MP_OK || status == MP_ECANCELLED, "status %d", status);
        for (int i = 0; i < N; i++) {
            mp_status one = mp_async_statuses(async)[i];
            cr_assert(eq(int, the_board()->times[i], one == MP_OK ? 1 : 0), "round %d item %d status %d", round, i, one);
            cr_assert(eq(int, results[i], one == MP_OK ? i + 1 : 0));
            cr_assert(one == MP_OK || one == MP_ECANCELLED);
        }
        mp_async_free(&async);
    }
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.accepted, stats.succeeded + stats.failed));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&pool);
}

/* ---- free, in every order ---- */

static void count_good(const int *result, void *user)
{
    (void)result;
    ++*(_Atomic int *)user;
}

static void count_bad(const mp_error *error, void *user)
{
    (void)error;
    *(_Atomic int *)user += 1000;
}

#define COUNTED .callback = count_good, .error_callback = count_bad

EACH_KIND(handles, freed_before_anything_is_complete__the_work_goes_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    _Atomic int told = 0;
    mp_async *all[N];
    for (int i = 0; i < N; i++)
        all[i] = mp_pool_apply_async(pool, hold, &i, COUNTED, .user = (void *)&told);
    for (int i = 0; i < N; i++)
        mp_async_free(&all[(i * 7) % N]);
    for (int i = 0; i < N; i++)
        cr_assert(zero(ptr, all[i]));
    the_board()->gate = 1;
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->ended, N));
    cr_assert(eq(int, told, N));
}

EVERY_KIND(handles, freed_while_they_complete__nothing_is_lost)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    _Atomic int told = 0;
    mp_async *all[N];
    for (int i = 0; i < N; i++) {
        all[i] = mp_pool_apply_async(pool, count_one, &i, COUNTED, .user = (void *)&told);
        if (i % 3 == 0)
            mp_async_free(&all[i]);
        if (i >= 20 && i % 3 == 1)
            mp_async_free(&all[i - 18]);
    }
    for (int i = N; i-- > 0;)
        mp_async_free(&all[i]);
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->ended, N));
    cr_assert(eq(int, told, N));
}

EVERY_KIND(handles, freed_after_completion_in_reverse__each_had_its_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *all[N];
    for (int i = 0; i < N; i++)
        all[i] = mp_pool_apply_async(pool, count_one, &i);
    for (int i = N; i-- > 0;) {
        cr_assert(eq(int, mp_async_get(all[i], &results[i], PROMPT), MP_OK));
        mp_async_free(&all[i]);
    }
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_pool_free(&pool);
}

EVERY_KIND(handles, freed_after_the_pool__each_is_complete)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *all[N];
    _Atomic int told = 0;
    int good = 0, bad = 0;
    for (int i = 0; i < N; i++)
        all[i] = mp_pool_apply_async(pool, count_one, &i, COUNTED, .user = (void *)&told);
    mp_pool_free(&pool);
    for (int i = 0; i < N; i++) {
        mp_status status = mp_async_get(all[i], results, 0);
        good += status == MP_OK;
        bad += status == MP_ETERMINATED;
        mp_async_free(&all[i]);
    }
    cr_assert(eq(int, good + bad, N));
    cr_assert(eq(int, told, good + 1000 * bad));
}

EVERY_KIND(handles, with_a_descriptor_each__give_them_all_back)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *all[100];
    for (int i = 0; i < 100; i++) {
        all[i] = mp_pool_apply_async(pool, count_one, &i);
        cr_assert(ge(int, mp_async_fd(all[i]), 0));
    }
    for (int i = 0; i < 100; i++)
        mp_async_free(&all[i]);
    mp_pool_free(&pool);
}
