/* When a call stops: at the first failed item, at the n-th, at a part of them; what is cancelled then and what is kept. What is
 * cancelled has never begun; what has begun has its own status; and the call's error is of what really failed. */
#include "tests/lib/tries.h"

TestSuite(stop, .timeout = 60);
TestSuite(part, .timeout = 60);
TestSuite(failure, .timeout = 60);
TestSuite(kept, .timeout = 60);
TestSuite(stream, .timeout = 60);

static int got;

/* The failed ones have `status`; others have ended well if they began, and are cancelled if not. How many are cancelled. */
static int expect_stopped(mp_status status)
{
    int cancelled = 0, first = -1;
    for (int i = t.n - 1; i >= 0; i--) {
        cr_assert(le(int, the_board()->times[i], 1), "item %d", i);
        if (!the_board()->times[i]) {
            cancelled++;
            expect_failed(i, MP_ECANCELLED);
            cr_assert(zero(int, t.errors[i].attempt), "item %d", i);
        } else if (t.items[i] < NUMBERS || t.items[i] / NUMBERS == TAKES)
            expect_ok(i, i + 1);
        else
            expect_failed(first = i, status);
    }
    cr_assert(eq(int, t.status, status), "%s", t.error.message);
    cr_assert(eq(int, t.error.status, status));
    cr_assert(eq(sz, t.error.item, (size_t)first));
    return cancelled;
}

/* Far more of them than can be on their way, and none is quick. */
static void begin_slow(void)
{
    trial_begin(MOST);
    all_are(TAKES);
}

EVERY_KIND(stop, at_the_first__cancels_what_has_not_started)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static const ptrdiff_t sizes[] = {1, 10, MOST};
    for (int round = 0; round < 3; round++) {
        begin_slow();
        one_is(2, FAILS);
        RUN(pool, .stop_at = 1, .chunksize = sizes[round]);
        cr_assert(gt(int, expect_stopped(MP_EUSER + 1), MOST / 2));
    }
    expect_works(pool);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.accepted, stats.succeeded + stats.failed));
    close_join_free(&pool);
}

/* With one worker and the failing ones first it is known which. */
EVERY_KIND(stop, at_the_fourth__cancels_behind_that)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    begin_slow();
    for (int i = 0; i < 6; i++)
        one_is(2 * i, FAILS);
    RUN(pool, .stop_at = 4, .chunksize = 20);
    cr_assert(gt(int, expect_stopped(MP_EUSER + 1), MOST / 2));
    for (int i = 0; i < 7; i++)
        cr_assert(eq(int, t.statuses[i], i % 2 ? MP_OK : MP_EUSER + 1), "item %d", i);
    cr_assert(zero(sz, t.error.item));
    free_working(&pool);
}

EVERY_KIND(stop, at_more_than_fail__changes_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(200);
    for (int i = 0; i < 5; i++)
        one_is(i, FAILS);
    RUN(pool, .stop_at = 6);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(1);
    RUN(pool, .stop_at = PTRDIFF_MAX);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(2);
    free_working(&pool);
}

EVERY_KIND(stop, not_asked_for__all_are_tried)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(50);
    all_are(FAILS);
    RUN(pool, .chunksize = 7);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(1);
    free_working(&pool);
}

EVERY_KIND(stop, at_the_last_item__changes_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(20);
    one_is(19, FAILS);
    RUN(pool, .stop_at = 1, .chunksize = 20);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(1);
    free_working(&pool);
}

EVERY_KIND(stop, of_one_call__leaves_others_alone)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static int other[100], results[100];
    for (int i = 0; i < 100; i++)
        other[i] = i;
    begin_slow();
    one_is(0, FAILS);
    mp_async *async = mp_pool_map_async(pool, add_one, other, 100, .chunksize = 1);
    RUN(pool, .stop_at = 1, .chunksize = 1);
    expect_stopped(MP_EUSER + 1);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, 100), 100));
    mp_async_free(&async);
    free_working(&pool);
}

/* ---- a part ---- */

EVERY_KIND(part, exactly_reached__is_not_more)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(200);
    for (int i = 0; i < 20; i++)
        one_is(i * 3, FAILS);
    RUN(pool, .stop_at_percent = 10);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(1);
    free_working(&pool);
}

EVERY_KIND(part, passed__stops)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(200);
    all_are(TAKES);
    for (int i = 0; i < 21; i++)
        one_is(i, FAILS);
    RUN(pool, .stop_at_percent = 10, .chunksize = 30);
    cr_assert(gt(int, expect_stopped(MP_EUSER + 1), 150));
    for (int i = 0; i < 21; i++)
        cr_assert(eq(int, t.statuses[i], MP_EUSER + 1), "item %d", i);
    free_working(&pool);
}

/* One of three is more than 33.3 per cent. */
EVERY_KIND(part, of_few_items__is_exact)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(3);
    one_is(0, FAILS);
    one_is(1, TAKES);
    RUN(pool, .stop_at_percent = 33.4, .chunksize = 1);
    cr_assert(zero(int, expect_stopped(MP_EUSER + 1)));
    trial_begin(3);
    all_are(TAKES);
    one_is(0, FAILS);
    RUN(pool, .stop_at_percent = 33.3, .chunksize = 3);
    cr_assert(gt(int, expect_stopped(MP_EUSER + 1), 0));
    free_working(&pool);
}

EVERY_KIND(part, of_all__never_stops)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(40);
    all_are(FAILS);
    RUN(pool, .stop_at_percent = 100);
    expect_only_fine_ones(MP_EUSER + 1);
    expect_each_began(1);
    free_working(&pool);
}

EVERY_KIND(part, and_a_number__whichever_comes_first)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int round = 0; round < 2; round++) {
        begin_slow();
        for (int i = 0; i < 30; i++)
            one_is(i, FAILS);
        RUN(pool, .stop_at = round ? 2 : 1000, .stop_at_percent = round ? 100 : 1, .chunksize = MOST);
        cr_assert(gt(int, expect_stopped(MP_EUSER + 1), MOST / 2));
        int failed = 0;
        for (int i = 0; i < MOST; i++)
            failed += t.statuses[i] == MP_EUSER + 1;
        cr_assert(ge(int, failed, round ? 2 : 4));
    }
    free_working(&pool);
}

/* ---- which failures ---- */

EACH_PROCESS_KIND(failure, crash__counts)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    begin_slow();
    one_is(1, CRASHES);
    RUN(pool, .stop_at = 1, .chunksize = 10);
    cr_assert(gt(int, expect_stopped(MP_ECRASHED), MOST / 2));
    free_working(&pool);
}

EACH_PROCESS_KIND(failure, time_out__counts)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    begin_slow();
    one_is(1, HANGS);
    RUN(pool, .stop_at = 1, .chunksize = 10, .timeout = 1.0);
    cr_assert(gt(int, expect_stopped(MP_ETIMEDOUT), MOST / 2));
    free_working(&pool);
}

static mp_status take_text(const mp_str *in, int *out, mp_call *call)
{
    board_begin(call);
    nap_us(20000);
    *out = (int)in->size;
    return MP_OK;
}
MP_TASK(take_text, mp_str, int);

EACH_PROCESS_KIND(failure, input_that_cannot_be_sent__counts)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_str texts[MOST];
    trial_begin(MOST);
    for (int i = 0; i < MOST; i++)
        texts[i] = (mp_str){i == 2 ? "\xff" : "x", 1};
    t.status =
        mp_pool_map(pool, take_text, texts, MOST, t.results, .statuses = t.statuses, .error = &t.error, .stop_at = 1);
    cr_assert(eq(int, t.status, MP_EENCODING));
    cr_assert(eq(sz, t.error.item, 2));
    cr_assert(eq(int, t.statuses[2], MP_EENCODING));
    for (int i = 0; i < MOST; i++)
        if (i != 2)
            cr_assert(eq(int, t.statuses[i], the_board()->times[i] ? MP_OK : MP_ECANCELLED), "item %d", i);
    cr_assert(lt(int, the_board()->begun, MOST / 2));
    free_working(&pool);
}

/* Only what has failed for good. */
EVERY_KIND(failure, that_a_retry_mends__does_not_count)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(50);
    for (int i = 0; i < 50; i += 5)
        t.items[i] = UNTIL_ATTEMPT(3, FAILS, i);
    TRY(pool, .stop_at = 1, .retries = 2);
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    for (int i = 0; i < 50; i++)
        expect_tried(i, i % 5 ? 1 : 3, MP_OK);
    free_working(&pool);
}

/* Item 0 waits a minute for its next attempt when item 1 has used up its own. It was cancelled, and is not what failed. */
EACH_PROCESS_KIND(failure, while_an_earlier_item_waits_for_its_retry__is_the_calls_error)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(3);
    t.items[0] = UNTIL_ATTEMPT(2, FAILS, 0);
    t.items[1] = UNTIL_ATTEMPT(2, CRASHES, 1);
    TRY(pool, .stop_at = 1, .retries = 1, .retry_on = MP_ON_FAILED, .retry_delay = 60, .chunksize = 1);
    cr_assert(eq(int, t.statuses[1], MP_ECRASHED));
    cr_assert(eq(int, t.statuses[0], MP_ECANCELLED));
    cr_assert(eq(int, t.status, MP_ECRASHED));
    cr_assert(eq(sz, t.error.item, 1));
    free_working(&pool);
}

/* ---- what is kept ---- */

/* Two run: the first fails when the other has begun; that one is told, and has its result. */
static mp_status fail_beside(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    if (*in == 0) {
        while (the_board()->begun < 2)
            nap_us(200);
        return mp_fail(call, MP_EUSER, "beside");
    }
    while (!mp_call_cancelled(call))
        nap_us(200);
    *out = -*in;
    return MP_OK;
}
MP_TASK(fail_beside, int, int);

EACH_KIND(kept, what_runs__is_told_and_runs_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(20);
    t.status = mp_pool_map(pool, fail_beside, t.items, 20, t.results, .statuses = t.statuses, .errors = t.errors,
                           .stop_at = 1, .chunksize = 1);
    cr_assert(eq(int, t.status, MP_EUSER));
    cr_assert(eq(int, t.statuses[0], MP_EUSER));
    for (int i = 1; i < 20; i++)
        if (the_board()->times[i])
            expect_ok(i, -i);
        else
            expect_failed(i, MP_ECANCELLED);
    cr_assert(lt(int, the_board()->begun, 20));
    cr_assert(zero(u64, stats_of(pool).lost));
    free_working(&pool);
}

EVERY_KIND(kept, by_a_handle__statuses_and_results)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    begin_slow();
    one_is(3, FAILS);
    mp_async *async = mp_pool_map_async(pool, behave, t.items, MOST, .stop_at = 1, .chunksize = 50);
    cr_assert(eq(int, mp_async_get(async, t.results, PROMPT), MP_EUSER + 1));
    cr_assert(eq(sz, mp_async_error(async)->item, 3));
    for (int i = 0; i < MOST; i++) {
        mp_status status = !the_board()->times[i] ? MP_ECANCELLED : i == 3 ? MP_EUSER + 1 : MP_OK;
        cr_assert(eq(int, mp_async_statuses(async)[i], status), "item %d", i);
        cr_assert(eq(int, t.results[i], status ? 0 : i + 1), "item %d", i);
    }
    cr_assert(lt(int, the_board()->begun, MOST / 2));
    mp_async_free(&async);
    free_working(&pool);
}

/* ---- streams ---- */

static _Atomic int released, asked;
static void count_release(void *user)
{
    (void)user;
    released++;
}

/* The third fails; there is no end. */
static bool third_fails(int *item, void *user)
{
    (void)user;
    int i = asked++;
    *item = AS(i == 2 ? FAILS : FINE, i % 200);
    return true;
}

/* Items that were taken are told: good ones, one failure, cancelled ones; then once that the input was cancelled; then the end. */
static void expect_stream_stops(mp_iter *iter)
{
    int failed = 0, good = 0, cancelled = 0, input = 0;
    size_t index;
    mp_status status;
    while ((status = mp_iter_next(iter, &got, PROMPT, .index = &index)) != MP_END) {
        cr_assert(zero(int, input), "something comes behind the input's end");
        if (index == SIZE_MAX)
            cr_assert(eq(int, status, MP_ECANCELLED));
        input += index == SIZE_MAX;
        failed += status == MP_EUSER + 1;
        cancelled += status == MP_ECANCELLED && index != SIZE_MAX;
        good += status == MP_OK;
        cr_assert(status == MP_OK || status == MP_ECANCELLED || (status == MP_EUSER + 1 && index == 2), "%s",
                  mp_iter_error(iter)->message);
    }
    cr_assert(eq(int, failed, 1));
    cr_assert(eq(int, input, 1));
    /* Its last call may have been under way then: what that gave belongs to the rest. */
    int told = good + failed + cancelled;
    cr_assert(told == asked || told == asked - 1, "%d were taken, %d are told", asked, told);
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END));
}

EVERY_KIND(stream, that_is_endless__stops_at_its_first_failure)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_iter *iter =
        mp_pool_imap_from(pool, behave, third_fails, NULL, .stop_at = 1, .release = count_release, .chunksize = 2);
    expect_stream_stops(iter);
    cr_assert(SOON(released == 1));
    mp_iter_free(&iter);
    asked = 0;
    iter = mp_pool_imap_unordered_from(pool, behave, third_fails, NULL, .stop_at = 1, .release = count_release,
                                       .buffersize = 8);
    expect_stream_stops(iter);
    cr_assert(SOON(released == 2));
    mp_iter_free(&iter);
    free_working(&pool);
    cr_assert(eq(int, released, 2));
}

EVERY_KIND(stream, over_an_array__tells_each_that_was_taken)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    begin_slow();
    one_is(2, FAILS);
    mp_iter *iter = mp_pool_imap(pool, behave, t.items, MOST, .stop_at = 1, .chunksize = 3);
    size_t told = 0, index;
    mp_status status;
    while ((status = mp_iter_next(iter, &got, PROMPT, .index = &index)) != MP_END) {
        if (index == SIZE_MAX)
            continue;
        cr_assert(eq(sz, index, told++));
        bool began = the_board()->times[index];
        cr_assert(eq(int, status, !began ? MP_ECANCELLED : index == 2 ? MP_EUSER + 1 : MP_OK), "item %zu", index);
    }
    cr_assert(ge(sz, told, 3));
    cr_assert(lt(int, the_board()->begun, MOST / 2));
    mp_iter_free(&iter);
    free_working(&pool);
}
