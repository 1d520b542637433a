/* Pools from open to free: what each call answers in each state, and that no order of them hangs or leaves anything. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/mapping.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>

TestSuite(open, .timeout = 60);
TestSuite(close, .timeout = 60);
TestSuite(terminate, .timeout = 60);
TestSuite(join, .timeout = 60);
TestSuite(free, .timeout = 60);

enum { PROMPT = 20 }; /* seconds: far beyond what anything here takes, far below what it would take if it were not ended */

static mp_status twice(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = 2 * *in;
    return MP_OK;
}
MP_TASK(twice, int, int);

static mp_status begin_and_sleep(const int *in, int *out, mp_call *call)
{
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    for (int seconds = 0; seconds < *in && !tally->gate; seconds++)
        sleep(1);
    *out = 1;
    return MP_OK;
}
MP_TASK(begin_and_sleep, int, int);

static mp_status begin_and_wait(const int *in, int *out, mp_call *call)
{
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    while (!tally->gate)
        usleep(200);
    *out = *in + 1;
    ledger_end(mp_call_item(call));
    return MP_OK;
}
MP_TASK(begin_and_wait, int, int);

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

static mp_status map_one(mp_pool *pool, mp_error *error)
{
    int item = 21, result = 0;
    mp_status status = mp_pool_map(pool, twice, &item, 1, &result, .error = error);
    if (status == MP_OK && result != 42)
        return MP_EUSER;
    return status;
}

/* A map in a thread of its own over `n` times the same number; its results are kept by the test. */
static int *numbers, *results;

static void begin_map(mapping *m, mp_pool *pool, const mp_task *task, size_t n, int item)
{
    numbers = malloc(n * sizeof(int));
    results = malloc(n * sizeof(int));
    for (size_t i = 0; i < n; i++)
        numbers[i] = item;
    spoil(results, n * sizeof(int));
    cr_assert(mapping_begin(m, pool, task, numbers, n, results, 0));
}

static void free_map(mapping *m)
{
    mapping_free(m);
    free(numbers);
    free(results);
}

/* ---- open ---- */

static void expect_refused(int processes, const char *text)
{
    mp_pool *pool = (mp_pool *)&pool;
    mp_error error;
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_EINVAL));
    cr_assert(zero(ptr, pool), "the pool is NULL when opening fails");
    cr_assert(says(&error, text), "%s", error.message);
    cr_assert(eq(int, error.status, MP_EINVAL));
    cr_assert(eq(sz, error.item, MP_NO_ITEM));
}

CHECK(open, succeeds__zeroes_the_error)
{
    mp_pool *pool;
    mp_error error;
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_pool_open(&pool, .error = &error), MP_OK));
    cr_assert(is_zero(&error, sizeof error));
    cr_assert(eq(int, map_one(pool, NULL), MP_OK));
    mp_pool_free(&pool);
}

CHECK(open, no_options__works)
{
    mp_pool *pool;
    cr_assert(eq(int, mp_pool_open(&pool), MP_OK));
    mp_pool_free(&pool);
    cr_assert(eq(int, mp_pool_open_with(&pool, NULL), MP_OK));
    mp_pool_free(&pool);
}

CHECK(open, negative_processes__is_refused)
{
    expect_refused(-1, ".processes is -1");
    expect_refused(-2147483647 - 1, ".processes is -2147483648");
}

CHECK(open, too_many_processes__is_refused)
{
    expect_refused(2147483647, ".processes is 2147483647");
}

CHECK(open, nowhere_to_put_it__is_refused)
{
    mp_error error;
    cr_assert(eq(int, mp_pool_open(NULL, .processes = 1, .error = &error), MP_EINVAL));
    cr_assert(says(&error, "mp_pool pointer"), "%s", error.message);
}

CHECK(open, cpu_count_is_no_number__is_refused)
{
    setenv("MILLPOND_CPU_COUNT", "abc", 1);
    expect_refused(0, "MILLPOND_CPU_COUNT is 'abc'");
    setenv("MILLPOND_CPU_COUNT", "3x", 1);
    expect_refused(0, "MILLPOND_CPU_COUNT is '3x'");
    setenv("MILLPOND_CPU_COUNT", "99999999999999999999", 1);
    expect_refused(0, "MILLPOND_CPU_COUNT is '99999999999999999999'");
}

CHECK(open, cpu_count_is_out_of_range__is_refused)
{
    setenv("MILLPOND_CPU_COUNT", "0", 1);
    expect_refused(0, "MILLPOND_CPU_COUNT is '0'");
    setenv("MILLPOND_CPU_COUNT", "-2", 1);
    expect_refused(0, "MILLPOND_CPU_COUNT is '-2'");
    setenv("MILLPOND_CPU_COUNT", "100001", 1);
    expect_refused(0, "from 1 to 100000");
}

CHECK(open, cpu_count_of_three__gives_three_workers)
{
    mp_pool_stats stats;
    setenv("MILLPOND_CPU_COUNT", "3", 1);
    cr_assert(eq(int, mp_cpu_count(), 3));
    mp_pool *pool = open_pool(0);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(int, stats.workers, 3));
    cr_assert(eq(u64, stats.started, 3));
    mp_pool_free(&pool);
}

CHECK(open, processes_given__overrule_the_environment)
{
    mp_pool_stats stats;
    setenv("MILLPOND_CPU_COUNT", "abc", 1);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(int, stats.workers, 2));
    mp_pool_free(&pool);
}

CHECK(open, cpu_count__is_at_least_one)
{
    unsetenv("MILLPOND_CPU_COUNT");
    cr_assert(ge(int, mp_cpu_count(), 1));
    setenv("MILLPOND_CPU_COUNT", "", 1);
    cr_assert(ge(int, mp_cpu_count(), 1));
}

/* It waits until the workers run: all of them are there, as children of the one process that it forked. */
CHECK(open, returns__all_workers_run)
{
    pid_t workers[8];
    mp_pool *pool = open_pool(5);
    pid_t zygote = proc_only_child();
    cr_assert(ne(int, zygote, 0));
    cr_assert(eq(int, proc_living_children(zygote, workers, 8), 5));
    mp_pool_free(&pool);
    cr_assert(zero(int, proc_children(getpid(), workers, 8)));
}

/* ---- close and join ---- */

CHECK(close, twice__is_fine)
{
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    mp_pool_free(&pool);
}

CHECK(close, map_afterwards__is_refused)
{
    mp_error error;
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, map_one(pool, &error), MP_OK));
    mp_pool_close(pool);
    cr_assert(eq(int, map_one(pool, &error), MP_ECLOSED));
    cr_assert(says(&error, "closed"), "%s", error.message);
    cr_assert(eq(sz, error.item, MP_NO_ITEM));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(eq(int, map_one(pool, &error), MP_ECLOSED));
    mp_pool_free(&pool);
}

CHECK(close, map_of_no_items_afterwards__is_refused)
{
    mp_pool *pool = open_pool(1);
    mp_pool_close(pool);
    int none;
    cr_expect(eq(int, mp_pool_map(pool, twice, &none, 0, &none), MP_ECLOSED), "Pool.map raises, however many items");
    mp_pool_free(&pool);
}

CHECK(close, while_a_map_runs__lets_it_finish)
{
    enum { N = 200 };
    mapping m;
    mp_error error;
    ledger_open(N);
    mp_pool *pool = open_pool(2);
    begin_map(&m, pool, &mp__task_begin_and_wait, N, 5);
    cr_assert(UNTIL(PROMPT, tally->begun >= 2));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, map_one(pool, &error), MP_ECLOSED));
    cr_assert(zero(int, m.returned));
    tally->gate = 1;
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mapping_wait(&m);
    cr_assert(eq(int, m.status, MP_OK), "%s", m.error.message);
    for (size_t i = 0; i < N; i++)
        cr_assert(eq(int, results[i], 6));
    cr_assert(eq(sz, ledger_find_other(1, 1), N));
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(close, no_pool__is_refused)
{
    cr_assert(eq(int, mp_pool_close(NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_terminate(NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_join(NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_get_stats(NULL, &(mp_pool_stats){0}), MP_EINVAL));
}

CHECK(join, running_pool__is_refused)
{
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_join(pool), MP_ERUNNING));
    cr_assert(eq(int, map_one(pool, NULL), MP_OK), "and it runs on");
    mp_pool_free(&pool);
}

CHECK(join, closed_pool__no_worker_and_no_zygote_work_is_left)
{
    mp_pool_stats stats;
    pid_t workers[4];
    mp_pool *pool = open_pool(3);
    pid_t zygote = proc_only_child();
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(zero(int, zygote ? proc_children(zygote, workers, 4) : 0), "every worker is reaped");
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(int, stats.workers));
    cr_assert(zero(u64, stats.lost), "they left because they were asked to");
    mp_pool_free(&pool);
}

CHECK(join, twice__is_fine)
{
    mp_pool *pool = open_pool(1);
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
}

static void *join_pool(void *pool)
{
    return (void *)(intptr_t)mp_pool_join(pool);
}

CHECK(join, from_four_threads__each_returns)
{
    pthread_t threads[4];
    mp_pool *pool = open_pool(2);
    mp_pool_close(pool);
    for (int i = 0; i < 4; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, join_pool, pool)));
    for (int i = 0; i < 4; i++) {
        void *status;
        pthread_join(threads[i], &status);
        cr_assert(eq(int, (int)(intptr_t)status, MP_OK));
    }
    mp_pool_free(&pool);
}

/* ---- terminate ---- */

CHECK(terminate, idle_pool__ends)
{
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
}

CHECK(terminate, twice__is_fine)
{
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    mp_pool_free(&pool);
}

CHECK(terminate, map_afterwards__is_refused)
{
    mp_error error;
    mp_pool *pool = open_pool(2);
    mp_pool_terminate(pool);
    cr_assert(eq(int, map_one(pool, &error), MP_ECLOSED));
    cr_assert(says(&error, "terminated"), "%s", error.message);
    mp_pool_free(&pool);
}

/* No item may be without a status, and what ended before has its result. */
static void expect_each_item_ended(const mapping *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->statuses[i] == MP_OK) {
            cr_assert(is_zero(&m->errors[i], sizeof m->errors[i]), "item %zu", i);
            continue;
        }
        cr_assert(eq(int, m->statuses[i], MP_ETERMINATED), "item %zu", i);
        cr_assert(eq(int, m->errors[i].status, MP_ETERMINATED), "item %zu", i);
        cr_assert(eq(sz, m->errors[i].item, i));
        cr_assert(zero(int, results[i]), "item %zu", i);
    }
}

CHECK(terminate, ten_thousand_sleeping_items__returns_promptly_with_a_status_for_each)
{
    enum { N = 10000 };
    mapping m;
    ledger_open(N);
    mp_pool *pool = open_pool(4);
    begin_map(&m, pool, &mp__task_begin_and_sleep, N, 3600);
    cr_assert(UNTIL(PROMPT, tally->begun >= 4));
    double begin = seconds_now();
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(UNTIL(PROMPT, m.returned), "the map did not return");
    mapping_wait(&m);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    cr_assert(lt(dbl, seconds_now() - begin, PROMPT));
    cr_assert(eq(int, m.status, MP_ETERMINATED));
    cr_assert(eq(int, m.error.status, MP_ETERMINATED));
    cr_assert(zero(sz, m.error.item), "the first of them");
    cr_assert(eq(sz, mapping_count(&m, MP_ETERMINATED), N));
    expect_each_item_ended(&m);
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(terminate, in_the_middle_of_quick_items__each_has_result_or_status)
{
    enum { N = 100000 };
    mapping m;
    mp_pool_stats stats;
    ledger_open(N);
    tally->gate = 1;
    mp_pool *pool = open_pool(2);
    begin_map(&m, pool, &mp__task_begin_and_wait, N, 5);
    cr_assert(UNTIL(PROMPT, tally->ended >= 1000 || m.returned));
    mp_pool_terminate(pool);
    mapping_wait(&m);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    expect_each_item_ended(&m);
    for (size_t i = 0; i < N; i++)
        if (m.statuses[i] == MP_OK)
            cr_assert(eq(int, results[i], 6), "item %zu", i);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.accepted, N));
    cr_assert(eq(u64, stats.succeeded, mapping_count(&m, MP_OK)));
    cr_assert(eq(u64, stats.failed, mapping_count(&m, MP_ETERMINATED)));
    cr_assert(zero(u64, stats.pending));
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(terminate, several_maps_at_once__all_return)
{
    enum { MAPS = 5, N = 100 };
    static int items[N], all_results[MAPS][N];
    mapping m[MAPS];
    ledger_open(N);
    for (int i = 0; i < N; i++)
        items[i] = 3600;
    mp_pool *pool = open_pool(2);
    for (int i = 0; i < MAPS; i++)
        cr_assert(mapping_begin(&m[i], pool, &mp__task_begin_and_sleep, items, N, all_results[i], 0));
    cr_assert(UNTIL(PROMPT, tally->begun >= 2));
    mp_pool_terminate(pool);
    for (int i = 0; i < MAPS; i++) {
        mapping_wait(&m[i]);
        /* one whose thread came too late was refused as a whole */
        cr_assert(m[i].status == MP_ETERMINATED || m[i].status == MP_ECLOSED);
        if (m[i].status == MP_ETERMINATED)
            cr_assert(eq(sz, mapping_count(&m[i], MP_ETERMINATED), N));
        mapping_free(&m[i]);
    }
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(terminate, after_close_while_a_map_runs__ends_it)
{
    mapping m;
    ledger_open(50);
    mp_pool *pool = open_pool(2);
    begin_map(&m, pool, &mp__task_begin_and_sleep, 50, 3600);
    cr_assert(UNTIL(PROMPT, tally->begun >= 2));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(UNTIL(PROMPT, m.returned));
    mapping_wait(&m);
    cr_assert(eq(int, m.status, MP_ETERMINATED));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(terminate, after_join__is_fine)
{
    mp_pool *pool = open_pool(2);
    mp_pool_close(pool);
    mp_pool_join(pool);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
}

/* SIGTERM is not enough for this one: SIGKILL follows. */
static mp_status ignore_sigterm(const int *in, int *out, mp_call *call)
{
    signal(SIGTERM, SIG_IGN);
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    for (int seconds = 0; seconds < *in; seconds++)
        sleep(1);
    *out = 0;
    return MP_OK;
}
MP_TASK(ignore_sigterm, int, int);

CHECK(terminate, task_ignores_sigterm__is_killed)
{
    mapping m;
    ledger_open(4);
    mp_pool *pool = open_pool(2);
    begin_map(&m, pool, &mp__task_ignore_sigterm, 4, 3600);
    cr_assert(UNTIL(PROMPT, tally->begun >= 2));
    mp_pool_terminate(pool);
    mapping_wait(&m);
    expect_each_item_ended(&m);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

static mp_status stop_itself(const int *in, int *out, mp_call *call)
{
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    raise(SIGSTOP);
    *out = *in;
    return MP_OK;
}
MP_TASK(stop_itself, int, int);

CHECK(terminate, worker_is_stopped__is_killed)
{
    mapping m;
    ledger_open(1);
    mp_pool *pool = open_pool(1);
    begin_map(&m, pool, &mp__task_stop_itself, 1, 1);
    cr_assert(UNTIL(PROMPT, tally->begun && proc_look(tally->pids[0]).state == 'T'));
    mp_pool_terminate(pool);
    mapping_wait(&m);
    cr_assert(eq(int, m.status, MP_ETERMINATED));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    free_map(&m);
    mp_pool_free(&pool);
    ledger_close();
}

/* ---- free ---- */

CHECK(free, running_pool__ends_it)
{
    mp_pool *pool = open_pool(3);
    cr_assert(eq(int, map_one(pool, NULL), MP_OK));
    mp_pool_free(&pool);
    cr_assert(zero(ptr, pool));
    cr_assert(zero(int, proc_children(getpid(), NULL, 0)));
}

CHECK(free, pool_at_once_after_open__ends_it)
{
    for (int i = 0; i < ROUNDS(50); i++) {
        mp_pool *pool = open_pool(2);
        mp_pool_free(&pool);
    }
}

CHECK(free, closed_but_not_joined__ends_it)
{
    mp_pool *pool = open_pool(3);
    mp_pool_close(pool);
    mp_pool_free(&pool);
    cr_assert(zero(int, proc_children(getpid(), NULL, 0)));
}

CHECK(free, null__is_fine)
{
    mp_pool *pool = NULL;
    mp_pool_free(&pool);
    mp_pool_free(NULL);
}
