/* What belongs to the program stays the program's: descriptors, signals, threads, CPU time; and what belongs to a worker is its
 * own. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/methods.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>

TestSuite(descriptors, .timeout = 60);
TestSuite(signals, .timeout = 60);
TestSuite(threads, .timeout = 60);
TestSuite(idle, .timeout = 60);

enum { PROMPT = 20 };

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

static mp_status map_some(mp_pool *pool, size_t n)
{
    int *items = calloc(n, sizeof *items), *results = malloc(n * sizeof *results);
    for (size_t i = 0; i < n; i++)
        items[i] = (int)i;
    mp_status status = mp_pool_map(pool, twice, items, n, results);
    for (size_t i = 0; i < n && !status; i++)
        if (results[i] != 2 * (int)i)
            status = MP_EUSER;
    free(items);
    free(results);
    return status;
}

/* ---- descriptors ---- */

enum { TARGET = 64, FDS = 512, WORKERS = 4 };
typedef struct table {
    int count, numbers[FDS];
    char targets[FDS][TARGET];
} table;

static void list_descriptors(pid_t pid, table *into)
{
    char path[64];
    into->count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    cr_assert(ne(ptr, dir, NULL));
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || into->count == FDS)
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%.10s", (int)pid, entry->d_name);
        ssize_t length = readlink(path, into->targets[into->count], TARGET - 1);
        if (length < 0)
            continue;
        into->targets[into->count][length] = 0;
        into->numbers[into->count++] = atoi(entry->d_name);
    }
    closedir(dir);
}

static const char *target_of(const table *t, int number)
{
    for (int i = 0; i < t->count; i++)
        if (t->numbers[i] == number)
            return t->targets[i];
    return "";
}

/* The kind of thing only: "pipe", "/dev/null". */
static bool same_kind(const char *a, const char *b)
{
    size_t length = strcspn(a, ":");
    return strcspn(b, ":") == length && !strncmp(a, b, length);
}

static table workers_tables[WORKERS], zygote_table;

/* What a worker keeps to put things back: copies of its 0 to 2, and its directory. Those may be anybody's. */
static bool is_kept(const table *t, int i)
{
    char directory[PATH_MAX];
    return !strcmp(t->targets[i], target_of(t, 0)) || !strcmp(t->targets[i], target_of(t, 1)) ||
           !strcmp(t->targets[i], target_of(t, 2)) ||
           (getcwd(directory, sizeof directory) && !strncmp(t->targets[i], directory, TARGET - 1));
}

/* A pipe, or any other thing above the standard ones, that both hold; NULL: none. */
static const char *shared_by(const table *a, const table *b)
{
    for (int i = 0; i < a->count; i++)
        for (int k = 0; k < b->count; k++)
            if (a->numbers[i] > 2 && b->numbers[k] > 2 && !is_kept(b, k) && !strcmp(a->targets[i], b->targets[k]))
                return a->targets[i];
    return NULL;
}

/* The zygote has a worker's for a moment, until it has forked it: that it still had when we looked is no fault. */
static bool zygote_shares_none(pid_t zygote, int workers)
{
    list_descriptors(zygote, &zygote_table);
    for (int k = 0; k < workers; k++)
        if (shared_by(&zygote_table, &workers_tables[k]))
            return false;
    return true;
}

/* One that has just begun is not through with it when it says so. */
static bool hold_as_many(const pid_t *pids, int workers)
{
    bool equal = true;
    for (int k = 0; k < workers; k++) {
        list_descriptors(pids[k], &workers_tables[k]);
        equal &= workers_tables[k].count == workers_tables[0].count;
    }
    return equal;
}

/* Each worker holds what worker 0 holds, by number and kind; and no pipe of one is also another's or the zygote's. */
static void expect_own_descriptors_only(pid_t zygote, int workers)
{
    pid_t pids[WORKERS];
    cr_assert(UNTIL(PROMPT, proc_living_children(zygote, pids, WORKERS) == workers));
    UNTIL(PROMPT, hold_as_many(pids, workers));
    for (int k = 0; k < workers; k++) {
        const table *t = &workers_tables[k], *first = &workers_tables[0];
        cr_assert(eq(int, t->count, first->count), "worker %d", k);
        cr_assert(le(int, t->count, 9), "worker %d", k);
        cr_assert(eq(str, (char *)target_of(t, 0), "/dev/null"), "worker %d", k);
        for (int i = 0; i < t->count; i++)
            cr_assert(same_kind(t->targets[i], target_of(first, t->numbers[i])), "worker %d: %d is %s, not %s", k,
                      t->numbers[i], t->targets[i], target_of(first, t->numbers[i]));
        for (int j = 0; j < k; j++)
            cr_assert(eq(ptr, (void *)shared_by(t, &workers_tables[j]), NULL), "workers %d and %d share %s", j, k,
                      shared_by(t, &workers_tables[j]));
    }
    cr_assert(UNTIL(PROMPT, zygote_shares_none(zygote, workers)), "the zygote holds a worker's pipe");
}

CHECK(descriptors, of_each_worker__are_its_own)
{
    mp_pool *pool = open_pool(WORKERS);
    expect_own_descriptors_only(proc_only_child(), WORKERS);
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    expect_own_descriptors_only(proc_only_child(), WORKERS);
    mp_pool_free(&pool);
}

CHECK(descriptors, of_replacements__are_their_own)
{
    pid_t pids[WORKERS];
    mp_pool_stats stats;
    mp_pool *pool = open_pool(WORKERS);
    pid_t zygote = proc_only_child();
    for (uint64_t round = 1; round <= 3; round++) {
        cr_assert(eq(int, proc_living_children(zygote, pids, WORKERS), WORKERS));
        cr_assert(proc_signal_child(zygote, pids[round % WORKERS], SIGKILL));
        cr_assert(
            UNTIL(PROMPT, mp_pool_get_stats(pool, &stats) == MP_OK && stats.lost == round && stats.workers == WORKERS));
        expect_own_descriptors_only(zygote, WORKERS);
    }
    mp_pool_free(&pool);
}

CHECK(descriptors, with_a_second_pool_open__are_its_own)
{
    pid_t zygotes[2];
    mp_pool *first = open_pool(2), *second = open_pool(WORKERS);
    cr_assert(eq(int, proc_children(getpid(), zygotes, 2), 2));
    for (int i = 0; i < 2; i++) {
        pid_t pids[WORKERS];
        expect_own_descriptors_only(zygotes[i], proc_living_children(zygotes[i], pids, WORKERS));
    }
    mp_pool_free(&first);
    cr_assert(eq(int, map_some(second, 100), MP_OK));
    mp_pool_free(&second);
}

CHECK(descriptors, with_many_open_in_the_program__are_its_own)
{
    int fds[300], ends[2];
    cr_assert(zero(int, pipe(ends)));
    for (int i = 0; i < 300; i++) {
        fds[i] = dup(ends[i % 2]);
        cr_assert(gt(int, fds[i], 2));
    }
    mp_pool *pool = open_pool(WORKERS);
    expect_own_descriptors_only(proc_only_child(), WORKERS);
    for (int k = 0; k < WORKERS; k++)
        cr_assert(le(int, workers_tables[k].count, 9));
    cr_assert(eq(int, map_some(pool, 100), MP_OK));
    for (int i = 0; i < 300; i++)
        close(fds[i]);
    close(ends[1]);
    char byte;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    cr_assert(zero(long, read(ends[0], &byte, 1)),
              "its end comes while the pool is open: no process of the pool's holds it");
    close(ends[0]);
    mp_pool_free(&pool);
}

/* What a program opens later must not reach workers that are replaced later. */
CHECK(descriptors, opened_after_the_pool__do_not_reach_replacements)
{
    pid_t worker = 0;
    mp_pool_stats stats;
    mp_pool *pool = open_pool(1);
    pid_t zygote = proc_only_child();
    int ends[2];
    cr_assert(zero(int, pipe(ends)));
    cr_assert(eq(int, proc_living_children(zygote, &worker, 1), 1));
    cr_assert(proc_signal_child(zygote, worker, SIGKILL));
    cr_assert(UNTIL(PROMPT, mp_pool_get_stats(pool, &stats) == MP_OK && stats.started == 2 && stats.workers == 1));
    expect_own_descriptors_only(zygote, 1);
    close(ends[1]);
    char byte;
    cr_assert(zero(long, read(ends[0], &byte, 1)), "its end comes, for nobody else holds it");
    close(ends[0]);
    mp_pool_free(&pool);
}

static mp_status read_stdin(const mp_none *in, int64_t *out, mp_call *call)
{
    char bytes[16];
    (void)in, (void)call;
    *out = read(0, bytes, sizeof bytes);
    return MP_OK;
}
MP_TASK(read_stdin, mp_none, int64_t);

CHECK(descriptors, standard_input_of_workers__is_empty)
{
    int ends[2], saved = dup(0);
    cr_assert(zero(int, pipe(ends)));
    cr_assert(eq(long, write(ends[1], "for the program", 15), 15));
    dup2(ends[0], 0);
    mp_pool *pool = open_pool(2);
    int64_t results[20];
    spoil(results, sizeof results);
    cr_assert(eq(int, mp_pool_map(pool, read_stdin, NULL, 20, results), MP_OK));
    for (int i = 0; i < 20; i++)
        cr_assert(zero(i64, results[i]));
    mp_pool_free(&pool);
    char bytes[16];
    cr_assert(eq(long, read(0, bytes, 15), 15), "nobody has taken what was the program's");
    dup2(saved, 0);
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

CHECK_METHODS(descriptors, limit_is_reached__open_says_so)
{
    struct rlimit limit;
    mp_pool *pool;
    mp_error error;
    getrlimit(RLIMIT_NOFILE, &limit);
    for (rlim_t most = (rlim_t)proc_descriptors(getpid()) + 2; most < 60; most++) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, limit.rlim_max});
        mp_status status = mp_pool_open(&pool, .processes = 4, .start_method = method, .error = &error);
        setrlimit(RLIMIT_NOFILE, &limit);
        if (status == MP_OK) {
            cr_assert(eq(int, map_some(pool, 100), MP_OK));
            mp_pool_free(&pool);
            return;
        }
        cr_assert(eq(int, status, MP_ESYSTEM), "%s", error.message);
        cr_assert(eq(int, error.os_error, EMFILE), "%s", error.message);
        cr_assert(says(&error, "Too many open files"), "%s", error.message);
    }
    cr_fatal("a pool of 4 workers needs more than 60 descriptors");
}

/* ---- signals ---- */

static _Atomic int handled[65];

static void count_signal(int number)
{
    handled[number]++;
}

/* Whoever started the tests may ignore some signals (a shell does, for what runs in the background): put back at the end. */
static struct sigaction inherited[65];
static bool replaced[65];

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, replaced[number] ? NULL : &inherited[number]);
    replaced[number] = true;
}

static void restore_handlers(void)
{
    for (int number = 1; number < 65; number++)
        if (replaced[number])
            sigaction(number, &inherited[number], NULL);
}

CHECK(signals, workers__ignore_sigint)
{
    pid_t pids[3];
    mp_pool_stats stats;
    handle(SIGINT, SIG_DFL, 0);
    mp_pool *pool = open_pool(3);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, proc_living_children(zygote, pids, 3), 3));
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < 3; i++)
            cr_assert(proc_signal_child(zygote, pids[i], SIGINT));
    proc_signal_child(getpid(), zygote, SIGINT);
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&pool);
    restore_handlers();
}

/* What Ctrl-C does: everyone in the foreground gets it, and the program decides. */
CHECK(signals, sigint_to_the_whole_group__is_the_programs_alone)
{
    mp_pool_stats stats;
    handle(SIGINT, count_signal, SA_RESTART);
    mp_pool *pool = open_pool(3);
    cr_assert(eq(int, getpgrp(), getpid()), "Criterion gives each test a session of its own");
    cr_assert(zero(int, kill(0, SIGINT)));
    cr_assert(UNTIL(PROMPT, handled[SIGINT] == 1));
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&pool);
    restore_handlers();
}

CHECK(signals, handlers_and_mask_of_the_program__stay_as_they_were)
{
    struct sigaction before[32], after[32];
    sigset_t some, mask, saved;
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP && number != SIGPROF && number != SIGSEGV && number != SIGBUS &&
            number != SIGFPE && number != SIGILL && number != SIGABRT)
            handle(number, number % 3 ? count_signal : number % 2 ? SIG_IGN : SIG_DFL, SA_RESTART);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigaddset(&some, SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &some, &saved);
    for (int number = 1; number < 32; number++)
        sigaction(number, NULL, &before[number]);

    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < 32; number++) {
        sigaction(number, NULL, &after[number]);
        cr_assert(eq(ptr, (void *)after[number].sa_handler, (void *)before[number].sa_handler), "signal %d", number);
        cr_assert(eq(int, after[number].sa_flags, before[number].sa_flags), "signal %d", number);
        cr_assert(eq(int, sigismember(&mask, number), sigismember(&some, number)), "signal %d", number);
        if (number != SIGKILL && number != SIGSTOP && number % 3 && number != SIGPROF && number != SIGCHLD)
            cr_assert(zero(int, handled[number]), "signal %d came", number);
    }
    restore_handlers();
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/* A pipe to a worker breaks whenever one dies: the program's SIGPIPE handler never hears of it. */
CHECK(signals, sigpipe__never_reaches_the_program)
{
    pid_t pids[2];
    handle(SIGPIPE, count_signal, 0);
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    for (int round = 0; round < ROUNDS(100); round++) {
        int living = proc_living_children(zygote, pids, 2);
        for (int i = 0; i < living && i < 2; i++)
            proc_signal_child(zygote, pids[i], SIGKILL);
        map_some(pool, 20000); /* at once, so that the dead are written to */
    }
    cr_assert(zero(int, handled[SIGPIPE]));
    sigset_t pending;
    sigpending(&pending);
    cr_assert(zero(int, sigismember(&pending, SIGPIPE)));
    mp_pool_free(&pool);
    cr_assert(zero(int, handled[SIGPIPE]));
    restore_handlers();
}

/* One that the program has blocked, and that was on its way before, is not ours to take. */
CHECK(signals, sigpipe_that_was_pending__stays_pending)
{
    sigset_t pipe_only, saved, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &saved);
    pthread_kill(pthread_self(), SIGPIPE);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    mp_pool_free(&pool);
    sigpending(&pending);
    cr_assert(eq(int, sigismember(&pending, SIGPIPE), 1));
    int number;
    sigwait(&pipe_only, &number);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

CHECK(signals, sigchld_ignored_by_the_program__pool_works)
{
    pid_t worker = 0;
    mp_pool_stats stats;
    handle(SIGCHLD, SIG_IGN, 0);
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    proc_living_children(zygote, &worker, 1);
    cr_assert(proc_signal_child(zygote, worker, SIGKILL));
    cr_assert(UNTIL(PROMPT, mp_pool_get_stats(pool, &stats) == MP_OK && stats.lost == 1 && stats.workers == 2));
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
    restore_handlers();
}

static void reap_everything(int number)
{
    int saved = errno;
    handled[number]++;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

/* A common handler takes every child there is, the pool's too. */
CHECK(signals, sigchld_handler_that_reaps_everything__pool_works_and_ends)
{
    handle(SIGCHLD, reap_everything, SA_RESTART);
    for (int round = 0; round < ROUNDS(20); round++) {
        mp_pool *pool = open_pool(2);
        cr_assert(eq(int, map_some(pool, 100), MP_OK));
        if (round % 2)
            proc_signal_child(getpid(), proc_only_child(), SIGKILL);
        mp_pool_free(&pool);
        leftovers_reap(PROMPT);
    }
    restore_handlers();
}

/* Without SA_RESTART every slow call of ours is interrupted again and again. */
CHECK(signals, timer_that_interrupts_every_call__pool_works)
{
    struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    handle(SIGALRM, count_signal, 0);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int round = 0; round < ROUNDS(60); round++) {
        mp_pool *pool = open_pool(2);
        cr_assert(eq(int, map_some(pool, 20000), MP_OK));
        if (round % 2) {
            mp_pool_close(pool);
            cr_assert(eq(int, mp_pool_join(pool), MP_OK));
        }
        mp_pool_free(&pool);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    cr_assert(gt(int, handled[SIGALRM], 0));
    restore_handlers();
}

/* ---- threads ---- */

static void *open_for_another(void *argument)
{
    mp_pool **pool = argument;
    if (mp_pool_open(pool, .processes = 2) != MP_OK)
        *pool = NULL;
    return NULL;
}

/* PR_SET_PDEATHSIG follows the thread that forked. */
CHECK(threads, pool_opened_by_a_thread_that_has_ended__works)
{
    pthread_t thread;
    mp_pool *pool = NULL;
    mp_pool_stats stats;
    cr_assert(zero(int, pthread_create(&thread, NULL, open_for_another, &pool)));
    pthread_join(thread, NULL);
    cr_assert(ne(ptr, pool, NULL));
    for (int round = 0; round < 5; round++)
        cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.lost));
    mp_pool_free(&pool);
}

/* ASan does not let go of its allocator's locks in a forked child: under it, one thread at a time. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *open_and_free(void *argument)
{
    mp_status *status = argument;
    for (int round = 0; round < ROUNDS(20) && !*status; round++) {
        mp_pool *pool;
        if (CHECK_ASAN)
            pthread_mutex_lock(&turn);
        *status = mp_pool_open(&pool, .processes = 2);
        if (!*status)
            *status = map_some(pool, 50);
        mp_pool_free(&pool);
        if (CHECK_ASAN)
            pthread_mutex_unlock(&turn);
    }
    return NULL;
}

CHECK(threads, four_open_and_free_pools_at_once__all_work)
{
    pthread_t threads[4];
    mp_status statuses[4] = {MP_OK, MP_OK, MP_OK, MP_OK};
    for (int i = 0; i < 4; i++)
        cr_assert(zero(int, pthread_create(&threads[i], NULL, open_and_free, &statuses[i])));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, statuses[i], MP_OK));
}

/* ---- idle ---- */

/* CPU time of the zygote, its workers, and all our threads but the one that sleeps here and reads this. */
static long long cost(pid_t zygote, const pid_t *workers, int count)
{
    long long sum = proc_cpu_ns(getpid()) + proc_cpu_ns(zygote);
    for (int i = 0; i < count; i++)
        sum += proc_cpu_ns(workers[i]);
    return sum;
}

CHECK(idle, two_seconds__cost_less_than_a_millisecond_of_cpu)
{
    pid_t pids[4];
    mp_pool *pool = open_pool(4);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, map_some(pool, 1000), MP_OK));
    cr_assert(eq(int, proc_living_children(zygote, pids, 4), 4));
    cr_assert(gt(long, (long)cost(zygote, pids, 4), 0), "the kernel does not count");
    nap_us(100000); /* what the map left to be done is done; not needed to be right: it would only cost */
    long long before = cost(zygote, pids, 4);
    nap_us(2000000);
    long long spent = cost(zygote, pids, 4) - before;
    cr_assert(lt(long, (long)spent, CHECK_TSAN ? 50000000 : 1000000), "%lld ns", spent);
    mp_pool_free(&pool);
}
