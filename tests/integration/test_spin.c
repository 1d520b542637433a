/* Calls that stay awake for their result (`.spin`), and workers that stay awake for the next item: whatever happens meanwhile, each
 * call has its own result or its own failure, and who has nothing to do sleeps. */
#include "tests/lib/applies.h"
#include "tests/lib/proc.h"
#include <dirent.h>
#include <math.h>
#include <pthread.h>

TestSuite(spin, .timeout = 60);
TestSuite(spin_option, .timeout = 60);
TestSuite(spin_trouble, .timeout = 60);
TestSuite(spin_idle, .timeout = 60);

static const double LONG = 0.01; /* the longest there is */

/* Busy for about so many microseconds, without a system call. */
static mp_status work(const int *in, int *out, mp_call *call)
{
    (void)call;
    double end = seconds_now() + *in * 1e-6;
    while (seconds_now() < end)
        continue;
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(work, int, int);

/* ---- the option ---- */

EACH_KIND(spin_option, any_number_of_seconds__gives_the_same_results)
{
    const double spins[] = {0, MP_NO_SPIN, 1e-12, 1e-6, 20e-6, LONG, 5, 1e300, HUGE_VAL};
    for (size_t k = 0; k < sizeof spins / sizeof *spins; k++) {
        mp_pool *pool = OPEN_POOL(.processes = 1 + (int)k % 2, .spin = spins[k]);
        for (int i = 0; i < few_lives(300); i++)
            apply_one(pool, i);
        mp_pool_stats stats = stats_of(pool);
        cr_assert(zero(u64, stats.pending + stats.failed + stats.lost + stats.stale));
        close_join_free(&pool);
    }
}

EACH_KIND(spin_option, that_is_no_time__is_refused)
{
    const double spins[] = {-0.5, -1e-9, -2, -HUGE_VAL, NAN};
    for (size_t k = 0; k < sizeof spins / sizeof *spins; k++) {
        mp_error error;
        mp_pool *pool = (mp_pool *)&error;
        mp_executor *executor = (mp_executor *)&error;
        cr_assert(eq(int, mp_pool_open(&pool, OPTIONS, .spin = spins[k], .error = &error), MP_EINVAL), "%g", spins[k]);
        cr_assert(eq(ptr, pool, NULL));
        cr_assert(says(&error, ".spin"), "%s", error.message);
        cr_assert(eq(int, mp_executor_open(&executor, OPTIONS, .spin = spins[k], .error = &error), MP_EINVAL));
        cr_assert(eq(ptr, executor, NULL));
        cr_assert(says(&error, ".spin"), "%s", error.message);
    }
}

/* ---- results ---- */

/* Each ends near the moment at which the other side gives up and sleeps: before, behind, and just then. */
EACH_KIND(spin, items_about_as_long_as_it__are_never_missed)
{
    const double spin = 20e-6;
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = spin);
    for (int i = 0; i < ROUNDS(8000); i++) {
        int us = i % 41, out = 0;
        cr_assert(eq(int, mp_pool_apply(pool, work, &us, &out), MP_OK));
        cr_assert(eq(int, out, us + 1));
        for (volatile int wait = 0; wait < i * 7 % 30000; wait++) /* so that the worker gives up, or not */
            ;
    }
    close_join_free(&pool);
}

EACH_KIND(spin, results_of_any_size__come_whole)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = LONG);
    apply_of_any_size(pool);
    close_join_free(&pool);
}

EACH_KIND(spin, failures_among_them__are_their_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .spin = LONG);
    apply_with_failures(pool);
    close_join_free(&pool);
}

/* Threads at a time, on so many workers: none waits for ever for the other, and each has its own results. */
static void apply_together(int threads, int workers, double spin)
{
    mp_pool *pool = OPEN_POOL(.processes = workers, .spin = spin);
    apply_from_threads(pool, threads);
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->begun, threads *ROUNDS(APPLIES)));
}

EACH_KIND(spin, two_threads_on_two_workers__each_has_its_own)
{
    apply_together(2, 2, LONG);
}

EACH_KIND(spin, four_threads_on_one_worker__each_has_its_own)
{
    apply_together(4, 1, 0);
}

/* Who spins lets others have the lock: what they post, cancel and ask meanwhile is not held up until the item ends. */
EACH_KIND(spin, calls_of_others__are_not_held_up)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .spin = LONG);
    apply_among_others(pool);
    close_join_free(&pool);
}

/* ---- trouble ---- */

EACH_PROCESS_KIND(spin_trouble, a_worker_that_is_killed_by_its_item__costs_that_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = LONG);
    for (int i = 0; i < few_lives(60); i++) {
        int zero = 0, out = -77;
        for (int k = 0; k < i % 5; k++)
            apply_one(pool, k);
        cr_assert(eq(int, mp_pool_apply(pool, die, &zero, &out), MP_ECRASHED));
        cr_assert(zero(int, out));
    }
    apply_one(pool, 1);
    cr_assert(eq(u64, stats_of(pool).lost, (uint64_t)few_lives(60)));
    close_join_free(&pool);
}

typedef struct killer {
    pthread_t thread;
    pid_t zygote;
    _Atomic int stop;
} killer;

/* Whatever they do just then: run, wait awake for the next one, sleep, or start. A pool none of whose workers comes to work between
 * two deaths would rightly be broken. */
static void *kill_workers(void *argument)
{
    killer *me = argument;
    int begun = 0;
    for (unsigned i = 0; !me->stop; i++) {
        pid_t workers[4];
        if (!SOON(me->stop || the_board()->begun >= begun + 5))
            break;
        begun = the_board()->begun;
        int count = proc_living_children(me->zygote, workers, 4);
        if (count > 0)
            proc_signal_child(me->zygote, workers[i % (unsigned)count], SIGKILL);
        nap_us(1000 + i * 37 % 3000);
    }
    return NULL;
}

static void expect_ran_as_told(int number, mp_status status)
{
    int times = the_board()->times[number];
    if (status == MP_OK)
        cr_assert(eq(int, times, 1), "call %d has its result", number);
    else
        cr_assert(status == MP_ECRASHED || status == MP_ELOST, "call %d: %s", number, mp_status_name(status));
    cr_assert(le(int, times, 1), "call %d ran twice", number);
}

static void apply_while_they_die(int calls)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .spin = LONG);
    killer death = {.zygote = proc_only_child()};
    cr_assert(gt(int, death.zygote, 0));
    cr_assert(zero(int, pthread_create(&death.thread, NULL, kill_workers, &death)));
    for (int i = 0; i < calls; i++) {
        int out = -77;
        mp_status status = mp_pool_apply(pool, mark, &i, &out);
        expect_ran_as_told(i, status);
        cr_assert(eq(int, out, status ? 0 : i + 1));
    }
    death.stop = 1;
    pthread_join(death.thread, NULL);
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.accepted, (uint64_t)calls));
    cr_assert(eq(u64, stats.succeeded + stats.failed, (uint64_t)calls));
    mp_pool_free(&pool);
}

CHECK(spin_trouble, workers_that_are_killed_at_any_moment__cost_what_they_ran)
{
    how = (pool_kind){"fork", MP_PROCESSES, MP_FORK};
    board_open();
    apply_while_they_die(ROUNDS(8000));
    board_close();
}

/* Has a child that keeps all its descriptors and outlives its item, or one that comes back to the worker's own code. */
static mp_status beget(const int *in, int *out, mp_call *call)
{
    (void)call;
    pid_t child = fork();
    if (child == 0 && *in % 2)
        _exit(0);
    if (child > 0 && *in % 4 == 1)
        waitpid(child, NULL, 0);
    *out = *in + 1; /* the child says so too */
    return child < 0 ? MP_ESYSTEM : MP_OK;
}
MP_TASK(beget, int, int);

EACH_PROCESS_KIND(spin_trouble, a_task_that_forks__has_one_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = LONG);
    for (int i = 0; i < ROUNDS(200); i++) {
        int out = -77;
        cr_assert(eq(int, mp_pool_apply(pool, beget, &i, &out), MP_OK));
        cr_assert(eq(int, out, i + 1));
        apply_one(pool, i);
    }
    cr_assert(zero(u64, stats_of(pool).stale));
    close_join_free(&pool);
}

static mp_status flood(const int *in, int *out, mp_call *call)
{
    (void)call;
    for (int i = 0; i < *in; i++)
        puts("a line of what a task prints while somebody is awake for its result");
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(flood, int, int);

/* Captured output comes before the result, which is waited for awake. */
EACH_PROCESS_KIND(spin_trouble, a_task_that_floods_its_output__has_its_result)
{
    int out_fd = memfd_create("out", MFD_CLOEXEC), old = dup(1);
    dup2(out_fd, 1);
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = LONG, .output = MP_OUTPUT_CAPTURE);
    int wrong = 0, lines = 0;
    for (int i = 0; i < ROUNDS(200); i++) {
        int much = i % 20 == 19 ? 5000 : i % 7, out = -77;
        wrong += mp_pool_apply(pool, flood, &much, &out) != MP_OK || out != much + 1;
        lines += much < 7 ? much : 0;
    }
    close_join_free(&pool);
    fflush(stdout);
    off_t size = lseek(out_fd, 0, SEEK_END);
    dup2(old, 1);
    close(old);
    close(out_fd);
    cr_assert(zero(int, wrong));
    cr_assert(ge(i64, (int64_t)size, (int64_t)lines * 60), "all that the small ones print is there");
}

/* A call that waits awake ends by its time-out as one that sleeps. */
EACH_PROCESS_KIND(spin_trouble, an_item_that_hangs__ends_by_its_time_out)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .spin = LONG, .grace = 0.05);
    for (int i = 0; i < few_lives(10); i++) {
        int held = 1, out = -77;
        apply_one(pool, i);
        cr_assert(eq(int, mp_pool_apply(pool, hold, &held, &out, .timeout = 0.05), MP_ETIMEDOUT));
        cr_assert(zero(int, out));
    }
    apply_one(pool, 1);
    close_join_free(&pool);
}

/* ---- idle ---- */

/* Context switches of a process's threads, of those whose names begin with `prefix`; NULL: of its first one, for a sanitizer may have
 * one of its own. */
static long switches_of(pid_t pid, const char *prefix)
{
    char path[320], line[256];
    long sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    for (struct dirent *entry; threads && (entry = readdir(threads));) {
        bool counts = !prefix && strtol(entry->d_name, NULL, 10) == pid;
        long more;
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            if (prefix && !strncmp(line, "Name:\t", 6))
                counts = !strncmp(line + 6, prefix, strlen(prefix));
            char *at = strstr(line, "ctxt_switches:");
            if (counts && at && sscanf(at, "ctxt_switches: %ld", &more) == 1)
                sum += more;
        }
        if (file)
            fclose(file);
    }
    if (threads)
        closedir(threads);
    return sum;
}

/* Of all that a pool has: its threads in this process, its zygote, its workers. */
static long switches_of_pool(void)
{
    pid_t zygote = proc_only_child(), workers[8];
    long sum = switches_of(getpid(), "mp-");
    if (!zygote)
        return sum;
    sum += switches_of(zygote, NULL);
    for (int i = proc_living_children(zygote, workers, 8); i-- > 0;)
        sum += switches_of(workers[i], NULL);
    return sum;
}

/* True: for a while nothing of it has run. A machine that is busy makes nobody run who sleeps. */
static bool is_quiet(void)
{
    long before = switches_of_pool();
    nap_us(50000);
    return switches_of_pool() == before;
}

EACH_KIND(spin_idle, when_the_calls_are_over__nobody_wakes_up)
{
    const double spins[] = {0, LONG};
    for (size_t k = 0; k < 2; k++) {
        mp_pool *pool = OPEN_POOL(.processes = 2, .spin = spins[k]);
        for (int i = 0; i < 500; i++)
            apply_one(pool, i);
        for (int i = 0; i < 100; i++) { /* in a row: who drives naps */
            mp_async *async = mp_pool_apply_async(pool, mark, &i);
            mp_async_free(&async);
        }
        cr_assert(SOON(!stats_of(pool).pending));
        cr_assert(SOON(is_quiet()), "somebody wakes up again and again");
        for (int i = 0; i < 4; i++)
            cr_assert(is_quiet(), "somebody has woken up");
        apply_one(pool, 1);
        close_join_free(&pool);
    }
}
