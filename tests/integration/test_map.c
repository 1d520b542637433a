/* map, starmap and apply give what calling the function gives, for every count and chunk size, from every thread. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include <math.h>
#include <millpond.h>
#include <pthread.h>

TestSuite(map, .timeout = 60);
TestSuite(apply, .timeout = 60);
TestSuite(starmap, .timeout = 60);

/* ---- a task whose result says which item it was, and the serial result ---- */

static uint64_t mixed(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static mp_status mix(const uint64_t *in, uint64_t *out, mp_call *call)
{
    *out = mixed(*in) + mp_call_item(call);
    return MP_OK;
}
MP_TASK(mix, uint64_t, uint64_t);

/* The first item whose result is wrong, or n. */
static size_t first_wrong(const uint64_t *items, const uint64_t *results, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (results[i] != mixed(items[i]) + i)
            return i;
    return n;
}

typedef struct arrays {
    uint64_t *items, *results;
} arrays;

static arrays make_arrays(size_t n, uint64_t seed)
{
    arrays made = {malloc((n + 1) * sizeof(uint64_t)), malloc((n + 1) * sizeof(uint64_t))};
    for (size_t i = 0; i < n; i++)
        made.items[i] = mixed(seed + i);
    spoil(made.results, (n + 1) * sizeof(uint64_t));
    return made;
}

static void free_arrays(arrays *made)
{
    free(made->items);
    free(made->results);
}

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open(&pool, .processes = processes, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    return pool;
}

/* ---- every count by every chunk size ---- */

static void expect_serial_result(mp_pool *pool, size_t n, ptrdiff_t chunksize)
{
    arrays a = make_arrays(n, 7 * n + (size_t)chunksize);
    const uint64_t guard = a.results[n];
    mp_error error;
    spoil(&error, sizeof error);
    mp_status status = mp_pool_map(pool, mix, a.items, n, a.results, .chunksize = chunksize, .error = &error);
    cr_assert(eq(int, status, MP_OK), "n %zu, chunksize %td: %s", n, chunksize, error.message);
    cr_assert(eq(sz, first_wrong(a.items, a.results, n), n), "n %zu, chunksize %td", n, chunksize);
    cr_assert(eq(u64, a.results[n], guard), "n %zu, chunksize %td: wrote behind the end", n, chunksize);
    cr_assert(is_zero(&error, sizeof error), "n %zu, chunksize %td: the error is not zeroed", n, chunksize);
    free_arrays(&a);
}

static void expect_serial_results(size_t n)
{
    ptrdiff_t chunksizes[] = {1, 3, (ptrdiff_t)n, (ptrdiff_t)n + 1, 0};
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < sizeof chunksizes / sizeof *chunksizes; i++)
        expect_serial_result(pool, n, chunksizes[i]);
    mp_pool_free(&pool);
}

CHECK(map, no_items__every_chunksize__equals_serial)
{
    expect_serial_results(0);
}
CHECK(map, one_item__every_chunksize__equals_serial)
{
    expect_serial_results(1);
}
CHECK(map, two_items__every_chunksize__equals_serial)
{
    expect_serial_results(2);
}
CHECK(map, seven_items__every_chunksize__equals_serial)
{
    expect_serial_results(7);
}
CHECK(map, thousand_items__every_chunksize__equals_serial)
{
    expect_serial_results(1000);
}
CHECK(map, hundred_thousand_items__every_chunksize__equals_serial)
{
    expect_serial_results(100000);
}

CHECK(map, largest_chunksize__equals_serial)
{
    mp_pool *pool = open_pool(2);
    expect_serial_result(pool, 100, PTRDIFF_MAX);
    mp_pool_free(&pool);
}

CHECK(map, negative_chunksize__is_refused_and_nothing_runs)
{
    uint64_t item = 1, result = 0;
    mp_error error;
    mp_pool *pool = open_pool(1);
    for (ptrdiff_t chunksize = -1; chunksize >= -2; chunksize--) {
        cr_assert(eq(int, mp_pool_map(pool, mix, &item, 1, &result, .chunksize = chunksize, .error = &error), MP_EINVAL));
        cr_assert(says(&error, ".chunksize is -"), "%s", error.message);
        cr_assert(eq(sz, error.item, MP_NO_ITEM));
        cr_assert(eq(str, error.task, "mix"));
    }
    cr_assert(eq(int, mp_pool_map(pool, mix, &item, 1, &result, .chunksize = PTRDIFF_MIN), MP_EINVAL));
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.accepted));
    cr_assert(zero(u64, result));
    mp_pool_free(&pool);
}

/* ---- how many run what ---- */

CHECK(map, one_worker__equals_serial)
{
    mp_pool *pool = open_pool(1);
    expect_serial_result(pool, 5000, 0);
    mp_pool_free(&pool);
}

CHECK(map, default_workers__equals_serial)
{
    mp_pool *pool = open_pool(0);
    mp_pool_stats stats;
    expect_serial_result(pool, 5000, 0);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(int, stats.workers, mp_cpu_count()));
    mp_pool_free(&pool);
}

CHECK(map, two_hundred_workers__equals_serial)
{
    mp_pool *pool = open_pool(200);
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(int, stats.workers, 200));
    expect_serial_result(pool, 20000, 3);
    expect_serial_result(pool, 20000, 0);
    mp_pool_free(&pool);
}

CHECK(map, second_pool_beside_the_first__both_work_and_end_alone)
{
    mp_pool *first = open_pool(2), *second = open_pool(3);
    expect_serial_result(first, 500, 3);
    expect_serial_result(second, 500, 3);
    mp_pool_close(first);
    cr_assert(eq(int, mp_pool_join(first), MP_OK)); /* hangs if the second pool's workers hold the first one's pipes open */
    expect_serial_result(second, 500, 0);
    mp_pool_free(&first);
    expect_serial_result(second, 500, 0);
    mp_pool_free(&second);
}

CHECK(map, empty_pool_argument__is_refused)
{
    uint64_t item = 1, result;
    mp_error error;
    cr_assert(eq(int, mp_pool_map(NULL, mix, &item, 1, &result, .error = &error), MP_EINVAL));
    cr_assert(says(&error, "no pool"), "%s", error.message);
}

typedef struct mapper {
    pthread_t thread;
    mp_pool *pool;
    size_t rounds, n;
    uint64_t seed;
    mp_status status;
    size_t wrong; /* items */
} mapper;

static void *map_rounds(void *argument)
{
    mapper *m = argument;
    for (size_t round = 0; round < m->rounds && !m->status; round++) {
        arrays a = make_arrays(m->n, m->seed + round * m->n);
        m->status = mp_pool_map(m->pool, mix, a.items, m->n, a.results, .chunksize = (ptrdiff_t)(round % 5));
        m->wrong += m->n - first_wrong(a.items, a.results, m->n);
        free_arrays(&a);
    }
    return NULL;
}

static void map_from_threads(mapper *mappers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cr_assert(zero(int, pthread_create(&mappers[i].thread, NULL, map_rounds, &mappers[i])));
    for (size_t i = 0; i < count; i++)
        pthread_join(mappers[i].thread, NULL);
    for (size_t i = 0; i < count; i++) {
        cr_assert(eq(int, mappers[i].status, MP_OK), "thread %zu", i);
        cr_assert(zero(sz, mappers[i].wrong), "thread %zu", i);
    }
}

CHECK(map, eight_threads_on_one_pool__each_gets_its_own_results)
{
    mapper mappers[8];
    mp_pool *pool = open_pool(3);
    for (size_t i = 0; i < 8; i++)
        mappers[i] = (mapper){.pool = pool, .rounds = ROUNDS(60), .n = 100 + 150 * i, .seed = i << 40};
    map_from_threads(mappers, 8);
    mp_pool_free(&pool);
}

CHECK(map, four_threads_on_two_pools__each_gets_its_own_results)
{
    mapper mappers[4];
    mp_pool *pools[2] = {open_pool(2), open_pool(2)};
    for (size_t i = 0; i < 4; i++)
        mappers[i] = (mapper){.pool = pools[i % 2], .rounds = ROUNDS(60), .n = 300, .seed = i << 40};
    map_from_threads(mappers, 4);
    mp_pool_free(&pools[0]);
    mp_pool_free(&pools[1]);
}

/* A small call must not wait until a large one is through: both are served. That it returns at all while the large call has
 * every worker is what is shown: the large call's items end only when the small one has returned. */
static mp_status wait_for_gate(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    while (!tally->gate)
        usleep(200);
    return MP_OK;
}
MP_TASK(wait_for_gate, mp_none, mp_none);

static void *map_waiting(void *argument)
{
    static mp_status status;
    status = mp_pool_map(argument, wait_for_gate, NULL, 2, NULL, .chunksize = 1);
    return &status;
}

CHECK(map, second_call_while_one_worker_is_busy__gets_the_other)
{
    pthread_t thread;
    void *status;
    ledger_open(2);
    mp_pool *pool = open_pool(3);
    cr_assert(zero(int, pthread_create(&thread, NULL, map_waiting, pool)));
    while (tally->begun < 2)
        usleep(200);
    expect_serial_result(pool, 100, 1);
    tally->gate = 1;
    pthread_join(thread, &status);
    cr_assert(eq(int, *(mp_status *)status, MP_OK));
    mp_pool_free(&pool);
    ledger_close();
}

/* ---- apply ---- */

CHECK(apply, one_call__gives_the_result)
{
    mp_pool *pool = open_pool(2);
    mp_error error;
    uint64_t item = 42, result = 0;
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_pool_apply(pool, mix, &item, &result, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(u64, result, mixed(42)));
    cr_assert(is_zero(&error, sizeof error));
    mp_pool_free(&pool);
}

CHECK(apply, many_calls__each_gives_its_result)
{
    mp_pool *pool = open_pool(2);
    for (uint64_t i = 0; i < ROUNDS(2000); i++) {
        uint64_t result = 0;
        cr_assert(eq(int, mp_pool_apply(pool, mix, &i, &result), MP_OK));
        cr_assert(eq(u64, result, mixed(i)));
    }
    mp_pool_free(&pool);
}

CHECK(apply, task_fails__tells_status_and_text)
{
    mp_error error;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_apply(pool, mix, NULL, NULL, .error = &error), MP_EINVAL));
    cr_assert(eq(sz, error.item, MP_NO_ITEM));
    mp_pool_free(&pool);
}

/* ---- starmap ---- */

typedef struct interval {
    double from, to;
    int32_t steps;
} interval;
MP_TYPE(interval, from, to, steps);

static double area(const interval *in)
{
    double h = (in->to - in->from) / in->steps, sum = 0;
    for (int32_t i = 0; i < in->steps; i++)
        sum += exp(-pow(in->from + (i + 0.5) * h, 2));
    return sum * h;
}

static mp_status integrate(const interval *in, double *out, mp_call *call)
{
    if (in->steps <= 0)
        return mp_fail(call, MP_EINVAL, "steps must be positive, got %d", in->steps);
    *out = area(in);
    return MP_OK;
}
MP_TASK(integrate, interval, double);

CHECK(starmap, struct_of_arguments__equals_serial)
{
    enum { N = 300 };
    interval items[N];
    double areas[N];
    for (int i = 0; i < N; i++)
        items[i] = (interval){.from = i * 1e-2, .to = (i + 1) * 1e-2, .steps = i + 1};
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_starmap(pool, integrate, items, N, areas, .chunksize = 7), MP_OK));
    for (int i = 0; i < N; i++)
        cr_assert(eq(dbl, areas[i], area(&items[i])), "item %d", i);
    mp_pool_free(&pool);
}

/* ---- what a call may want to know ---- */

CHECK(map, some_items_fail__statuses_errors_and_results_say_which)
{
    enum { N = 50 };
    interval items[N];
    double areas[N];
    mp_status statuses[N];
    static mp_error errors[N];
    mp_error error;
    for (int i = 0; i < N; i++)
        items[i] = (interval){.from = i, .to = i + 1, .steps = i % 10 == 7 ? -i : 10};
    spoil(areas, sizeof areas);
    spoil(statuses, sizeof statuses);
    spoil(errors, sizeof errors);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int,
                 mp_pool_map(pool, integrate, items, N, areas, .chunksize = 20, .statuses = statuses, .errors = errors,
                             .error = &error),
                 MP_EINVAL));
    for (size_t i = 0; i < N; i++) {
        if (i % 10 != 7) {
            cr_assert(eq(int, statuses[i], MP_OK));
            cr_assert(is_zero(&errors[i], sizeof errors[i]));
            cr_assert(eq(dbl, areas[i], area(&items[i])));
            continue;
        }
        cr_assert(eq(int, statuses[i], MP_EINVAL));
        cr_assert(eq(int, errors[i].status, MP_EINVAL));
        cr_assert(eq(sz, errors[i].item, i));
        cr_assert(eq(str, errors[i].task, "integrate"));
        cr_assert(is_zero(&areas[i], sizeof areas[i]), "the result of a failed item is zero");
    }
    cr_assert(zero(int, memcmp(&error, &errors[7], sizeof error)));
    mp_pool_free(&pool);
}

CHECK(map, all_succeed__statuses_and_errors_are_zeroed)
{
    enum { N = 100 };
    mp_status statuses[N];
    static mp_error errors[N];
    arrays a = make_arrays(N, 5);
    spoil(statuses, sizeof statuses);
    spoil(errors, sizeof errors);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, mix, a.items, N, a.results, .statuses = statuses, .errors = errors), MP_OK));
    cr_assert(is_zero(statuses, sizeof statuses));
    cr_assert(is_zero(errors, sizeof errors));
    free_arrays(&a);
    mp_pool_free(&pool);
}

CHECK(map, one_pool_many_calls__stats_add_up)
{
    mp_pool_stats stats;
    interval items[10] = {{0}};
    double areas[10];
    mp_pool *pool = open_pool(2);
    expect_serial_result(pool, 1000, 0);
    cr_assert(eq(int, mp_pool_map(pool, integrate, items, 10, areas), MP_EINVAL));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.accepted, 1010));
    cr_assert(eq(u64, stats.succeeded, 1000));
    cr_assert(eq(u64, stats.failed, 10));
    cr_assert(zero(u64, stats.pending));
    cr_assert(eq(u64, stats.started, 2));
    cr_assert(zero(u64, stats.lost));
    cr_assert(eq(int, stats.workers, 2));
    mp_pool_free(&pool);
}
