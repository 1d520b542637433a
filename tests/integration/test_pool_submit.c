/* What Python says of Pool(...) and of submitting, call by call, on every kind of pool: options, the order of results, chunk
 * sizes, what is refused and when. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <pthread.h>
#include <string.h>

TestSuite(options, .timeout = 60);
TestSuite(submit, .timeout = 60);
TestSuite(chunks, .timeout = 60);
TestSuite(closed, .timeout = 60);

typedef struct pair {
    int a, b;
} pair;
MP_TYPE(pair, a, b);

static mp_status subtract(const pair *in, int *out, mp_call *call)
{
    (void)call;
    *out = in->a - in->b;
    return MP_OK;
}
MP_TASK(subtract, pair, int);

static double shifted(double x, double by)
{
    return x + by;
}
MP_FUNCTION(double, shifted, (double, x), (double, by));

/* Never registered. */
static mp_status run_ghost(const void *in, void *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
static const mp_task ghost = {
    .layout = sizeof(mp_task), .name = "ghost", .input = &mp__type_mp_none, .output = &mp__type_mp_none, .run = run_ghost};

/* ---- Pool(processes, initializer, initargs, maxtasksperchild, context) ---- */

EACH_KIND_HERE(options, processes_zero__is_the_cpu_count)
{
    setenv("MILLPOND_CPU_COUNT", "3", 1);
    mp_pool *pool = OPEN_POOL(.processes = 0);
    unsetenv("MILLPOND_CPU_COUNT");
    cr_assert(eq(int, stats_of(pool).processes, 3));
    cr_assert(eq(int, stats_of(pool).workers, 3));
    mp_pool_free(&pool);
}

EACH_KIND(options, workers__run_before_anything_is_submitted)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, stats_of(pool).workers, 2));
    cr_assert(eq(u64, stats_of(pool).started, 2));
    mp_pool_free(&pool);
}

static void expect_refused(const mp_pool_options *options, mp_status status)
{
    mp_pool *pool = (mp_pool *)&pool;
    mp_error error;
    spoil(&error, sizeof error);
    mp_pool_options with = *options;
    with.error = &error;
    cr_assert(eq(int, mp_pool_open_with(&pool, &with), status), "%s", error.message);
    cr_assert(zero(ptr, pool));
    cr_assert(eq(int, error.status, status));
    cr_assert(ne(chr, error.message[0], 0));
}

EVERY_KIND(options, negative_processes__are_refused)
{
    expect_refused(&(mp_pool_options){OPTIONS, .processes = -1}, MP_EINVAL);
    expect_refused(&(mp_pool_options){OPTIONS, .processes = 100001}, MP_EINVAL);
}

EVERY_KIND(options, negative_maxtasksperchild__is_refused)
{
    expect_refused(&(mp_pool_options){OPTIONS, .processes = 1, .maxtasksperchild = -1}, MP_EINVAL);
}

EVERY_KIND(options, initializer_that_is_not_registered__is_refused)
{
    expect_refused(&(mp_pool_options){OPTIONS, .processes = 1, .initializer = {&ghost, NULL}}, MP_EUNREGISTERED);
    expect_refused(&(mp_pool_options){OPTIONS, .processes = 1, .finalizer = {&ghost, NULL}}, MP_EUNREGISTERED);
}

EVERY_KIND(options, name_of_41_bytes__is_refused)
{
    char name[42];
    memset(name, 'n', 41);
    name[41] = 0;
    expect_refused(&(mp_pool_options){OPTIONS, .processes = 1, .thread_name_prefix = name}, MP_EINVAL);
    name[40] = 0;
    mp_pool *pool = OPEN_POOL(.processes = 1, .thread_name_prefix = name);
    mp_pool_free(&pool);
}

CHECK(options, threads_with_a_start_method__are_refused)
{
    for (mp_start_method method = MP_FORK; method <= MP_FORKSERVER; method++)
        expect_refused(&(mp_pool_options){.kind = MP_THREADS, .start_method = method, .processes = 1}, MP_EINVAL);
}

CHECK(options, unknown_kind_and_start_method__are_refused)
{
    expect_refused(&(mp_pool_options){.kind = (mp_kind)7, .processes = 1}, MP_EINVAL);
    expect_refused(&(mp_pool_options){.start_method = (mp_start_method)9, .processes = 1}, MP_EINVAL);
}

/* ---- apply, map, starmap, imap and their forms ---- */

EVERY_KIND(submit, apply__gives_the_value)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int item = 41, result = 0;
    cr_assert(eq(int, mp_pool_apply(pool, add_one, &item, &result), MP_OK));
    cr_assert(eq(int, result, 42));
    double sum = 0;
    cr_assert(eq(int, mp_pool_apply(pool, shifted, (&(shifted_args){.x = 40, .by = 2}), &sum), MP_OK));
    cr_assert(eq(dbl, sum, 42));
    mp_pool_free(&pool);
}

EVERY_KIND(submit, apply_async__gives_a_handle_to_the_value)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int result = 0;
    mp_async *async = mp_pool_apply_async(pool, add_one, (&(int){41}));
    cr_assert(eq(int, mp_async_get(async, &result, PROMPT), MP_OK));
    cr_assert(eq(int, result, 42));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

enum { N = 1000 };
static int items[N], results[N];

EVERY_KIND(submit, map__gives_results_in_the_order_of_the_input)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, N);
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results, .chunksize = 3), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_pool_free(&pool);
}

EVERY_KIND(submit, map_async__gives_all_results_at_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, add_one, items, N, .chunksize = 3);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, starmap__passes_several_arguments)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    pair pairs[3] = {{5, 4}, {7, 5}, {9, 6}};
    int differences[3] = {0};
    cr_assert(eq(int, mp_pool_starmap(pool, subtract, pairs, 3, differences), MP_OK));
    cr_assert(eq(int, find_wrong(differences, 3), 3));
    memset(differences, 0, sizeof differences);
    mp_async *async = mp_pool_starmap_async(pool, subtract, pairs, 3);
    cr_assert(eq(int, mp_async_get(async, differences, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(differences, 3), 3));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, imap__gives_results_in_the_order_of_the_input)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, N);
    mp_iter *iter = mp_pool_imap(pool, add_one, items, N);
    for (int i = 0, result = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, i + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, &results[0], PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, imap_unordered__gives_each_result_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, N);
    memset(results, 0, sizeof results);
    mp_iter *iter = mp_pool_imap_unordered(pool, add_one, items, N);
    for (int i = 0, result = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        results[result - 1] += result;
    }
    cr_assert(eq(int, find_wrong(results, N), N));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, imap_unordered_with_one_worker__keeps_the_order_of_the_input)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 100);
    mp_iter *iter = mp_pool_imap_unordered(pool, add_one, items, 100, .chunksize = 3);
    for (int i = 0, result = 0; i < 100; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, i + 1));
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

typedef struct client {
    pthread_t thread;
    mp_pool *pool;
    int first, wrong;
} client;

/* A hundred calls of each form; nothing is asserted outside the test's own thread. */
static void *use_pool(void *argument)
{
    client *me = argument;
    for (int i = 0; i < ROUNDS(100); i++) {
        int from[4] = {me->first, me->first + 1, me->first + 2, me->first + 3}, to[4] = {0};
        me->wrong += mp_pool_map(me->pool, add_one, from, 4, to) != MP_OK || to[3] != from[3] + 1;
        mp_async *async = mp_pool_map_async(me->pool, add_one, from, 4);
        memset(to, 0, sizeof to);
        me->wrong += mp_async_get(async, to, PROMPT) != MP_OK || to[3] != from[3] + 1;
        mp_async_free(&async);
        mp_iter *iter = mp_pool_imap(me->pool, add_one, from, 4);
        for (int k = 0; k < 4; k++)
            me->wrong += mp_iter_next(iter, to, PROMPT) != MP_OK || to[0] != from[k] + 1;
        mp_iter_free(&iter);
    }
    return NULL;
}

EVERY_KIND(submit, four_threads_at_once__each_gets_its_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    client clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = (client){.pool = pool, .first = 1000 * i};
        cr_assert(zero(int, pthread_create(&clients[i].thread, NULL, use_pool, &clients[i])));
    }
    for (int i = 0; i < 4; i++)
        pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 4; i++)
        cr_assert(zero(int, clients[i].wrong));
    mp_pool_free(&pool);
}

/* Which of its calls did not say that the pool belongs to another process; 0: all did. */
static int use_as_a_stranger(mp_pool *pool, mp_async *handle, mp_iter *stream)
{
    int one = 1;
    mp_async *async = mp_pool_apply_async(pool, add_one, &one);
    mp_iter *iter = mp_pool_imap(pool, add_one, &one, 1);
    if (mp_pool_apply(pool, add_one, &one, &one) != MP_EFOREIGN)
        return 1;
    if (mp_async_error(async)->status != MP_EFOREIGN)
        return 2;
    if (mp_iter_next(iter, &one, 0) != MP_EFOREIGN)
        return 3;
    if (mp_async_wait(handle, 0) != MP_EFOREIGN || mp_async_cancel(handle) != MP_EFOREIGN)
        return 4;
    if (mp_iter_next(stream, &one, 0) != MP_EFOREIGN)
        return 5;
    if (mp_async_fd(handle) != -1 || mp_iter_fd(stream) != -1)
        return 6;
    if (mp_pool_close(pool) != MP_EFOREIGN || mp_pool_terminate(pool) != MP_EFOREIGN)
        return 7;
    if (mp_pool_resize(pool, 1) != MP_EFOREIGN || mp_pool_join(pool, 0) != MP_EFOREIGN)
        return 8;
    mp_pool_free(&pool);
    return pool ? 9 : 0;
}

EACH_KIND(submit, in_another_process__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int one = 1, status = -1;
    mp_async *async = mp_pool_apply_async(pool, hold, &one);
    mp_iter *iter = mp_pool_imap(pool, add_one, &one, 1);
    cr_assert(SOON(the_board()->begun == 1)); /* and soon nobody allocates any more: see proc_fork */
    pid_t child = proc_fork();
    if (child == 0)
        _exit(use_as_a_stranger(pool, async, iter));
    waitpid(child, &status, 0);
    cr_assert(exited(status, 0), "wait status %x", status);
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, &one, PROMPT), MP_OK));
    cr_assert(eq(int, mp_iter_next(iter, &one, PROMPT), MP_OK));
    mp_async_free(&async);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, task_that_is_not_registered__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_assert(eq(int, mp_pool_map_task(pool, &ghost, NULL, 3, NULL, NULL), MP_EUNREGISTERED));
    mp_async *async = mp_pool_apply_async_task(pool, &ghost, NULL, NULL);
    cr_assert(eq(int, mp_async_error(async)->status, MP_EUNREGISTERED));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(submit, no_pool_or_no_items__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int *nothing = NULL, result;
    cr_assert(eq(int, mp_pool_map(NULL, add_one, items, 3, results), MP_EINVAL));
    cr_assert(eq(int, mp_pool_map(pool, add_one, nothing, 3, results), MP_EINVAL));
    cr_assert(eq(int, mp_pool_apply(pool, add_one, nothing, &result), MP_EINVAL));
    cr_assert(eq(int, mp_pool_apply(NULL, add_one, items, &result), MP_EINVAL));
    cr_assert(eq(int, mp_pool_broadcast(NULL, add_one, items, results, 1), MP_EINVAL));
    cr_assert(eq(int, mp_pool_resize(NULL, 1), MP_EINVAL));
    cr_assert(zero(u64, stats_of(pool).accepted));
    mp_pool_free(&pool);
}

/* ---- chunk sizes ---- */

EVERY_KIND(chunks, of_any_size__run_each_item_once)
{
    static const int lengths[] = {1, 10, 15, 17, 100, N};
    static const int sizes[] = {0, 1, 2, 3, 7, 100, 5000};
    mp_pool *pool = OPEN_POOL(.processes = 4);
    fill(items, N);
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            int n = lengths[l];
            board_clear(N);
            memset(results, 0, sizeof results);
            cr_assert(eq(int, mp_pool_map(pool, count_one, items, n, results, .chunksize = sizes[s]), MP_OK));
            cr_assert(eq(int, find_wrong(results, n), n), "n %d, chunksize %d", n, sizes[s]);
            cr_assert(eq(sz, board_find_other(n, 1), n), "n %d, chunksize %d", n, sizes[s]);
        }
    mp_pool_free(&pool);
}

EVERY_KIND(chunks, negative__are_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int result = 7;
    cr_assert(eq(int, mp_pool_map(pool, count_one, items, 1, &result, .chunksize = -1), MP_EINVAL));
    cr_assert(eq(int, result, 7));
    mp_async *async = mp_pool_map_async(pool, count_one, items, 1, .chunksize = -1);
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_EINVAL));
    mp_iter *iter = mp_pool_imap(pool, count_one, items, 1, .chunksize = -1);
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_EINVAL));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    mp_async_free(&async);
    mp_iter_free(&iter);
    close_join_free(&pool);
    cr_assert(zero(int, the_board()->begun));
}

EVERY_KIND(chunks, of_an_empty_map__do_not_matter)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int *nothing = NULL;
    cr_assert(eq(int, mp_pool_map(pool, add_one, nothing, 0, nothing), MP_OK));
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, 0, results, .chunksize = 7), MP_OK));
    mp_iter *iter = mp_pool_imap(pool, add_one, nothing, 0);
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(chunks, with_a_failing_item__the_rest_is_run_and_kept)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_status statuses[20];
    mp_error error;
    fill(items, 20);
    items[5] = -3;
    items[9] = -4;
    cr_assert(eq(int,
                 mp_pool_map(pool, fail_some, items, 20, results, .chunksize = 20, .statuses = statuses, .error = &error),
                 MP_EUSER + 3));
    cr_assert(eq(sz, error.item, 5));
    cr_assert(eq(sz, board_find_other(20, 1), 20), "an item was not tried");
    for (int i = 0; i < 20; i++) {
        cr_assert(eq(int, results[i], i == 5 || i == 9 ? 0 : i + 1));
        cr_assert(eq(int, statuses[i], i == 5 ? MP_EUSER + 3 : i == 9 ? MP_EUSER + 4 : MP_OK));
    }
    mp_pool_free(&pool);
}

/* ---- Pool not running ---- */

static void expect_all_refused(mp_pool *pool)
{
    mp_status statuses[2];
    spoil(statuses, sizeof statuses);
    spoil(results, 2 * sizeof *results);
    cr_assert(eq(int, mp_pool_map(pool, count_one, items, 2, results, .statuses = statuses), MP_ECLOSED));
    cr_assert(eq(int, statuses[0], MP_ECLOSED));
    cr_assert(eq(int, statuses[1], MP_ECLOSED));
    cr_assert(zero(int, results[1]));
    cr_assert(eq(int, mp_pool_map(pool, count_one, items, 0, results), MP_ECLOSED));
    cr_assert(eq(int, mp_pool_apply(pool, count_one, items, results), MP_ECLOSED));
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 2), MP_ECLOSED));
    cr_assert(eq(int, mp_pool_resize(pool, 2), MP_ECLOSED));
    mp_async *one = mp_pool_apply_async(pool, count_one, items);
    mp_async *all = mp_pool_map_async(pool, count_one, items, 2);
    cr_assert(eq(int, mp_async_get(one, NULL, PROMPT), MP_ECLOSED));
    cr_assert(eq(int, mp_async_get(all, NULL, PROMPT), MP_ECLOSED));
    mp_async_free(&one);
    mp_async_free(&all);
    mp_iter *ordered = mp_pool_imap(pool, count_one, items, 2);
    mp_iter *unordered = mp_pool_imap_unordered(pool, count_one, items, 2);
    cr_assert(eq(int, mp_iter_next(ordered, results, PROMPT), MP_ECLOSED));
    cr_assert(eq(int, mp_iter_next(ordered, results, PROMPT), MP_END));
    cr_assert(eq(int, mp_iter_next(unordered, results, PROMPT), MP_ECLOSED));
    mp_iter_free(&ordered);
    mp_iter_free(&unordered);
    cr_assert(zero(int, the_board()->begun));
}

EACH_KIND(closed, pool__refuses_every_call)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    expect_all_refused(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    expect_all_refused(pool);
    mp_pool_free(&pool);
}

EACH_KIND(closed, by_terminate__refuses_every_call)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    expect_all_refused(pool);
    mp_pool_free(&pool);
}
