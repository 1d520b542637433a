/* MP_CHAOS on pools: each word does what it says, to the same items each time, and says that it was it. */
#include "pool/chaos.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/kinds.h"
#include <stdlib.h>

TestSuite(havoc, .timeout = 60);

enum { N = 300 };

static int in[N], out[N];
static mp_status statuses[N];
static mp_error errors[N];

static void run_map(mp_pool *pool)
{
    for (int i = 0; i < N; i++)
        in[i] = i;
    spoil(out, sizeof out);
    (void)!mp_pool_map(pool, count_one, in, N, out, .chunksize = 7, .statuses = statuses, .errors = errors);
}

static mp__chaos set_chaos(const char *text)
{
    mp__chaos chaos;
    mp_error error;
    cr_assert_eq(mp__chaos_parse(text, &chaos, &error), MP_OK, "%s", error.message);
    setenv("MP_CHAOS", text, 1);
    return chaos;
}

static bool hits(const mp__chaos *chaos, mp__havoc havoc, size_t item, uint32_t attempt)
{
    uint64_t number;
    return mp__chaos_hits(chaos, havoc, "count_one", item, attempt, &number);
}

/* Exactly those items that are hit fail, in a way; twice, for they are the same. */
static void expect_failures(const char *text, mp__havoc havoc, mp_status status, const char *message)
{
    mp__chaos chaos = set_chaos(text);
    int failed = 0;
    mp_pool *pool;
    cr_assert_eq(mp_pool_open(&pool, .processes = 3, OPTIONS), MP_OK);
    for (int round = 0; round < 2; round++) {
        run_map(pool);
        for (size_t i = 0; i < N; i++) {
            bool hit = hits(&chaos, havoc, i, 1);
            failed += hit;
            cr_assert_eq(statuses[i], hit ? status : MP_OK, "item %zu: %s", i, errors[i].message);
            cr_assert(hit == false || (says(&errors[i], "MP_CHAOS") && says(&errors[i], message)), "%s", errors[i].message);
            cr_assert_eq(out[i], hit ? 0 : (int)i + 1);
        }
    }
    cr_assert_gt(failed, 2);
    mp_pool_free(&pool);
    unsetenv("MP_CHAOS");
}

EACH_KIND(havoc, fail__fails_these_items)
{
    expect_failures("fail:5%,seed:11", MP__CHAOS_FAIL, MP_EFAILED, "MP_CHAOS has this item fail");
}

EACH_PROCESS_KIND(havoc, kill__kills_the_workers_of_these_items)
{
    expect_failures("kill:5%", MP__CHAOS_KILL, MP_ECRASHED, "(MP_CHAOS is set)");
}

ON_THREADS(havoc, kill__fails_these_items)
{
    expect_failures("kill:5%", MP__CHAOS_KILL, MP_ECRASHED, "MP_CHAOS would have killed the worker here");
}

EACH_KIND(havoc, slow__costs_no_item)
{
    set_chaos("slow:10%");
    mp_pool *pool;
    cr_assert_eq(mp_pool_open(&pool, .processes = 3, OPTIONS), MP_OK);
    double before = seconds_now();
    run_map(pool);
    cr_assert_gt(seconds_now() - before, 0.001, "one nap at the least");
    for (int i = 0; i < N; i++)
        cr_assert(statuses[i] == MP_OK && out[i] == i + 1);
    mp_pool_free(&pool);
    unsetenv("MP_CHAOS");
}

/* Of the workers that follow each other there some do not come to be: others do, and no item is the worse for it. */
EACH_PROCESS_KIND(havoc, start__costs_no_item)
{
    mp__chaos chaos = set_chaos("start:30%,seed:4");
    mp_pool *pool;
    mp_pool_stats stats;
    uint64_t life = 1, hit = 0;
    for (; life <= N / 10; life++)
        hit += mp__chaos_hits_start(&chaos, 0, life);
    cr_assert_gt(hit, 2);
    cr_assert_eq(mp_pool_open(&pool, .processes = 1, .maxtasksperchild = 10, OPTIONS), MP_OK);
    run_map(pool);
    for (int i = 0; i < N; i++)
        cr_assert(statuses[i] == MP_OK && out[i] == i + 1, "%s", errors[i].message);
    cr_assert_eq(mp_pool_get_stats(pool, &stats), MP_OK);
    cr_assert_gt(stats.started, N / 10 + hit / 2, "more lives than items for them");
    mp_pool_free(&pool);
    unsetenv("MP_CHAOS");
}

EACH_PROCESS_KIND(havoc, start_of_every_replacement__breaks_the_pool_which_says_why)
{
    set_chaos("start:100%,kill:100%");
    mp_pool *pool;
    mp_error error;
    int one = 1, result;
    cr_assert_eq(mp_pool_open(&pool, .processes = 1, OPTIONS), MP_OK);
    cr_assert_eq(mp_pool_apply(pool, count_one, &one, &result, .error = &error), MP_ECRASHED);
    cr_assert(says(&error, "MP_CHAOS"), "%s", error.message);
    cr_assert_eq(mp_pool_apply(pool, count_one, &one, &result, .error = &error), MP_EBROKEN);
    cr_assert(says(&error, "MP_CHAOS"), "%s", error.message);
    mp_pool_free(&pool);
    unsetenv("MP_CHAOS");
}

EACH_KIND(havoc, text_that_cannot_be_read__opens_no_pool)
{
    mp_pool *pool;
    mp_error error;
    setenv("MP_CHAOS", "kil:5%", 1);
    cr_assert_eq(mp_pool_open(&pool, .processes = 1, .error = &error, OPTIONS), MP_EINVAL);
    cr_assert_null(pool);
    cr_assert(says(&error, "MP_CHAOS=\"kil:5%\" cannot be read"), "%s", error.message);
    unsetenv("MP_CHAOS");
}

/* An item that hangs has begun, and does not end until it is cancelled, or its worker is killed. */
EACH_KIND(havoc, hang__hangs)
{
    set_chaos("hang:100%");
    mp_pool *pool;
    int one = 1, result;
    cr_assert_eq(mp_pool_open(&pool, .processes = 1, OPTIONS), MP_OK);
    mp_async *handle = mp_pool_apply_async(pool, count_one, &one);
    cr_assert_eq(mp_async_wait(handle, 0.1), MP_ETIMEDOUT);
    mp_pool_terminate(pool);
    mp_pool_join(pool);
    mp_status status = mp_async_get(handle, &result, MP_FOREVER);
    cr_assert_neq(status, MP_OK);
    cr_assert_eq(board_here->begun, 0, "the task itself was not run");
    mp_async_free(&handle);
    mp_pool_free(&pool);
    unsetenv("MP_CHAOS");
}

/* ---- by attempt ---- */

CHECK(havoc, second_attempt__is_decided_anew)
{
    mp__chaos chaos = {.any = true, .chance = {[MP__CHAOS_FAIL] = 1ull << 52}};
    static rig r;
    board_open();
    rig_open(&r, MP_FORK, (mp__backend_config){.chaos = &chaos});
    rig_start(&r);
    int failed = 0;
    for (uint32_t attempt = 1; attempt <= 20; attempt++) {
        int value = 1;
        rig_send(&r, &mp__task_count_one, 5, attempt, &value);
        kind->flush(r.workers, 0);
        mp__event event = rig_await_kind(&r, MP__EV_RESULT);
        bool hit = hits(&chaos, MP__CHAOS_FAIL, 5, attempt);
        cr_assert_eq(event.frame == NULL, hit);
        failed += hit;
    }
    cr_assert(failed > 3 && failed < 17, "%d", failed);
    rig_close(&r);
    board_close();
}
