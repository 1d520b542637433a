/* AsyncResult, row by row, on every kind of pool: get, wait, ready, successful; what a refused call's handle says; its
 * descriptor; inputs that are gone; handles that outlive their pool. */
#include "tests/lib/kinds.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>

TestSuite(get, .timeout = 60);
TestSuite(wait, .timeout = 60);
TestSuite(refused, .timeout = 60);
TestSuite(input, .timeout = 60);
TestSuite(fd, .timeout = 60);
TestSuite(outlives, .timeout = 60);

enum { N = 100 };
static int items[N], results[N];

/* ---- get, wait, ready, successful ---- */

EACH_KIND(get, before_it_is_ready__times_out_and_works_later)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int result = 7;
    mp_async *async = mp_pool_apply_async(pool, hold, (&(int){1}));
    cr_assert(eq(int, mp_async_get(async, &result, 0.02), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_async_get(async, &result, 0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_async_get(async, &result, -3.0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_async_get(async, &result, __builtin_nan("")), MP_ETIMEDOUT));
    cr_assert(eq(int, result, 7), "not touched");
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, &result, MP_FOREVER), MP_OK));
    cr_assert(eq(int, result, 2));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(get, twice__shows_the_same_which_is_the_handles)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_str one[2], two[2];
    int sizes[2] = {10, 100000};
    mp_async *async = mp_pool_map_async(pool, tell_text, sizes, 2);
    cr_assert(eq(int, mp_async_get(async, one, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_get(async, two, 0), MP_OK));
    cr_assert(eq(ptr, (void *)one[1].data, (void *)two[1].data));
    mp_free(mp_str, one, 2);
    cr_assert(is_zero(one, sizeof one));
    mp_pool_free(&pool);
    cr_assert(is_text(&two[0], 10) && is_text(&two[1], 100000), "as long as the handle is kept");
    cr_assert(eq(int, mp_async_get(async, one, 0), MP_OK));
    cr_assert(is_text(&one[0], 10) && is_text(&one[1], 100000));
    mp_async_free(&async);
}

EVERY_KIND(get, result_that_nobody_wants__is_freed_with_its_handle)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, tell_text, (&(int){100000}));
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_OK));
    mp_async_free(&async);
    async = mp_pool_apply_async(pool, tell_text, (&(int){100000}));
    mp_async_free(&async);
    close_join_free(&pool);
}

EVERY_KIND(get, failure__says_the_same_each_time)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int result = 7;
    mp_async *async = mp_pool_apply_async(pool, fail_some, (&(int){-4}));
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_async_get(async, &result, PROMPT), MP_EUSER + 4));
        cr_assert(zero(int, result));
        cr_assert(eq(str, (char *)mp_async_error(async)->message, (char *)"minus 4"));
    }
    cr_assert(zero(sz, mp_async_error(async)->item));
    cr_assert(not(mp_async_successful(async)));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(get, failed_items_of_a_map__the_smallest_index_is_told_and_the_rest_kept)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, N);
    items[60] = -60;
    items[20] = -20;
    items[21] = -21;
    spoil(results, sizeof results);
    mp_async *async = mp_pool_map_async(pool, fail_some, items, N, .chunksize = 7);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_EUSER + 20));
    cr_assert(eq(sz, mp_async_error(async)->item, 20));
    const mp_status *statuses = mp_async_statuses(async);
    for (int i = 0; i < N; i++) {
        bool failed = i == 60 || i == 20 || i == 21;
        cr_assert(eq(int, results[i], failed ? 0 : i + 1));
        cr_assert(eq(int, statuses[i], failed ? MP_EUSER + i : MP_OK));
    }
    cr_assert(eq(sz, board_find_other(N, 1), N), "every item is tried, once");
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(get, one_item_fails_at_once__is_not_ready_before_all_have_ended)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *held = mp_pool_apply_async(pool, hold, items);
    cr_assert(SOON(the_board()->begun == 1));
    int two[2] = {-1, 5};
    mp_async *async = mp_pool_map_async(pool, fail_some, two, 2);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_statuses(async)[1], MP_OK));
    the_board()->gate = 1;
    mp_async_free(&async);
    mp_async_free(&held);
    mp_pool_free(&pool);
}

EVERY_KIND(get, room_of_another_size__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    double wide = 7;
    char narrow = 7;
    int result = 0;
    mp_async *async = mp_pool_apply_async(pool, add_one, (&(int){1}));
    cr_assert(eq(int, mp_async_get(async, &wide, PROMPT), MP_ETYPE));
    cr_assert(eq(int, mp_async_get(async, &narrow, PROMPT), MP_ETYPE));
    cr_assert(wide == 7 && narrow == 7, "not touched");
    cr_assert(eq(int, mp_async_get(async, &result, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_get(async, (void *)&result, PROMPT), MP_OK), "of a void pointer the size is not known");
    cr_assert(eq(int, result, 2));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(wait, tells_whether_it_is_ready)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, hold, items);
    cr_assert(eq(int, mp_async_wait(async, 0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_async_wait(async, 0.02), MP_ETIMEDOUT));
    cr_assert(not(mp_async_ready(async)));
    cr_assert(not(mp_async_successful(async)));
    cr_assert(eq(int, mp_async_error(async)->status, MP_ERUNNING));
    cr_assert(zero(ptr, (void *)mp_async_statuses(async)));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, 0), MP_OK));
    cr_assert(mp_async_ready(async));
    cr_assert(mp_async_successful(async));
    cr_assert(eq(int, mp_async_error(async)->status, MP_OK));
    cr_assert(eq(int, mp_async_statuses(async)[0], MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(wait, for_what_has_failed__is_ok)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, fail_some, (&(int){-1}));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(mp_async_ready(async));
    cr_assert(not(mp_async_successful(async)));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

static void *get_and_compare(void *argument)
{
    int got[N] = {0};
    mp_status status = mp_async_get(argument, got, PROMPT);
    return (void *)(intptr_t)(status == MP_OK && find_wrong(got, N) == N);
}

EACH_KIND(wait, four_threads_for_one_handle__all_get_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    pthread_t threads[4];
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, hold, items, N);
    for (int i = 0; i < 4; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, get_and_compare, async)));
    the_board()->gate = 1;
    for (int i = 0; i < 4; i++) {
        void *right = NULL;
        pthread_join(threads[i], &right);
        cr_assert(ne(ptr, right, NULL));
    }
    mp_async_free(&async);
    mp_pool_free(&pool);
}

/* ---- what cannot be submitted ---- */

static void never_int(const int *value, void *user)
{
    (void)value;
    ++*(int *)user;
}

static void never_ints(const int *values, size_t n, void *user)
{
    (void)values, (void)n;
    ++*(int *)user;
}

static void never_error(const mp_error *error, void *user)
{
    (void)error;
    ++*(int *)user;
}

/* Complete, with the reason, and no callback has run or will. Frees it. */
static void expect_refused(mp_async *async, mp_status status)
{
    cr_assert(ne(ptr, async, NULL));
    cr_assert(mp_async_ready(async));
    cr_assert(not(mp_async_successful(async)));
    cr_assert(eq(int, mp_async_error(async)->status, status), "%s", mp_async_error(async)->message);
    cr_assert(ne(chr, mp_async_error(async)->message[0], 0));
    cr_assert(eq(sz, mp_async_error(async)->item, MP_NO_ITEM));
    cr_assert(eq(int, mp_async_wait(async, 0), MP_OK));
    cr_assert(eq(int, mp_async_get(async, NULL, 0), status));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    struct pollfd ready = {.fd = mp_async_fd(async), .events = POLLIN};
    cr_assert(eq(int, poll(&ready, 1, 0), 1));
    mp_async_free(&async);
    cr_assert(zero(ptr, async));
}

#define HEARD .error_callback = never_error, .user = &heard

EVERY_KIND(refused, call__is_a_handle_that_says_why)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int *nothing = NULL, heard = 0;
    expect_refused(mp_pool_apply_async(NULL, add_one, items, .callback = never_int, HEARD), MP_EINVAL);
    expect_refused(mp_pool_map_async(NULL, add_one, items, N, .callback = never_ints, HEARD), MP_EINVAL);
    expect_refused(mp_pool_apply_async(pool, add_one, nothing, .callback = never_int, HEARD), MP_EINVAL);
    expect_refused(mp_pool_map_async(pool, add_one, nothing, N, .callback = never_ints, HEARD), MP_EINVAL);
    expect_refused(mp_pool_map_async(pool, add_one, items, N, .chunksize = -1, .callback = never_ints, HEARD), MP_EINVAL);
    mp_pool_close(pool);
    expect_refused(mp_pool_apply_async(pool, add_one, items, .callback = never_int, HEARD), MP_ECLOSED);
    expect_refused(mp_pool_map_async(pool, add_one, items, N, .callback = never_ints, HEARD), MP_ECLOSED);
    expect_refused(mp_pool_map_async(pool, add_one, items, 0, .callback = never_ints, HEARD), MP_ECLOSED);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
    cr_assert(zero(int, heard));
}

CHECK(refused, no_handle__is_an_argument_that_is_not_valid)
{
    mp_async *none = NULL;
    int result;
    cr_assert(eq(int, mp_async_wait(none, 0), MP_EINVAL));
    cr_assert(eq(int, mp_async_get(none, &result, 0), MP_EINVAL));
    cr_assert(eq(int, mp_async_cancel(none), MP_EINVAL));
    cr_assert(not(mp_async_ready(none)));
    cr_assert(not(mp_async_successful(none)));
    cr_assert(zero(ptr, (void *)mp_async_statuses(none)));
    cr_assert(eq(int, mp_async_fd(none), -1));
    mp_async_free(&none);
    mp_async_free(NULL);
}

/* ---- inputs are copied ---- */

typedef struct order {
    mp_str name;
    MP_SPAN(int) parts;
} order;
MP_TYPE(order, name, parts);

static mp_status add_up(const order *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        nap_us(200);
    *out = (int)in->name.size;
    for (size_t i = 0; i < in->parts.count; i++)
        *out += in->parts.items[i];
    return in->name.data[0] == 'n' ? MP_OK
                                   : mp_fail(call, MP_EUSER, "the name is '%.*s'", (int)in->name.size, in->name.data);
}
MP_TASK(add_up, order, int);

static order *make_orders(int n)
{
    order *orders = calloc((size_t)n, sizeof *orders);
    for (int i = 0; i < n; i++) {
        orders[i].name = (mp_str){strdup("name"), 4};
        orders[i].parts.items = malloc(2 * sizeof(int));
        orders[i].parts.count = 2;
        orders[i].parts.items[0] = orders[i].parts.items[1] = i;
    }
    return orders;
}

static void ruin_orders(order *orders, int n)
{
    for (int i = 0; i < n; i++) {
        memset((void *)(uintptr_t)orders[i].name.data, 'X', 4);
        spoil(orders[i].parts.items, 2 * sizeof(int));
        free((void *)(uintptr_t)orders[i].name.data);
        free(orders[i].parts.items);
    }
    spoil(orders, (size_t)n * sizeof *orders);
    free(orders);
}

EACH_KIND(input, overwritten_and_freed_after_the_call__does_not_matter)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    order *orders = make_orders(N), *one = make_orders(1);
    mp_async *all = mp_pool_map_async(pool, add_up, orders, N);
    mp_async *single = mp_pool_apply_async(pool, add_up, one);
    ruin_orders(orders, N);
    ruin_orders(one, 1);
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(all, results, PROMPT), MP_OK), "%s", mp_async_error(all)->message);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, results[i], 4 + 2 * i));
    cr_assert(eq(int, mp_async_get(single, results, PROMPT), MP_OK));
    mp_async_free(&all);
    mp_async_free(&single);
    mp_pool_free(&pool);
}

/* ---- the descriptor ---- */

static bool is_readable(int fd, int milliseconds)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, milliseconds) == 1 && (look.revents & POLLIN);
}

EACH_KIND(fd, polls_readable__exactly_from_when_it_is_ready)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, hold, items);
    int fd = mp_async_fd(async);
    cr_assert(ge(int, fd, 0));
    cr_assert(eq(int, mp_async_fd(async), fd));
    cr_assert(not(is_readable(fd, 20)));
    the_board()->gate = 1;
    cr_assert(is_readable(fd, PROMPT * 1000));
    cr_assert(mp_async_ready(async));
    cr_assert(is_readable(fd, 0), "and stays so");
    cr_assert(eq(int, mp_async_get(async, results, 0), MP_OK));
    cr_assert(is_readable(fd, 0));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(fd, asked_for_late__is_readable_at_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, add_one, items);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(is_readable(mp_async_fd(async), 0));
    mp_pool_free(&pool);
    cr_assert(is_readable(mp_async_fd(async), 0));
    mp_async_free(&async);
}

static _Atomic int callback_gate;

static void wait_for_gate(const int *value, void *user)
{
    (void)value, (void)user;
    while (!callback_gate)
        nap_us(200);
}

EVERY_KIND(fd, with_a_callback_that_runs__is_not_readable_yet)
{
    callback_gate = 0;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, count_one, items, .callback = wait_for_gate);
    int fd = mp_async_fd(async);
    cr_assert(SOON(stats_of(pool).succeeded == 1));
    cr_assert(not(is_readable(fd, 20)));
    cr_assert(not(mp_async_ready(async)));
    callback_gate = 1;
    cr_assert(is_readable(fd, PROMPT * 1000));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

/* ---- handles after their pool ---- */

EACH_KIND(outlives, its_pool__results_are_still_there)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int sizes[2] = {5, 50000};
    mp_str texts[2];
    mp_async *done = mp_pool_map_async(pool, tell_text, sizes, 2);
    cr_assert(eq(int, mp_async_wait(done, PROMPT), MP_OK));
    mp_async *cut_off = mp_pool_map_async(pool, hold_or_see, items, 10, .chunksize = 1);
    mp_pool_free(&pool);
    cr_assert(mp_async_ready(done) && mp_async_ready(cut_off));
    cr_assert(eq(int, mp_async_get(done, texts, 0), MP_OK));
    cr_assert(is_text(&texts[0], 5) && is_text(&texts[1], 50000));
    cr_assert(eq(int, mp_async_get(cut_off, results, 0), MP_ETERMINATED));
    cr_assert(eq(int, mp_async_cancel(cut_off), MP_OK));
    mp_free(mp_str, texts, 2);
    mp_async_free(&done);
    mp_async_free(&cut_off);
}

EVERY_KIND(outlives, a_closed_and_joined_pool__results_are_there)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, add_one, items, N);
    close_join_free(&pool);
    cr_assert(eq(int, mp_async_get(async, results, 0), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_async_free(&async);
}
