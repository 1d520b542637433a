/* Tasks that run wild among what is the worker's own: its shared memory, its pipes, its process. Whatever they do, the map ends,
 * every item has one status, none runs twice, and the pool works on. What a task destroys of its own worker's results is lost
 * and said to be. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <millpond.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

TestSuite(wild, .timeout = 120);

enum { ITEMS = 40, BAD = 10, WILD_ROUNDS = 20 };

typedef enum deed {
    TAME,
    SCRIBBLE_RESULTS,
    JOIN_FRAMES,
    COUNT_UP,
    COUNT_ANEW, /* and goes on for so long that what is behind it is taken back */
    NEW_EPOCH,
    LAST_EPOCH, /* the one before the first */
    READ_TASKS,
    FORGE_A_RESULT,
    RAISE_COMMITTED, /* to where old results lie, and is looked at */
    LOWER_COMMITTED,
    RAISE_BASE,
    LOWER_BASE,
    USE_AN_OLD_FILE,
    RETURN_TWICE,
    OPEN_A_POOL
} deed;

static FILE *old_file; /* opened before the pool */

static mp_status twice(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = 2 * *in;
    return MP_OK;
}
MP_TASK(twice, int, int);

/* The worker's shared page and, behind it, its buffer: where a wild pointer may lead. */
static unsigned char *shared_page(void)
{
    char line[512];
    unsigned long begin = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:millpond"))
            begin = strtoul(line, NULL, 16);
    if (maps)
        fclose(maps);
    return (unsigned char *)begin;
}

/* The worker's pipes are its last two descriptors: tasks, results. */
static int last_descriptor(int before)
{
    for (int fd = 1023; fd > 2; fd--)
        if (fcntl(fd, F_GETFD) >= 0 && !before--)
            return fd;
    return -1;
}

static int open_inner(void)
{
    int in[3] = {1, 2, 3}, out[3] = {0};
    MP_WITH_POOL (inner, .processes = 2)
        mp_pool_map(inner, twice, in, 3, out);
    return out[0] + out[1] + out[2];
}

/* Where the buffer begins in the stream, and how far it is whole: the second and third word. The item goes on for so long that the
 * worker is looked at. */
static void change_word(unsigned char *page, int index, int64_t by)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)page + index;
    *word += (uint64_t)by;
    nap_us(3000);
}

static void do_deed(deed what)
{
    unsigned char *page = shared_page(), bytes[4096];
    if (what == SCRIBBLE_RESULTS)
        memset(page + 4096, 0x37, 4096);
    if (what == JOIN_FRAMES) /* the first one's size now takes in the second */
        page[4096] = (unsigned char)(page[4096] + 0x40);
    if (what == COUNT_UP)
        page[0]++;
    if (what == COUNT_ANEW) {
        page[0] = 0;
        nap_us(3000);
    }
    if (what == NEW_EPOCH)
        page[6]++;
    if (what == LAST_EPOCH)
        memset(page + 6, 0xff, 2);
    if (what == READ_TASKS) {
        fcntl(last_descriptor(1), F_SETFL, O_NONBLOCK);
        tally->word[0] = (int)read(last_descriptor(1), bytes, 7);
    }
    if (what == FORGE_A_RESULT)
        tally->word[0] = (int)write(last_descriptor(0), "\x17\x00\x00\x00\x05", 5);
    if (what == RAISE_COMMITTED || what == LOWER_COMMITTED)
        change_word(page, 2, what == RAISE_COMMITTED ? 40 : -40);
    if (what == RAISE_BASE || what == LOWER_BASE)
        change_word(page, 1, what == RAISE_BASE ? 10 : -10);
    if (what == USE_AN_OLD_FILE) {
        fprintf(old_file, "a line for a file that is closed here\n");
        tally->word[0] = fflush(old_file);
    }
    if (what == RETURN_TWICE)
        fork();
    if (what == OPEN_A_POOL)
        tally->word[0] = open_inner();
}

static mp_status wild(const int *how, int *out, mp_call *call)
{
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    do_deed((deed)*how);
    *out = (int)mp_call_item(call);
    ledger_end(mp_call_item(call));
    return MP_OK;
}
MP_TASK(wild, int, int);

typedef struct outcome {
    mp_status statuses[ITEMS];
    int failed;
} outcome;

/* One map with one wild item, which must end; then a tame one, which must succeed. */
static outcome map_with(mp_pool *pool, deed what)
{
    outcome o = {.failed = 0};
    int items[ITEMS] = {0}, out[ITEMS];
    items[BAD] = (int)what;
    ledger_clear();
    mp_pool_map(pool, wild, items, ITEMS, out, .chunksize = 20, .statuses = o.statuses);
    for (int i = 0; i < ITEMS; i++) {
        o.failed += o.statuses[i] != MP_OK;
        cr_assert(le(int, tally->lines[i].begun, i == BAD && what == RETURN_TWICE ? 2 : 1), "item %d ran twice", i);
        if (o.statuses[i] == MP_OK && i != BAD)
            cr_assert(eq(int, tally->lines[i].ended, 1), "item %d is said to have ended", i);
        if (o.statuses[i] != MP_OK) /* or was begun by nobody: a count that was wrong says that it was */
            cr_assert(tally->lines[i].pid == 0 || tally->lines[i].pid == tally->lines[BAD].pid, "item %d ran elsewhere", i);
    }
    int in[ITEMS] = {0};
    cr_assert(eq(int, mp_pool_map(pool, twice, in, ITEMS, out), MP_OK), "the pool works on");
    return o;
}

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

/* Rounds, since what the worker has just then in its buffer differs. */
static void wild_rounds(deed what, int workers, int most_lost)
{
    ledger_open(ITEMS);
    mp_pool *pool = open_pool(workers);
    for (int round = 0; round < ROUNDS(WILD_ROUNDS); round++) {
        outcome o = map_with(pool, what);
        cr_assert(le(int, o.failed, most_lost), "round %d", round);
    }
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(wild, scribbles_over_its_results__only_its_worker_suffers)
{
    wild_rounds(SCRIBBLE_RESULTS, 1, ITEMS);
    wild_rounds(SCRIBBLE_RESULTS, 2, ITEMS);
}

CHECK(wild, makes_two_results_one__only_its_worker_suffers)
{
    wild_rounds(JOIN_FRAMES, 1, ITEMS);
    wild_rounds(JOIN_FRAMES, 2, ITEMS);
}

CHECK(wild, counts_an_item_up__costs_at_most_that_one)
{
    wild_rounds(COUNT_UP, 1, 2);
    wild_rounds(COUNT_UP, 2, 2);
}

CHECK(wild, counts_anew__costs_at_most_that_one)
{
    wild_rounds(COUNT_ANEW, 1, 2);
    wild_rounds(COUNT_ANEW, 2, 2);
}

CHECK(wild, writes_over_the_epoch__costs_nothing)
{
    ledger_open(ITEMS);
    mp_pool *pool = open_pool(1);
    cr_assert(zero(int, map_with(pool, NEW_EPOCH).failed));
    mp_pool_free(&pool);
    ledger_close();
}

/* It looks as if the parent were about to say the next one: that would never come. */
CHECK(wild, writes_the_last_epoch_over_the_first__costs_nothing, .timeout = 40)
{
    ledger_open(ITEMS);
    mp_pool *pool = open_pool(1);
    cr_assert(zero(int, map_with(pool, LAST_EPOCH).failed));
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(wild, reads_from_its_tasks__costs_nothing_that_had_not_begun)
{
    wild_rounds(READ_TASKS, 1, 1);
    wild_rounds(READ_TASKS, 2, 1);
}

CHECK(wild, forges_a_result__only_its_worker_suffers)
{
    wild_rounds(FORGE_A_RESULT, 1, ITEMS);
    wild_rounds(FORGE_A_RESULT, 2, ITEMS);
}

CHECK(wild, says_that_it_has_finished_more_or_less__only_its_worker_suffers)
{
    for (int workers = 1; workers <= 2; workers++) {
        wild_rounds(RAISE_COMMITTED, workers, ITEMS);
        wild_rounds(LOWER_COMMITTED, workers, ITEMS);
    }
}

CHECK(wild, says_that_its_results_begin_elsewhere__only_its_worker_suffers)
{
    for (int workers = 1; workers <= 2; workers++) {
        wild_rounds(RAISE_BASE, workers, ITEMS);
        wild_rounds(LOWER_BASE, workers, ITEMS);
    }
}

CHECK(wild, lets_a_forked_child_come_back__it_leaves)
{
    wild_rounds(RETURN_TWICE, 2, 0);
    leftovers_reap(20);
}

CHECK(wild, file_of_before_the_pool__fails_to_write_and_hurts_no_result)
{
    ledger_open(ITEMS);
    FILE *others[8];
    for (int i = 0; i < 8; i++) /* among the first numbers, where the worker's own might be */
        others[i] = fopen("/dev/null", "we");
    for (int i = 0; i < 8; i++) {
        old_file = others[i];
        mp_pool *pool = open_pool(1);
        cr_assert(zero(int, map_with(pool, USE_AN_OLD_FILE).failed));
        cr_assert(eq(int, tally->word[0], EOF));
        mp_pool_free(&pool);
    }
    for (int i = 0; i < 8; i++)
        fclose(others[i]);
    ledger_close();
}

CHECK(nested, pool_in_a_task__works)
{
    ledger_open(ITEMS);
    mp_pool *pool = open_pool(2);
    for (int round = 0; round < ROUNDS(WILD_ROUNDS); round++) {
        cr_assert(zero(int, map_with(pool, OPEN_A_POOL).failed));
        cr_assert(eq(int, tally->word[0], 12));
    }
    mp_pool_free(&pool);
    ledger_close();
}
TestSuite(nested, .timeout = 60);

/* ---- the program's own doings around a pool ---- */

TestSuite(around, .timeout = 60);

static mp_status die(const int *how, int *out, mp_call *call)
{
    (void)how, (void)out, (void)call;
    _exit(3);
}
MP_TASK(die, int, int);

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/* The child keeps copies of the ends of the dead workers' pipes. What epoll went on saying about those would keep the I/O
 * thread busy for as long as the child lives: CPU time, not wall time, is what is looked at. */
CHECK(around, forked_child_holds_pipes_of_workers_that_die__nobody_spins)
{
    int items[8] = {0}, out[8];
    mp_status statuses[8];
    mp_pool *pool = open_pool(2);
    pid_t child = fork();
    if (!child)
        for (;;)
            pause();
    mp_pool_map(pool, die, items, 8, out, .chunksize = 1, .statuses = statuses);
    for (int i = 0; i < 8; i++)
        cr_assert(eq(int, statuses[i], MP_ECRASHED));
    double before = cpu_seconds();
    nap_us(500000);
    cr_assert(lt(dbl, cpu_seconds() - before, 0.1), "half a second of nothing");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    mp_pool_free(&pool);
}

static void *close_while_cancelled(void *pool)
{
    pthread_cancel(pthread_self());
    mp_pool_close(pool);
    mp_pool_terminate(pool);
    return NULL;
}

CHECK(around, cancelled_thread_in_a_call__leaves_the_pool_whole)
{
    mp_pool *pool = open_pool(2);
    pthread_t thread;
    mp_pool_stats stats;
    cr_assert(zero(int, pthread_create(&thread, NULL, close_while_cancelled, pool)));
    pthread_join(thread, NULL);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK), "the lock is free");
    cr_assert(eq(int, mp_pool_join(pool), MP_OK));
    mp_pool_free(&pool);
}

/* ---- while the caller is awake for the result ---- */

typedef enum lie { ALL_IS_THERE, A_LITTLE_IS_THERE, IT_BEGAN_BEFORE, NOTHING_WILL_STAY, LIES } lie;

/* Says that there is more of its results than there is, in one way or another, and never comes to its end. */
_Noreturn static mp_status tell_a_lie(const int *what, int *out, mp_call *call)
{
    (void)call;
    (void)out;
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)shared_page(), *begin = words + 1, *committed = words + 2;
    if (*what == ALL_IS_THERE)
        *committed = UINT64_MAX;
    if (*what == A_LITTLE_IS_THERE)
        *committed += 1;
    if (*what == IT_BEGAN_BEFORE)
        *begin = 0;
    if (*what == IT_BEGAN_BEFORE || *what == NOTHING_WILL_STAY)
        *committed += 1 << 20;
    for (uint64_t first = *begin;; *begin = first)
        if (*what == NOTHING_WILL_STAY)
            *begin = first - 1;
}
MP_TASK(tell_a_lie, int, int);

/* Who waits awake for a result that is said to be there, and is not, sees its worker ended when its time is up, and holds nobody up. */
CHECK(wild, result_that_is_told_and_is_not_there__ends_with_its_item, .timeout = 40)
{
    const double spins[] = {0, 0.01};
    for (size_t k = 0; k < 2 * LIES; k++) {
        int what = (int)k / 2, in = 21, out = -7;
        mp_pool *pool = NULL;
        cr_assert_eq(mp_pool_open(&pool, .processes = 1, .spin = spins[k % 2], .grace = 0.05), MP_OK);
        for (int i = 0; i < 10; i++)
            cr_assert_eq(mp_pool_apply(pool, twice, &in, &out), MP_OK);
        cr_assert_neq(mp_pool_apply(pool, tell_a_lie, &what, &out, .timeout = 0.2), MP_OK);
        cr_assert_eq(out, 0);
        cr_assert_eq(mp_pool_apply(pool, twice, &in, &out), MP_OK);
        cr_assert_eq(out, 42);
        mp_pool_free(&pool);
    }
}
