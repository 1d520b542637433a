/* Options that cannot be: refused with MP_EINVAL and the option's name, in every call that has them, and nothing has run. */
#include "tests/lib/futures.h"
#include <math.h>

TestSuite(call, .timeout = 60);
TestSuite(open, .timeout = 60);
TestSuite(good, .timeout = 60);

static const struct bad {
    const char *name;
    mp_policy policy;
} bad[] = {
    {"timeout", {.timeout = -1}},
    {"timeout", {.timeout = NAN}},
    {"timeout", {.timeout = -INFINITY}},
    {"timeout", {.timeout = -1e-9}},
    {"deadline", {.deadline = -0.5}},
    {"deadline", {.deadline = NAN}},
    {"retries", {.retries = -2}},
    {"retries", {.retries = INT_MIN}},
    {"retry_on", {.retry_on = 16}},
    {"retry_on", {.retry_on = ~0u}},
    {"retry_delay", {.retry_delay = -1}},
    {"retry_delay", {.retry_delay = NAN}},
    {"stop_at", {.stop_at = -1}},
    {"stop_at", {.stop_at = PTRDIFF_MIN}},
    {"stop_at_percent", {.stop_at_percent = -1}},
    {"stop_at_percent", {.stop_at_percent = NAN}},
    {"stop_at_percent", {.stop_at_percent = 100.5}},
};
enum { BAD = sizeof bad / sizeof *bad };

/* ".timeout": a whole word of the message, not the beginning of another's name. */
static bool is_named(const mp_error *error, const char *option)
{
    char dotted[32];
    size_t length = (size_t)snprintf(dotted, sizeof dotted, ".%s", option);
    for (const char *at = error->message; (at = strstr(at, dotted)); at += length)
        if (at[length] != '_' && (at[length] < 'a' || at[length] > 'z'))
            return true;
    return false;
}

static void expect_refused(const mp_error *error, const char *option)
{
    cr_assert(eq(int, error->status, MP_EINVAL), "%s: %s", option, error->message);
    cr_assert(is_named(error, option), "%s: %s", option, error->message);
}

static int in[3], out[3];

EVERY_KIND(call, map_and_apply__refuse_what_cannot_be)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_error error;
    for (int i = 0; i < BAD; i++) {
        mp_status statuses[3];
        spoil(statuses, sizeof statuses);
        spoil(out, sizeof out);
        mp_status status =
            mp_pool_map(pool, count_one, in, 3, out, .error = &error, .statuses = statuses, MP__POLICY_OF(bad[i].policy));
        cr_assert(eq(int, status, MP_EINVAL), "%s", bad[i].name);
        expect_refused(&error, bad[i].name);
        cr_assert(eq(sz, error.item, MP_NO_ITEM));
        cr_assert(eq(int, out[0], (int)0xa5a5a5a5), "touched");
        cr_assert(eq(int, (int)statuses[0], (int)0xa5a5a5a5), "touched");
        status = mp_pool_apply(pool, count_one, in, out, .error = &error, MP__POLICY_OF(bad[i].policy));
        cr_assert(eq(int, status, MP_EINVAL), "%s", bad[i].name);
        expect_refused(&error, bad[i].name);
        status = mp_pool_broadcast(pool, count_one, in, out, 1, .error = &error, MP__POLICY_OF(bad[i].policy));
        cr_assert(eq(int, status, MP_EINVAL), "%s", bad[i].name);
        expect_refused(&error, bad[i].name);
    }
    cr_assert(zero(int, the_board()->begun));
    cr_assert(zero(u64, stats_of(pool).accepted));
    close_join_free(&pool);
    cr_assert(zero(int, the_board()->begun));
}

/* Also of nothing: wrong is wrong. */
EVERY_KIND(call, map_of_nothing__refuses_too)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < BAD; i++)
        cr_assert(eq(int, mp_pool_map(pool, count_one, in, 0, out, MP__POLICY_OF(bad[i].policy)), MP_EINVAL), "%s",
                  bad[i].name);
    close_join_free(&pool);
}

EVERY_KIND(call, handles__say_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < BAD; i++) {
        mp_async *one = mp_pool_apply_async(pool, count_one, in, MP__POLICY_OF(bad[i].policy));
        mp_async *all = mp_pool_map_async(pool, count_one, in, 3, MP__POLICY_OF(bad[i].policy));
        cr_assert(mp_async_ready(one) && mp_async_ready(all));
        cr_assert(eq(int, mp_async_get(one, NULL, 0), MP_EINVAL));
        cr_assert(eq(ptr, (void *)mp_async_statuses(all), NULL));
        expect_refused(mp_async_error(one), bad[i].name);
        expect_refused(mp_async_error(all), bad[i].name);
        mp_async_free(&one);
        mp_async_free(&all);
    }
    close_join_free(&pool);
    cr_assert(zero(int, the_board()->begun));
}

static bool ask(int *item, void *user)
{
    (void)user;
    *item = 0;
    the_board()->word[0]++;
    return true;
}

static _Atomic int released;
static void count_release(void *user)
{
    (void)user;
    released++;
}

static void expect_stream_refused(mp_iter *iter, const char *option)
{
    mp_error error;
    cr_assert(eq(int, mp_iter_next(iter, out, PROMPT, .error = &error), MP_EINVAL), "%s", option);
    expect_refused(&error, option);
    cr_assert(eq(int, mp_iter_next(iter, out, PROMPT), MP_END));
    mp_iter_free(&iter);
}

EVERY_KIND(call, streams__say_it_first_and_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int i = 0; i < BAD; i++) {
        expect_stream_refused(mp_pool_imap(pool, count_one, in, 3, MP__POLICY_OF(bad[i].policy)), bad[i].name);
        expect_stream_refused(
            mp_pool_imap_unordered_from(pool, count_one, ask, NULL, .release = count_release, MP__POLICY_OF(bad[i].policy)),
            bad[i].name);
        cr_assert(SOON(released == i + 1));
    }
    close_join_free(&pool);
    cr_assert(zero(int, the_board()->begun));
    cr_assert(zero(int, the_board()->word[0]));
}

/* Nobody knows how long it is. */
EVERY_KIND(call, stream_with_a_part_of_its_items__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    expect_stream_refused(mp_pool_imap_from(pool, count_one, ask, NULL, .stop_at_percent = 10), "stop_at_percent");
    expect_stream_refused(mp_pool_imap(pool, count_one, in, 3, .stop_at_percent = 10), "stop_at_percent");
    close_join_free(&pool);
}

EVERY_KIND(call, submit_and_executor_map__say_it)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    for (int i = 0; i < BAD; i++) {
        mp_future *future = mp_submit(executor, count_one, in, MP__POLICY_OF(bad[i].policy));
        cr_assert(mp_future_done(future), "%s", bad[i].name);
        expect_refused(mp_future_exception(future, 0), bad[i].name);
        mp_future_free(&future);
    }
    expect_stream_refused(mp_executor_map(executor, count_one, in, 3, .retries = -2), "retries");
    expect_stream_refused(mp_executor_map(executor, count_one, in, 3, .retry_on = 64), "retry_on");
    expect_stream_refused(mp_executor_map(executor, count_one, in, 3, .retry_delay = -1, .buffersize = 1), "retry_delay");
    mp_executor_free(&executor);
    cr_assert(zero(int, the_board()->begun));
}

/* ---- opening ---- */

#define EXPECT_NOT_OPENED(option, ...)                                                                                     \
    do {                                                                                                                   \
        mp_pool *refused_pool = (mp_pool *)1;                                                                              \
        mp_executor *refused_executor = (mp_executor *)1;                                                                  \
        mp_error refused_error;                                                                                            \
        cr_assert(eq(int, mp_pool_open(&refused_pool, OPTIONS, .error = &refused_error, __VA_ARGS__), MP_EINVAL),          \
                  #__VA_ARGS__);                                                                                           \
        cr_assert(eq(ptr, refused_pool, NULL));                                                                            \
        expect_refused(&refused_error, option);                                                                            \
        cr_assert(eq(int, mp_executor_open(&refused_executor, OPTIONS, .error = &refused_error, __VA_ARGS__), MP_EINVAL),  \
                  #__VA_ARGS__);                                                                                           \
        cr_assert(eq(ptr, refused_executor, NULL));                                                                        \
        expect_refused(&refused_error, option);                                                                            \
    } while (0)

EVERY_KIND(open, numbers_that_cannot_be__are_refused)
{
    EXPECT_NOT_OPENED("timeout", .timeout = -1);
    EXPECT_NOT_OPENED("timeout", .timeout = NAN);
    EXPECT_NOT_OPENED("retries", .retries = -2);
    EXPECT_NOT_OPENED("retry_on", .retry_on = 32);
    EXPECT_NOT_OPENED("retry_delay", .retry_delay = -1);
    EXPECT_NOT_OPENED("retry_delay", .retry_delay = NAN);
    EXPECT_NOT_OPENED("grace", .grace = -1);
    EXPECT_NOT_OPENED("grace", .grace = NAN);
    EXPECT_NOT_OPENED("output", .output = (mp_output)7);
    EXPECT_NOT_OPENED("interrupt", .interrupt = (mp_interrupt_action)9);
}

ON_THREADS(open, what_only_processes_have__is_refused)
{
    EXPECT_NOT_OPENED("limits", .limits = {.cpu_time = 5});
    EXPECT_NOT_OPENED("limits", .limits = {.address_space = 1 << 30});
    EXPECT_NOT_OPENED("limits", .limits = {.file_size = 5});
    EXPECT_NOT_OPENED("limits", .limits = {.core = MP_NO_CORE});
    EXPECT_NOT_OPENED("maxrss", .maxrss = 1 << 30);
    EXPECT_NOT_OPENED("output", .output = MP_OUTPUT_CAPTURE);
}

/* ---- what is fine ---- */

EVERY_KIND(good, zero_and_the_largest__are_taken)
{
    static const mp_policy fine[] = {
        {.timeout = 0},
        {.timeout = MP_FOREVER, .deadline = MP_FOREVER},
        {.timeout = INFINITY, .deadline = INFINITY},
        {.timeout = 1e18, .deadline = 1e18, .retry_delay = 1e18},
        {.retries = INT_MAX, .retry_on = 15, .retry_delay = MP_FOREVER},
        {.retries = MP_NO_RETRY, .retry_on = MP_ON_LOST},
        {.stop_at = PTRDIFF_MAX},
        {.stop_at_percent = 100},
        {.stop_at_percent = 1e-300},
    };
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = MP_FOREVER, .grace = MP_FOREVER, .retries = MP_NO_RETRY);
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        mp_error error;
        mp_status status = mp_pool_map(pool, count_one, in, 3, out, .error = &error, MP__POLICY_OF(fine[i]));
        cr_assert(eq(int, status, MP_OK), "%zu: %s", i, error.message);
    }
    close_join_free(&pool);
}
