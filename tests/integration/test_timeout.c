/* Time-outs of items in maps: who is ended and who is not, in chunks of every size, and how: told, SIGTERM, SIGKILL. On every kind;
 * what a thread can be made to do is less, and is said below. */
#include "tests/lib/proc.h"
#include "tests/lib/stuck.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

TestSuite(hung, .timeout = 60);
TestSuite(told, .timeout = 60);
TestSuite(ended, .timeout = 60);
TestSuite(early, .timeout = 60);
TestSuite(limit, .timeout = 60);

/* ---- hung items ---- */

static const int chunks[] = {1, 2, 7, 0, 40, 1000};
enum { CHUNKS = sizeof chunks / sizeof *chunks };

EACH_PROCESS_KIND(hung, one_in_chunks_of_every_size__costs_itself)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int i = 0; i < CHUNKS; i++) {
        trial_begin(40);
        one_is(17, HANGS);
        RUN(pool, .timeout = TIME_UP, .chunksize = chunks[i]);
        expect_only_fine_ones(MP_ETIMEDOUT);
        expect_each_began(1);
    }
    free_working(&pool);
}

EACH_PROCESS_KIND(hung, several_in_one_chunk__cost_themselves)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(40);
    one_is(0, HANGS);
    one_is(1, SPINS);
    one_is(20, HANGS);
    one_is(39, HANGS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 40);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    free_working(&pool);
}

EACH_PROCESS_KIND(hung, more_than_there_are_workers__the_rest_is_run)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    trial_begin(100);
    for (int i = 0; i < 5; i++)
        one_is(i, i % 2 ? HANGS : SPINS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 3);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    free_working(&pool);
}

EACH_PROCESS_KIND(hung, all__each_is_run_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int chunk = 1; chunk <= 9; chunk += 4) {
        trial_begin(9);
        all_are(HANGS);
        RUN(pool, .timeout = AT_ONCE, .chunksize = chunk);
        expect_only_fine_ones(MP_ETIMEDOUT);
        expect_each_began(1);
    }
    free_working(&pool);
}

EACH_PROCESS_KIND(hung, the_only_one__map_and_apply_say_so)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_error error;
    int out = 5;
    trial_begin(1);
    all_are(HANGS);
    RUN(pool, .timeout = AT_ONCE);
    expect_only_fine_ones(MP_ETIMEDOUT);
    mp_status status = mp_pool_apply(pool, behave, t.items, &out, .timeout = AT_ONCE, .error = &error);
    cr_assert(eq(int, status, MP_ETIMEDOUT));
    cr_assert(eq(int, error.status, MP_ETIMEDOUT));
    cr_assert(zero(int, out));
    expect_each_began(2);
    free_working(&pool);
}

/* Which item, which worker, which attempt; and that it was not a crash of its own. */
EACH_PROCESS_KIND(hung, one__its_error_says_where_and_the_statistics_count_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(3);
    one_is(1, HANGS);
    RUN(pool, .timeout = TIME_UP);
    expect_only_fine_ones(MP_ETIMEDOUT);
    cr_assert(zero(int, t.errors[1].worker));
    cr_assert(gt(int, t.errors[1].pid, 0));
    cr_assert(eq(int, t.errors[1].attempt, 1));
    cr_assert(eq(str, t.errors[1].task, "behave"));
    expect_works(pool);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(zero(u64, stats.lost), "ended on purpose");
    cr_assert(eq(u64, stats.started, 2));
    cr_assert(eq(u64, stats.failed, 1));
    cr_assert(zero(u64, stats.retried));
    close_join_free(&pool);
}

EACH_PROCESS_KIND(hung, one_on_a_worker_of_a_broadcast__the_others_have_their_results)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int in = AS(HANGS, 0), out[2];
    mp_status statuses[2];
    mp_status status = mp_pool_broadcast(pool, behave, &in, out, 2, .timeout = AT_ONCE, .statuses = statuses);
    cr_assert(eq(int, status, MP_ETIMEDOUT));
    cr_assert(eq(int, statuses[0], MP_ETIMEDOUT));
    cr_assert(eq(int, statuses[1], MP_ETIMEDOUT));
    in = AS(FINE, 0);
    status = mp_pool_broadcast(pool, behave, &in, out, 2, .timeout = TIME_UP, .statuses = statuses);
    cr_assert(eq(int, status, MP_OK));
    free_working(&pool);
}

/* A worker's end and its replacement go on as without. */
EACH_PROCESS_KIND(hung, some_where_workers_are_replaced_anyway__cost_themselves)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .maxtasksperchild = 3);
    trial_begin(30);
    one_is(2, HANGS);
    one_is(12, HANGS);
    one_is(25, HANGS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 5);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    free_working(&pool);
}

static void *run_second(void *argument)
{
    static int in[20], out[20];
    for (int i = 0; i < 20; i++)
        in[i] = AS(FINE, 200 + i);
    mp_status status = mp_pool_map(argument, behave, in, 20, out);
    for (int i = 0; i < 20 && !status; i++)
        status = out[i] == 201 + i ? MP_OK : MP_EUSER;
    return (void *)(intptr_t)status;
}

EACH_PROCESS_KIND(hung, those_of_one_call__leave_another_alone)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    pthread_t thread;
    void *second;
    trial_begin(6);
    all_are(HANGS);
    cr_assert(zero(int, pthread_create(&thread, NULL, run_second, pool)));
    RUN(pool, .timeout = AT_ONCE, .chunksize = 2);
    pthread_join(thread, &second);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    cr_assert(eq(int, (int)(intptr_t)second, MP_OK));
    free_working(&pool);
}

/* ---- told ---- */

EVERY_KIND(told, task_that_returns_its_best__has_its_result_and_its_worker_lives_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(20);
    one_is(5, HEEDS);
    one_is(19, HEEDS_LATE);
    RUN(pool, .timeout = TIME_UP, .chunksize = 20);
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    for (int i = 0; i < 20; i++)
        expect_ok(i, i == 5 || i == 19 ? -i - 1 : i + 1);
    expect_each_began(1);
    cr_assert(eq(u64, stats_of(pool).started, 1));
    free_working(&pool);
}

EVERY_KIND(told, task_that_fails_then__is_timed_out_and_its_worker_lives_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(10);
    one_is(5, HEEDS_FAILS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 10);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    cr_assert(eq(u64, stats_of(pool).started, 1));
    free_working(&pool);
}

EACH_PROCESS_KIND(told, task_that_looks_and_goes_on__is_ended_when_its_grace_is_over)
{
    const double grace = 0.3;
    mp_pool *pool = OPEN_POOL(.processes = 2, .grace = grace);
    trial_begin(10);
    one_is(5, LOOKS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 10);
    expect_only_fine_ones(MP_ETIMEDOUT);
    cr_assert(ge(dbl, t.took, TIME_UP + grace));
    cr_assert(eq(int, the_board()->word[SAW], 1));
    expect_each_began(1);
    free_working(&pool);
}

/* Every item that is told has a mark of its own: those that come next are not cancelled. */
EVERY_KIND(told, item_behind_one_that_was_told__is_not)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(3);
    all_are(HEEDS);
    RUN(pool, .timeout = 0.2, .chunksize = 3);
    for (int i = 0; i < 3; i++)
        expect_ok(i, -i - 1);
    cr_assert(ge(dbl, t.took, 3 * 0.2), "each has its own time");
    cr_assert(eq(int, the_board()->word[SAW], 3));
    free_working(&pool);
}

static void *open_gate_when_seen(void *argument)
{
    bool seen = SOON(the_board()->word[SAW] == 1);
    the_board()->gate = 1;
    return seen ? argument : NULL;
}

/* It cannot be ended; and what it returns with success counts, however late. */
ON_THREADS(told, task_that_looks_and_goes_on__runs_to_its_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .grace = AT_ONCE);
    pthread_t thread;
    void *seen;
    trial_begin(10);
    one_is(5, LOOKS);
    cr_assert(zero(int, pthread_create(&thread, NULL, open_gate_when_seen, pool)));
    RUN(pool, .timeout = TIME_UP);
    pthread_join(thread, &seen);
    cr_assert(ne(ptr, seen, NULL));
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    for (int i = 0; i < 10; i++)
        expect_ok(i, i + 1);
    expect_each_began(1);
    free_working(&pool);
}

/* ---- ended ---- */

static void expect_ended(manner as)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = 0.1);
    trial_begin(8);
    one_is(3, as);
    one_is(7, as);
    RUN(pool, .timeout = TIME_UP, .chunksize = 8);
    expect_only_fine_ones(MP_ETIMEDOUT);
    expect_each_began(1);
    cr_assert(zero(u64, stats_of(pool).lost));
    free_working(&pool);
}

EACH_PROCESS_KIND(ended, task_that_ignores_SIGTERM__costs_itself)
{
    expect_ended(IGNORES);
}
EACH_PROCESS_KIND(ended, task_that_blocks_all_signals__costs_itself)
{
    expect_ended(BLOCKS);
}
EACH_PROCESS_KIND(ended, task_whose_process_is_stopped__costs_itself)
{
    expect_ended(SLEEPS);
}
EACH_PROCESS_KIND(ended, task_that_spins__costs_itself)
{
    expect_ended(SPINS);
}
EACH_PROCESS_KIND(ended, task_that_exits_on_SIGTERM__is_timed_out_not_crashed)
{
    expect_ended(CATCHES);
    cr_assert(eq(int, the_board()->word[CAUGHT], 2));
}

EACH_PROCESS_KIND(ended, task_with_a_child__takes_it_along)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(2);
    one_is(0, FORKS);
    RUN(pool, .timeout = TIME_UP, .chunksize = 2);
    expect_only_fine_ones(MP_ETIMEDOUT);
    cr_assert(gt(int, the_board()->word[CHILD], 0));
    cr_assert(SOON(!proc_lives(the_board()->word[CHILD])));
    leftovers_reap(0);
    free_working(&pool);
}

/* ---- never early ---- */

EVERY_KIND(early, task_is_told__not_before_its_time)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    static const double times[] = {0.001, 0.01, 0.05, 0.3};
    for (int i = 0; i < 4; i++) {
        trial_begin(1);
        all_are(HEEDS);
        RUN(pool, .timeout = times[i]);
        expect_ok(0, -1);
        cr_assert(ge(dbl, t.took, times[i]), "%g", times[i]); /* not by its own clock, which starts when it has a CPU */
    }
    free_working(&pool);
}

static bool go_to(int cpu, bool there)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int i = 0; i < (int)sysconf(_SC_NPROCESSORS_CONF); i++)
        if ((i == cpu) == there)
            CPU_SET((size_t)i, &cpus);
    return sched_setaffinity(0, sizeof cpus, &cpus) == 0;
}

/* Comes to a CPU that others have, and has to wait for its turn there before it looks. */
static mp_status give_way(const int *cpu, int *out, mp_call *call)
{
    (void)go_to(*cpu, false); /* fails where there is no other */
    if (setpriority(PRIO_PROCESS, 0, 10) != 0 || !go_to(*cpu, true))
        return mp_fail(call, MP_ESYSTEM, "cannot give way");
    while (!mp_call_cancelled(call))
        nap_us(100);
    *out = -1;
    return MP_OK;
}
MP_TASK(give_way, int, int);

static pid_t take_cpu(int cpu)
{
    pid_t child = proc_fork();
    while (child == 0)
        if (!go_to(cpu, true))
            _exit(1);
    cr_assert(gt(int, child, 0));
    return child;
}

/* The system gave its worker no CPU from when it began until its time was up, or hardly any: who would have looked is not ended for that. */
EACH_PROCESS_KIND(early, item_that_has_had_no_cpu__is_told_and_not_ended)
{
    enum { HOGS = 3 };
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = 30); /* it has hardly any CPU to return with, either */
    int cpu = sched_getcpu(), out[20];
    pid_t hogs[HOGS];
    for (int i = 0; i < HOGS; i++)
        hogs[i] = take_cpu(cpu);
    for (int i = 0; i < 20; i++) {
        mp_error error;
        mp_status status = mp_pool_apply(pool, give_way, &cpu, &out[i], .timeout = 0.001, .error = &error);
        cr_expect(eq(int, status, MP_OK), "%s", error.message);
        cr_expect(eq(int, out[i], -1));
    }
    for (int i = 0; i < HOGS; i++) {
        kill(hogs[i], SIGKILL);
        waitpid(hogs[i], NULL, 0);
    }
    free_working(&pool);
}

/* The time is each item's own, not that of its chunk or its call. */
EVERY_KIND(early, chunk_that_takes_longer__than_any_of_its_items_may_is_fine)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    trial_begin(30);
    for (int i = 0; i < 30; i++)
        one_is(i, TAKES);
    RUN(pool, .timeout = 1.0, .chunksize = 30);
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    for (int i = 0; i < 30; i++)
        expect_ok(i, i + 1);
    cr_assert(gt(dbl, t.took, 1.0));
    free_working(&pool);
}

/* Waiting for a worker is not running. */
EACH_PROCESS_KIND(early, item_that_waits_behind_a_hung_one__has_its_whole_time)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .grace = PROMPT);
    trial_begin(3);
    one_is(0, HANGS);
    one_is(1, HANGS);
    one_is(2, HEEDS);
    RUN(pool, .timeout = 0.2, .chunksize = 3);
    expect_failed(0, MP_ETIMEDOUT);
    expect_failed(1, MP_ETIMEDOUT);
    expect_ok(2, -3);
    cr_assert(ge(dbl, t.took, 3 * 0.2)); /* all three */
    free_working(&pool);
}

static mp_status begin_slowly(const int *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    nap_us(*in);
    return MP_OK;
}
MP_TASK(begin_slowly, int, mp_none);

EVERY_KIND(early, initializer__is_not_timed)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = 0.2, .initializer = MP_HOOK(begin_slowly, (&(int){600000})));
    free_working(&pool);
}

/* The items run on in their workers, and so does the clock; but nobody was there who could have said anything. */
EACH_KIND(early, program_that_was_stopped__times_nothing_out_for_it)
{
    int status;
    trial_begin(2);
    pid_t child = proc_fork();
    if (child == 0) {
        mp_pool *pool;
        if (mp_pool_open(&pool, OPTIONS, .processes = 2) != MP_OK)
            _exit(2);
        all_are(LOOKS);
        RUN(pool, .timeout = 1.0);
        mp_pool_free(&pool);
        _exit(t.status == MP_OK ? 0 : 1);
    }
    bool began = SOON(the_board()->begun == 2), stopped = false;
    kill(child, SIGSTOP);
    stopped = SOON(proc_look(child).state == 'T');
    nap_us(1500000);
    the_board()->gate = 1;
    kill(child, SIGCONT);
    waitpid(child, &status, 0);
    cr_assert(began && stopped);
    cr_assert(exited(status, 0), "status %x", status);
    cr_assert(zero(int, the_board()->word[SAW]));
}

/* ---- whose limit it is ---- */

EACH_PROCESS_KIND(limit, of_the_pool__holds_where_the_call_says_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .timeout = TIME_UP);
    trial_begin(10);
    one_is(4, HANGS);
    RUN(pool, .chunksize = 5);
    expect_only_fine_ones(MP_ETIMEDOUT);
    free_working(&pool);
}

EACH_PROCESS_KIND(limit, of_the_call__counts_where_both_say_one)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = 1e9), *strict = OPEN_POOL(.processes = 1, .timeout = AT_ONCE);
    trial_begin(1);
    all_are(HANGS);
    RUN(pool, .timeout = AT_ONCE);
    expect_only_fine_ones(MP_ETIMEDOUT);
    trial_begin(1);
    all_are(TAKES);
    RUN(strict, .timeout = PROMPT);
    expect_ok(0, 1);
    close_join_free(&pool);
    close_join_free(&strict);
}

EVERY_KIND(limit, of_the_pool__is_lifted_by_MP_FOREVER)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .timeout = 0.01, .grace = 0.01);
    trial_begin(3);
    all_are(TAKES);
    RUN(pool, .timeout = MP_FOREVER);
    cr_assert(eq(int, t.status, MP_OK), "%s", t.error.message);
    for (int i = 0; i < 3; i++)
        expect_ok(i, i + 1);
    close_join_free(&pool);
}

/* What takes no time is not harmed by the largest and the smallest numbers. */
EVERY_KIND(limit, absurdly_long__is_none)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .timeout = 1e200, .grace = 1e300);
    trial_begin(20);
    RUN(pool, .deadline = 1e18);
    expect_only_fine_ones(MP_OK);
    RUN(pool, .timeout = MP_FOREVER, .deadline = MP_FOREVER, .retry_delay = 1e30);
    expect_only_fine_ones(MP_OK);
    free_working(&pool);
}
