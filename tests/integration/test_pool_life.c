/* A pool's life as Python has it (close, join, terminate, `with`, program exit), on every kind of pool. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include "tests/lib/spawn.h"
#include <string.h>

TestSuite(close, .timeout = 60);
TestSuite(join, .timeout = 60);
TestSuite(terminate, .timeout = 60);
TestSuite(scope, .timeout = 60);
TestSuite(numbers, .timeout = 60);
TestSuite(program, .timeout = 60);

enum { N = 100 };
static int items[N], results[N];

EACH_KIND(close, accepted_work__still_runs)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, hold, items, N, .chunksize = 3);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK), "close does not wait for the held items");
    cr_assert(eq(int, mp_pool_close(pool), MP_OK), "again is fine");
    cr_assert(not(mp_async_ready(async)));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(zero(int, stats_of(pool).workers));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(join, running_pool__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_assert(eq(int, mp_pool_join(pool), MP_ERUNNING));
    cr_assert(eq(int, mp_pool_join(pool, 0), MP_ERUNNING));
    mp_pool_free(&pool);
}

EACH_KIND(join, time_is_up__says_so_and_works_later)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_async *async = mp_pool_apply_async(pool, hold, items);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, 0.05), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_pool_join(pool, 0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_pool_join(pool, -1.0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_pool_join(pool, __builtin_nan("")), MP_ETIMEDOUT));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool), MP_OK), "again is fine");
    cr_assert(eq(int, mp_pool_join(pool, 0), MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

/* Two run, one each worker; the rest has no status yet. */
static mp_async *begin_two_of_many(mp_pool *pool)
{
    fill(items, N);
    mp_async *async = mp_pool_map_async(pool, hold_or_see, items, N, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 2));
    return async;
}

/* On threads what ran ended as it would; else it was ended, as all that waited. */
static void expect_terminated(mp_async *async)
{
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_ETERMINATED));
    const mp_status *statuses = mp_async_statuses(async);
    int ended = 0;
    for (int i = 0; i < N; i++) {
        ended += statuses[i] == MP_OK;
        cr_assert(statuses[i] == MP_OK || statuses[i] == MP_ETERMINATED, "item %d: %d", i, statuses[i]);
        cr_assert(eq(int, results[i], statuses[i] == MP_OK ? -1 : 0));
    }
    cr_assert(eq(int, ended, on_threads() ? 2 : 0));
    cr_assert(eq(int, the_board()->begun, 2), "what waited was run all the same");
}

EACH_KIND(terminate, what_waits_or_runs__is_ended)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *async = begin_two_of_many(pool);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK), "again is fine");
    expect_terminated(async);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(terminate, after_close__ends_what_was_accepted)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *async = begin_two_of_many(pool);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    expect_terminated(async);
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(scope, block_is_left__work_is_ended)
{
    mp_async *async = NULL;
    MP_WITH_POOL (pool, OPTIONS, .processes = 2)
        async = begin_two_of_many(pool);
    cr_assert(mp_async_ready(async));
    expect_terminated(async);
    mp_async_free(&async);
}

EACH_KIND(scope, pool_is_freed__handles_are_complete)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *async = begin_two_of_many(pool);
    mp_pool_free(&pool);
    cr_assert(zero(ptr, pool));
    cr_assert(mp_async_ready(async));
    expect_terminated(async);
    mp_async_free(&async);
}

EACH_KIND(numbers, of_a_pool__add_up)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int mixed[10] = {1, -1, 2, 3, -2, 4, 5, 6, 7, 8};
    cr_assert(eq(int, mp_pool_map(pool, fail_some, mixed, 10, results), MP_EUSER + 1));
    mp_async *async = mp_pool_map_async(pool, hold, items, 3);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.accepted, 13));
    cr_assert(eq(u64, stats.succeeded, 8));
    cr_assert(eq(u64, stats.failed, 2));
    cr_assert(eq(u64, stats.pending, 3));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    stats = stats_of(pool);
    cr_assert(eq(u64, stats.succeeded, 11));
    cr_assert(zero(u64, stats.pending));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(numbers, nothing_to_ask__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_get_stats(NULL, &stats), MP_EINVAL));
    cr_assert(eq(int, mp_pool_close(NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_terminate(NULL), MP_EINVAL));
    cr_assert(eq(int, mp_pool_join(NULL), MP_EINVAL));
    mp_pool_free(&pool);
    mp_pool_free(&pool);
    mp_pool_free(NULL);
}

/* ---- programs (leaver.c) that end without freeing their pools ---- */

static char said[4096];

/* What an orphaned zygote leaves comes to us. */
static void expect_nothing_runs(void)
{
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "a process is left");
}

/* It prints `text` and ends with exit code 42; the pipe that it prints into ends with the last process that holds it. */
static void expect_leaves(const char *manner, const char *text)
{
    int status = spawn_run("HELPER_LEAVER", how.name, manner, said, sizeof said);
    cr_assert(exited(status, 42), "wait status %x, said: %s", status, said);
    cr_assert(eq(str, said, (char *)text));
    expect_nothing_runs();
}

EACH_KIND(program, returns_from_main_with_an_idle_pool__ends_with_its_own_code)
{
    expect_leaves("idle", "ready\n");
}

EACH_KIND(program, returns_from_main_while_items_run__ends_with_its_own_code)
{
    expect_leaves("busy", "ready\n");
}

EACH_KIND(program, exits_in_a_callback__ends_with_its_own_code)
{
    expect_leaves("callback", "ready\n");
}

EACH_KIND(program, returns_from_main_with_a_stream_that_blocks__ends_with_its_own_code)
{
    expect_leaves("stream", "ready\n");
}

/* The first one stops the feeding; what runs here never ends by itself. */
EACH_KIND(program, ctrl_c_twice__ends_it_within_a_second_and_workers_say_nothing)
{
    *said = 0;
    spawned program = spawn("HELPER_LEAVER", how.name, "wait");
    cr_assert(gt(int, program.pid, 1));
    cr_assert(spawn_read_until(&program, "ready\n", said, sizeof said, PROMPT), "%s", said);
    cr_assert(eq(int, getpgid(program.pid), program.pid), "it has a group of its own");
    double begun = seconds_now();
    cr_assert(zero(int, kill(-program.pid, SIGINT)));
    cr_assert(spawn_read_until(&program, "interrupted\n", said, sizeof said, PROMPT), "%s", said);
    cr_assert(zero(int, kill(-program.pid, SIGINT)));
    int status = spawn_finish(&program, said, sizeof said, PROMPT);
    cr_assert(signaled(status, SIGINT), "wait status %x", status);
    cr_assert(lt(dbl, seconds_now() - begun, ROUNDS_SLOWER > 1 ? 10.0 : 1.0));
    cr_assert(eq(str, said, (char *)"ready\ninterrupted\n"));
    expect_nothing_runs();
}
