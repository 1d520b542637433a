/* Retries: which failures, how often, in which order, on which worker; and what is told in the end. What an item does depends on the
 * attempt: it fails in some manner until the one that its number says. */
#include "tests/lib/tries.h"
#include <pthread.h>

TestSuite(times, .timeout = 60);
TestSuite(classes, .timeout = 60);
TestSuite(order, .timeout = 60);
TestSuite(limit, .timeout = 60);
TestSuite(calls, .timeout = 60);

/* ---- how often ---- */

EVERY_KIND(times, default__is_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(20);
    t.items[7] = UNTIL_ATTEMPT(2, FAILS, 7);
    TRY(pool, .chunksize = 5);
    for (int i = 0; i < 20; i++)
        expect_tried(i, 1, i == 7 ? MP_EUSER + 1 : MP_OK);
    cr_assert(zero(u64, stats_of(pool).retried));
    free_working(&pool);
}

EVERY_KIND(times, item_that_never_succeeds__is_run_once_and_its_retries)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int retries = 1; retries <= 5; retries += 2) {
        trial_begin(20);
        t.items[0] = UNTIL_ATTEMPT(NEVER, FAILS, 0);
        t.items[19] = UNTIL_ATTEMPT(NEVER, FAILS, 19);
        TRY(pool, .chunksize = retries, .retries = retries);
        for (int i = 0; i < 20; i++)
            expect_tried(i, i % 19 ? 1 : 1 + retries, i % 19 ? MP_OK : MP_EUSER + 1);
        cr_assert(eq(int, t.status, MP_EUSER + 1));
        cr_assert(eq(int, t.error.attempt, 1 + retries));
        cr_assert(zero(sz, t.error.item));
    }
    cr_assert(eq(u64, stats_of(pool).retried, 2 * (1 + 3 + 5)));
    free_working(&pool);
}

EVERY_KIND(times, item_that_succeeds_at_the_third_attempt__has_its_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(30);
    for (int i = 0; i < 30; i += 3)
        t.items[i] = UNTIL_ATTEMPT(3, FAILS, i);
    TRY(pool, .retries = 4, .chunksize = 10);
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    cr_assert(is_zero(&t.error, sizeof t.error));
    for (int i = 0; i < 30; i++)
        expect_tried(i, i % 3 ? 1 : 3, MP_OK);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.retried, 20));
    cr_assert(eq(u64, stats.succeeded, 30));
    cr_assert(zero(u64, stats.failed));
    free_working(&pool);
}

EVERY_KIND(times, every_item_of_many__has_its_own_attempts)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    trial_begin(MOST);
    for (int i = 0; i < MOST; i++)
        t.items[i] = UNTIL_ATTEMPT(1 + i % 4, FAILS, i);
    TRY(pool, .retries = 3);
    for (int i = 0; i < MOST; i++)
        expect_tried(i, 1 + i % 4, MP_OK);
    for (int at = 0; at < the_board()->word[LOG]; at++)
        cr_assert(le(int, logged(at, ATTEMPT), 1 + logged(at, NUMBER) % 4));
    free_working(&pool);
}

EACH_PROCESS_KIND(times, every_item_crashes_at_first__each_is_run_twice)
{
    int n = few_lives(100);
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(n);
    for (int i = 0; i < n; i++)
        t.items[i] = UNTIL_ATTEMPT(2, CRASHES, i);
    TRY(pool, .retries = 1);
    for (int i = 0; i < n; i++)
        expect_tried(i, 2, MP_OK);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.lost, (uint64_t)n));
    cr_assert(eq(u64, stats.retried, (uint64_t)n));
    free_working(&pool);
}

/* ---- which failures ---- */

static const struct {
    manner manner;
    unsigned class;
    mp_status status;
} kinds_of_failure[] = {
    {FAILS, MP_ON_FAILED, MP_EUSER + 1},
    {CRASHES, MP_ON_CRASHED, MP_ECRASHED},
    {HANGS, MP_ON_TIMEDOUT, MP_ETIMEDOUT},
};

/* One item for each manner; which of them are run again? */
static void expect_retried(mp_pool *pool, unsigned classes)
{
    trial_begin(6);
    for (int i = 0; i < 3; i++)
        t.items[2 * i] = UNTIL_ATTEMPT(NEVER, kinds_of_failure[i].manner, 2 * i);
    TRY(pool, .retries = 1, .retry_on = classes, .timeout = TIME_UP, .chunksize = 3);
    for (int i = 0; i < 6; i++) {
        bool again = i % 2 == 0 && (classes == 0 || classes & kinds_of_failure[i / 2].class);
        expect_tried(i, again ? 2 : 1, i % 2 ? MP_OK : kinds_of_failure[i / 2].status);
    }
}

EACH_PROCESS_KIND(classes, each_alone__are_retried_and_no_other)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    expect_retried(pool, MP_ON_FAILED);
    expect_retried(pool, MP_ON_CRASHED);
    expect_retried(pool, MP_ON_TIMEDOUT);
    expect_retried(pool, MP_ON_LOST);
    free_working(&pool);
}

EACH_PROCESS_KIND(classes, together__are_retried)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    expect_retried(pool, 0);
    expect_retried(pool, MP_ON_FAILED | MP_ON_CRASHED);
    expect_retried(pool, MP_ON_CRASHED | MP_ON_TIMEDOUT | MP_ON_LOST);
    free_working(&pool);
}

ON_THREADS(classes, time_out_of_one_that_heeds__is_retried_as_that)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(2);
    t.items[0] = UNTIL_ATTEMPT(2, HEEDS_FAILS, 0);
    t.items[1] = UNTIL_ATTEMPT(2, FAILS, 1);
    TRY(pool, .retries = 1, .retry_on = MP_ON_TIMEDOUT, .timeout = TIME_UP);
    expect_tried(0, 2, MP_OK);
    expect_tried(1, 1, MP_EUSER + 1);
    free_working(&pool);
}

EACH_PROCESS_KIND(classes, time_out__counts_anew_for_each_attempt)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(3);
    t.items[1] = UNTIL_ATTEMPT(3, HANGS, 1);
    double start = seconds_now();
    TRY(pool, .retries = 2, .timeout = TIME_UP, .chunksize = 3);
    cr_assert(ge(dbl, seconds_now() - start, 2 * TIME_UP));
    for (int i = 0; i < 3; i++)
        expect_tried(i, i == 1 ? 3 : 1, MP_OK);
    free_working(&pool);
}

static void *kill_soon(void *argument)
{
    nap_us(500);
    kill(getpid(), SIGKILL);
    return argument;
}

/* A text of 8 MiB; the first attempt's worker is killed when it is on its way, or shortly before. */
static mp_status large_then_killed(const int *in, mp_str *out, mp_call *call)
{
    enum { SIZE = 8 << 20 };
    pthread_t thread;
    char *text = mp_call_alloc(call, SIZE);
    if (!text)
        return MP_ENOMEM;
    the_board()->times[*in]++;
    memset(text, 'x', SIZE);
    *out = (mp_str){text, SIZE};
    return mp_call_attempt(call) == 1 && pthread_create(&thread, NULL, kill_soon, NULL) ? MP_ESYSTEM : MP_OK;
}
MP_TASK(large_then_killed, int, mp_str);

/* A life is for one item, so that what comes to kill it late kills nobody else. */
EACH_PROCESS_KIND(classes, result_that_is_lost__is_made_again)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxtasksperchild = 1);
    for (int round = 0; round < few_lives(20); round++) {
        mp_str out = {0};
        mp_error error;
        mp_status status =
            mp_pool_apply(pool, large_then_killed, &round, &out, .retries = 1, .retry_on = MP_ON_LOST, .error = &error);
        cr_assert(status == MP_OK || status == MP_ECRASHED, "%s", error.message);
        int times = the_board()->times[round];
        cr_assert(status ? times == 1 : times == 1 || times == 2, "%d times", times);
        cr_assert(eq(sz, out.size, status ? 0 : 8 << 20));
        mp_free(mp_str, &out, 1);
        status = mp_pool_apply(pool, large_then_killed, (&(int){round + 100}), &out, .retries = 1, .error = &error);
        cr_assert(eq(int, status, MP_OK), "%s", error.message);
        cr_assert(eq(sz, out.size, 8 << 20));
        mp_free(mp_str, &out, 1);
    }
    free_working(&pool);
}

/* ---- what is never retried ---- */

static mp_status give_no_text(const int *in, mp_str *out, mp_call *call)
{
    (void)in;
    board_begin(call);
    *out = (mp_str){"\xff\xfe", 2};
    return MP_OK;
}
MP_TASK(give_no_text, int, mp_str);

static mp_status take_text(const mp_str *in, int *out, mp_call *call)
{
    board_begin(call);
    *out = (int)in->size;
    return MP_OK;
}
MP_TASK(take_text, mp_str, int);

EACH_PROCESS_KIND(classes, what_cannot_be_sent__is_not_tried_again)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_str bad = {"\xff\xfe", 2}, out;
    int in = 0, got;
    cr_assert(eq(int, mp_pool_apply(pool, give_no_text, &in, &out, .retries = 3), MP_EENCODING));
    cr_assert(eq(int, the_board()->begun, 1));
    cr_assert(eq(int, mp_pool_apply(pool, take_text, &bad, &got, .retries = 3), MP_EENCODING));
    cr_assert(eq(int, the_board()->begun, 1));
    cr_assert(zero(u64, stats_of(pool).retried));
    free_working(&pool);
}

static mp_status return_code(const int *in, int *out, mp_call *call)
{
    (void)out;
    board_begin(call);
    return (mp_status)*in;
}
MP_TASK(return_code, int, int);

/* But what the task says itself is its failure, whatever it calls it. */
EVERY_KIND(classes, status_of_the_librarys_that_a_task_returns__is_its_failure)
{
    static const mp_status codes[] = {MP_EINVAL, MP_ENOMEM, MP_ESYSTEM, MP_EFAILED, MP_ELIMIT, MP_EUSER};
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < 6; i++) {
        int in = codes[i], out;
        board_clear(1);
        mp_status status = mp_pool_apply(pool, return_code, &in, &out, .retries = 2, .retry_on = MP_ON_FAILED);
        cr_assert(eq(int, status, codes[i]));
        cr_assert(eq(int, the_board()->begun, 3), "%s", mp_status_name(codes[i]));
    }
    free_working(&pool);
}

/* ---- order, delays ---- */

/* The longest delay there is; everything else ends meanwhile. */
EACH_KIND(order, while_an_item_waits_for_its_retry__others_run)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(50);
    t.items[0] = UNTIL_ATTEMPT(2, FAILS, 0);
    mp_async *async = mp_pool_map_async(pool, try, t.items, 50, .retries = 1, .retry_delay = 60);
    cr_assert(SOON(the_board()->begun == 50));
    cr_assert(not(mp_async_ready(async)));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(ne(int, mp_async_statuses(async)[0], MP_OK));
    for (int i = 1; i < 50; i++)
        cr_assert(eq(int, mp_async_statuses(async)[i], MP_OK));
    expect_each_began(1);
    mp_async_free(&async);
    free_working(&pool);
}

static void expect_one_works(mp_pool *pool)
{
    int out = 0;
    cr_assert(eq(int, mp_pool_apply(pool, add_one, (&(int){6}), &out), MP_OK));
    cr_assert(eq(int, out, 7));
}

EACH_KIND(order, pool_that_is_terminated__does_not_wait_for_retries)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int in = UNTIL_ATTEMPT(NEVER, FAILS, 0);
    mp_async *async = mp_pool_apply_async(pool, try, &in, .retries = 1, .retry_delay = 60);
    cr_assert(SOON(the_board()->begun == 1));
    expect_one_works(pool); /* so the failure of the first one is known */
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_ETERMINATED));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
    cr_assert(eq(int, the_board()->begun, 1));
}

EVERY_KIND(order, pool_that_is_closed__still_retries)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(10);
    for (int i = 0; i < 10; i++)
        t.items[i] = UNTIL_ATTEMPT(3, FAILS, i);
    mp_async *async = mp_pool_map_async(pool, try, t.items, 10, .retries = 2, .retry_delay = 0.05);
    close_join_free(&pool);
    cr_assert(eq(int, mp_async_get(async, NULL, 0), MP_OK));
    expect_each_began(3);
    mp_async_free(&async);
}

EVERY_KIND(order, delays__double)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(1);
    t.items[0] = UNTIL_ATTEMPT(4, FAILS, 0);
    double start = seconds_now();
    TRY(pool, .retries = 3, .retry_delay = 0.1);
    expect_tried(0, 4, MP_OK);
    cr_assert(ge(dbl, seconds_now() - start, 0.1 + 0.2 + 0.4));
    free_working(&pool);
}

/* Items take a while, so that few of them are on their way at a time. */
static mp_status try_slowly(const int *in, int *out, mp_call *call)
{
    nap_us(1000);
    return try(in, out, call);
}
MP_TASK(try_slowly, int, int);

EVERY_KIND(order, retry__comes_before_items_that_have_not_run)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int last = -1, second = -1;
    trial_begin(MOST);
    t.items[5] = UNTIL_ATTEMPT(2, FAILS, 5);
    t.status = mp_pool_map(pool, try_slowly, t.items, MOST, t.results, .retries = 1, .chunksize = 1);
    cr_assert(eq(int, t.status, MP_OK));
    for (int at = 0; at < MOST + 1; at++) {
        if (logged(at, NUMBER) == MOST - 1)
            last = at;
        if (logged(at, NUMBER) == 5 && logged(at, ATTEMPT) == 2)
            second = at;
    }
    cr_assert(ge(int, second, 0));
    cr_assert(lt(int, second, last));
    cr_assert(lt(int, second, MOST / 2), "the retry was the %dth to begin", second);
    free_working(&pool);
}

EACH_PROCESS_KIND(order, item_that_crashed__is_run_again_on_a_new_worker)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(3);
    t.items[1] = UNTIL_ATTEMPT(2, CRASHES, 1);
    TRY(pool, .retries = 1, .chunksize = 3);
    int first = -1, second = -1;
    for (int at = 0; at < the_board()->word[LOG]; at++)
        if (logged(at, NUMBER) == 1)
            *(logged(at, ATTEMPT) == 1 ? &first : &second) = logged(at, PROCESS);
    cr_assert(ne(int, first, second));
    for (int i = 0; i < 3; i++)
        expect_tried(i, i == 1 ? 2 : 1, MP_OK);
    cr_assert(eq(u64, stats_of(pool).lost, 1));
    cr_assert(eq(u64, stats_of(pool).started, 2));
    free_working(&pool);
}

/* ---- the pool's and the call's ---- */

EVERY_KIND(limit, of_the_pool__holds_where_the_call_says_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .retries = 2, .retry_delay = 0.1);
    trial_begin(2);
    t.items[0] = UNTIL_ATTEMPT(NEVER, FAILS, 0);
    double start = seconds_now();
    TRY(pool, .retry_on = 0);
    expect_tried(0, 3, MP_EUSER + 1);
    expect_tried(1, 1, MP_OK);
    cr_assert(ge(dbl, seconds_now() - start, 0.3));
    free_working(&pool);
}

EVERY_KIND(limit, of_the_call__counts_where_both_say_one)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .retries = 5, .retry_delay = 60);
    trial_begin(1);
    t.items[0] = UNTIL_ATTEMPT(NEVER, FAILS, 0);
    TRY(pool, .retries = 1, .retry_delay = 0.001);
    expect_tried(0, 2, MP_EUSER + 1);
    TRY(pool, .retries = MP_NO_RETRY);
    cr_assert(eq(int, the_board()->times[0], 3));
    cr_assert(eq(int, t.errors[0].attempt, 1));
    close_join_free(&pool);
}

EACH_PROCESS_KIND(limit, classes_of_the_pool__hold_where_the_call_says_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .retries = 1, .retry_on = MP_ON_CRASHED);
    trial_begin(2);
    t.items[0] = UNTIL_ATTEMPT(NEVER, FAILS, 0);
    t.items[1] = UNTIL_ATTEMPT(NEVER, CRASHES, 1);
    TRY(pool, .chunksize = 1);
    expect_tried(0, 1, MP_EUSER + 1);
    expect_tried(1, 2, MP_ECRASHED);
    TRY(pool, .chunksize = 1, .retry_on = MP_ON_FAILED);
    cr_assert(eq(int, the_board()->times[0], 3));
    cr_assert(eq(int, the_board()->times[1], 3));
    free_working(&pool);
}
