/* A pool and what is around it: the block it belongs to, the process it belongs to, what it counts, and its end when no worker
 * is left. */
#include "tests/lib/check.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>

TestSuite(with_pool, .timeout = 60);
TestSuite(foreign, .timeout = 60);
TestSuite(stats, .timeout = 60);
TestSuite(broken, .timeout = 60);

enum { PROMPT = 20 }; /* seconds: far beyond what anything here takes */

static mp_status twice(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = 2 * *in;
    return MP_OK;
}
MP_TASK(twice, int, int);

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

/* ---- MP_WITH_POOL ---- */

static int leave_by_return(void)
{
    MP_WITH_POOL (pool, .processes = 2)
        if (map_one(pool, NULL) == MP_OK)
            return 5;
    return 6;
}

static int leave_by_goto(void)
{
    MP_WITH_POOL (pool, .processes = 2) {
        if (map_one(pool, NULL) == MP_OK)
            goto out;
    }
    return 6;
out:
    return 5;
}

static bool nothing_runs(void)
{
    return proc_children(getpid(), NULL, 0) == 0;
}

CHECK(with_pool, end_of_block__frees_it)
{
    int runs = 0;
    MP_WITH_POOL (pool, .processes = 2) {
        cr_assert(eq(int, map_one(pool, NULL), MP_OK));
        runs++;
    }
    cr_assert(eq(int, runs, 1));
    cr_assert(nothing_runs());
}

CHECK(with_pool, no_options__works)
{
    mp_status status = MP_EUSER;
    MP_WITH_POOL (pool)
        status = map_one(pool, NULL);
    cr_assert(eq(int, status, MP_OK));
    cr_assert(nothing_runs());
}

CHECK(with_pool, break_out__frees_it)
{
    int runs = 0;
    MP_WITH_POOL (pool, .processes = 2) {
        runs++;
        if (map_one(pool, NULL) == MP_OK)
            break;
        runs++;
    }
    cr_assert(eq(int, runs, 1));
    cr_assert(nothing_runs());
}

CHECK(with_pool, continue_in_it__frees_it)
{
    int runs = 0;
    MP_WITH_POOL (pool, .processes = 2) {
        runs++;
        if (map_one(pool, NULL) == MP_OK)
            continue;
        runs++;
    }
    cr_assert(eq(int, runs, 1));
    cr_assert(nothing_runs());
}

CHECK(with_pool, return_out__frees_it)
{
    cr_assert(eq(int, leave_by_return(), 5));
    cr_assert(nothing_runs());
}

CHECK(with_pool, goto_out__frees_it)
{
    cr_assert(eq(int, leave_by_goto(), 5));
    cr_assert(nothing_runs());
}

CHECK(with_pool, one_within_the_other__frees_both)
{
    mp_status statuses[2] = {MP_EUSER, MP_EUSER};
    MP_WITH_POOL (outer, .processes = 1) {
        MP_WITH_POOL (inner, .processes = 1)
            statuses[1] = map_one(inner, NULL);
        statuses[0] = map_one(outer, NULL);
    }
    cr_assert(eq(int, statuses[0], MP_OK));
    cr_assert(eq(int, statuses[1], MP_OK));
    cr_assert(nothing_runs());
}

CHECK(with_pool, freed_or_closed_within__is_fine)
{
    MP_WITH_POOL (pool, .processes = 1) {
        mp_pool_close(pool);
        mp_pool_join(pool);
    }
    MP_WITH_POOL (pool, .processes = 1)
        mp_pool_free(&pool);
    cr_assert(nothing_runs());
}

CHECK(with_pool, cannot_open__skips_the_block_and_fills_the_error)
{
    mp_error error;
    int runs = 0;
    spoil(&error, sizeof error);
    MP_WITH_POOL (pool, .processes = -5, .error = &error)
        runs++;
    cr_assert(zero(int, runs));
    cr_assert(eq(int, error.status, MP_EINVAL));
    cr_assert(says(&error, ".processes is -5"), "%s", error.message);
}

CHECK(with_pool, opens__zeroes_the_error)
{
    mp_error error;
    spoil(&error, sizeof error);
    MP_WITH_POOL (pool, .processes = 1, .error = &error)
        cr_assert(is_zero(&error, sizeof error));
}

/* Where no error is given the reason stands on standard error. */
CHECK(with_pool, cannot_open_and_no_error_given__says_so)
{
    char text[512] = "";
    int ends[2], saved = dup(2);
    cr_assert(zero(int, pipe(ends)));
    dup2(ends[1], 2);
    MP_WITH_POOL (pool, .processes = -5)
        (void)pool;
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    close(ends[1]);
    cr_assert(gt(long, read(ends[0], text, sizeof text - 1), 0));
    close(ends[0]);
    cr_assert(ne(ptr, strstr(text, ".processes is -5"), NULL), "%s", text);
}

/* ---- elsewhere than where it was opened ---- */

/* Every call in a child of ours; the exit code says which answered something else. */
static int use_in_child(mp_pool *pool)
{
    mp_error error;
    mp_pool_stats stats;
    if (map_one(pool, &error) != MP_EFOREIGN)
        return 1;
    if (!says(&error, "belongs to process") || error.item != MP_NO_ITEM)
        return 2;
    if (mp_pool_close(pool) != MP_EFOREIGN)
        return 3;
    if (mp_pool_terminate(pool) != MP_EFOREIGN)
        return 4;
    if (mp_pool_join(pool) != MP_EFOREIGN)
        return 5;
    if (mp_pool_get_stats(pool, &stats) != MP_EFOREIGN)
        return 6;
    mp_pool_free(&pool);
    return pool ? 7 : 0;
}

CHECK(foreign, every_call_in_a_forked_child__is_refused_and_does_no_harm)
{
    int status;
    mp_pool *pool = open_pool(2);
    pid_t child = proc_fork();
    if (!child)
        _exit(use_in_child(pool));
    waitpid(child, &status, 0);
    cr_assert(exited(status, 0), "code %d", WEXITSTATUS(status));
    cr_assert(eq(int, map_one(pool, NULL), MP_OK), "the owner's pool works as before");
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
}

CHECK(foreign, pool_opened_in_a_forked_child__works)
{
    int status;
    mp_pool *pool = open_pool(2);
    pid_t child = proc_fork();
    if (!child) {
        mp_pool *own;
        if (mp_pool_open(&own, .processes = 2) != MP_OK)
            _exit(1);
        if (map_one(own, NULL) != MP_OK)
            _exit(2);
        mp_pool_free(&own);
        _exit(0);
    }
    waitpid(child, &status, 0);
    cr_assert(exited(status, 0), "code %d", WEXITSTATUS(status));
    mp_pool_free(&pool);
}

/* A child of the program's holds copies of all our descriptors: that must not keep workers from seeing the end. */
CHECK(foreign, child_forked_while_open__does_not_keep_the_pool_alive)
{
    mp_pool *pool = open_pool(2);
    pid_t child = proc_fork();
    if (!child)
        for (;;)
            pause();
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* ---- stats ---- */

typedef struct observer {
    pthread_t thread;
    mp_pool *pool;
    _Atomic int stop;
    int looks, broken;
    mp_pool_stats wrong;
} observer;

static void *observe(void *argument)
{
    observer *o = argument;
    uint64_t ended = 0;
    while (!o->stop) {
        mp_pool_stats s;
        if (mp_pool_get_stats(o->pool, &s) != MP_OK || s.accepted != s.succeeded + s.failed + s.pending ||
            s.succeeded + s.failed < ended) {
            o->broken++;
            o->wrong = s;
        }
        ended = s.succeeded + s.failed;
        o->looks++;
        nap_us(100);
    }
    return NULL;
}

static mp_status fail_every_third(const int *in, int *out, mp_call *call)
{
    *out = *in;
    return mp_call_item(call) % 3 ? MP_OK : mp_fail(call, MP_EUSER, "every third");
}
MP_TASK(fail_every_third, int, int);

CHECK(stats, looked_at_while_maps_run__always_add_up)
{
    enum { N = 3000 };
    static int items[N], results[N];
    mp_pool_stats stats;
    mp_pool *pool = open_pool(2);
    observer o = {.pool = pool};
    cr_assert(zero(int, pthread_create(&o.thread, NULL, observe, &o)));
    for (int round = 0; round < ROUNDS(60); round++)
        cr_assert(eq(int, mp_pool_map(pool, fail_every_third, items, N, results), MP_EUSER));
    o.stop = 1;
    pthread_join(o.thread, NULL);
    cr_assert(zero(int, o.broken), "accepted %lu, succeeded %lu, failed %lu, pending %lu", o.wrong.accepted,
              o.wrong.succeeded, o.wrong.failed, o.wrong.pending);
    cr_assert(gt(int, o.looks, 0));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.failed, (uint64_t)ROUNDS(60) * N / 3));
    cr_assert(eq(u64, stats.accepted, (uint64_t)ROUNDS(60) * N));
    cr_assert(zero(u64, stats.pending));
    mp_pool_free(&pool);
}

CHECK(stats, worker_lost__is_counted_and_replaced)
{
    mp_pool_stats stats;
    pid_t worker;
    mp_pool *pool = open_pool(1);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, proc_children(zygote, &worker, 1), 1));
    cr_assert(proc_signal_child(zygote, worker, SIGKILL));
    cr_assert(eq(int, map_one(pool, NULL), MP_OK));
    cr_assert(UNTIL(PROMPT, mp_pool_get_stats(pool, &stats) == MP_OK && stats.workers == 1));
    cr_assert(eq(u64, stats.lost, 1));
    cr_assert(eq(u64, stats.started, 2));
    cr_assert(zero(u64, stats.failed));
    mp_pool_free(&pool);
}

CHECK(stats, nowhere_to_put_them__is_refused)
{
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_get_stats(pool, NULL), MP_EINVAL));
    mp_pool_free(&pool);
}

/* ---- broken: no worker is left and none can be started ---- */

static mp_pool *open_broken_pool(void)
{
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    cr_assert(proc_signal_child(getpid(), zygote, SIGKILL));
    cr_assert(UNTIL(PROMPT, map_one(pool, NULL) == MP_EBROKEN), "a map on a pool without a zygote goes on working");
    return pool;
}

CHECK(broken, map__is_refused_with_the_reason)
{
    mp_error error;
    mp_pool *pool = open_broken_pool();
    cr_assert(eq(int, map_one(pool, &error), MP_EBROKEN));
    cr_assert(says(&error, "forked from"), "%s", error.message);
    cr_assert(says(&error, "SIGKILL"), "%s", error.message);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}

CHECK(broken, join__says_that_it_was_not_ended)
{
    mp_pool *pool = open_broken_pool();
    cr_assert(eq(int, mp_pool_join(pool), MP_ERUNNING));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}

CHECK(broken, close_and_join__end_it)
{
    mp_pool *pool = open_broken_pool();
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}

CHECK(broken, another_pool__works)
{
    mp_pool *pool = open_broken_pool(), *another = open_pool(2);
    cr_assert(eq(int, map_one(another, NULL), MP_OK));
    mp_pool_free(&another);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}
