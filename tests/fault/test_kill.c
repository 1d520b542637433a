/* Workers killed from outside at any moment: idle, running, sending, being sent to, one by one and all at once.
 *
 * The oracle of a map under fire: every item has exactly one status; one with MP_OK began and ended once and has its result;
 * one with MP_ECRASHED began at most once (it may have been killed between being claimed and its first line), and there are
 * no more of these than kills; none began twice, whatever its status. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/mapping.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <fcntl.h>
#include <millpond.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>

TestSuite(kill, .timeout = 120);
TestSuite(zygote, .timeout = 120);

enum { PROMPT = 20, MIB = 1 << 20 };

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

static uint64_t random_below(uint64_t *state, uint64_t limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % limit;
}

/* ---- a storm ---- */

static mp_status count_run(const uint32_t *in, uint32_t *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    uint32_t x = *in;
    for (int i = 0; i < 300; i++)
        x = x * 1664525u + 1013904223u;
    *out = x;
    ledger_end(item);
    return MP_OK;
}
MP_TASK(count_run, uint32_t, uint32_t);

static uint32_t counted(uint32_t x)
{
    for (int i = 0; i < 300; i++)
        x = x * 1664525u + 1013904223u;
    return x;
}

typedef struct killer {
    pthread_t thread;
    pid_t zygote;
    _Atomic int enough; /* kills */
    _Atomic int stop;
    _Atomic int kills;
    uint64_t seed;
} killer;

/* Picks workers by what tasks wrote down, and kills only what is a living child of the zygote. */
static void *kill_at_random(void *argument)
{
    killer *k = argument;
    while (!k->stop && k->kills < k->enough) {
        pid_t pid = tally->pids[random_below(&k->seed, 8)];
        if (pid > 1 && proc_signal_child(k->zygote, pid, SIGKILL))
            k->kills++;
        nap_us((long)random_below(&k->seed, 1500));
    }
    return NULL;
}

typedef struct storm {
    size_t n;
    uint32_t *items, *results;
    mp_status *statuses, status;
    mp_error *errors, error;
    size_t failed; /* in all maps */
} storm;

static storm make_storm(size_t n)
{
    storm made = {.n = n, .items = malloc(n * sizeof(uint32_t)), .results = malloc(n * sizeof(uint32_t))};
    made.statuses = malloc(n * sizeof(mp_status));
    made.errors = malloc(n * sizeof(mp_error));
    for (size_t i = 0; i < n; i++)
        made.items[i] = (uint32_t)(i * 2654435761u);
    return made;
}

static void free_storm(storm *s)
{
    free(s->items);
    free(s->results);
    free(s->statuses);
    free(s->errors);
}

static void expect_item(storm *s, size_t i)
{
    const ledger_line *line = &tally->lines[i];
    if (s->statuses[i] == MP_OK) {
        if (line->begun != 1 || line->ended != 1 || s->results[i] != counted(s->items[i]) || s->errors[i].status)
            cr_fatal("item %zu is OK, began %d times, ended %d times, result %u", i, line->begun, line->ended,
                     s->results[i]);
        return;
    }
    s->failed++;
    cr_assert(eq(int, s->statuses[i], MP_ECRASHED), "item %zu: %s", i, s->errors[i].message);
    cr_assert(le(int, line->begun, 1), "item %zu", i);
    cr_assert(eq(int, s->errors[i].signal, SIGKILL), "item %zu: %s", i, s->errors[i].message);
    cr_assert(eq(sz, s->errors[i].item, i));
    cr_assert(zero(u32, s->results[i]));
    if (line->begun)
        cr_assert(eq(int, s->errors[i].pid, line->pid), "item %zu", i);
}

static void run_storm_map(storm *s, mp_pool *pool)
{
    size_t before = s->failed;
    ledger_clear();
    spoil(s->results, s->n * sizeof(uint32_t));
    spoil(s->statuses, s->n * sizeof(mp_status));
    s->status = mp_pool_map(pool, count_run, s->items, s->n, s->results, .statuses = s->statuses, .errors = s->errors,
                            .error = &s->error);
    for (size_t i = 0; i < s->n; i++)
        expect_item(s, i);
    cr_assert(eq(int, s->status, s->failed > before ? MP_ECRASHED : MP_OK));
}

static bool all_workers_run(mp_pool *pool, int workers)
{
    mp_pool_stats stats;
    return mp_pool_get_stats(pool, &stats) == MP_OK && stats.workers == workers;
}

CHECK(kill, five_hundred_at_random_in_a_million_items__cost_what_they_hit)
{
    enum { PER_MAP = 50000, WORKERS = 4 };
    const size_t items = ROUNDS(1000000);
    ledger_open(PER_MAP);
    storm s = make_storm(PER_MAP);
    mp_pool *pool = open_pool(WORKERS);
    run_storm_map(&s, pool);
    cr_assert(zero(sz, s.failed));
    long memory = proc_resident_kib(getpid());
    int descriptors = proc_descriptors(getpid());

    killer k = {.zygote = proc_only_child(), .enough = ROUNDS(500), .seed = 20240607};
    cr_assert(zero(int, pthread_create(&k.thread, NULL, kill_at_random, &k)));
    size_t done = 0;
    double deadline = seconds_now() + 90;
    for (; (done < items || k.kills < k.enough) && seconds_now() < deadline; done += PER_MAP)
        run_storm_map(&s, pool);
    k.stop = 1;
    pthread_join(k.thread, NULL);
    cr_assert(ge(sz, done, items));
    cr_assert(eq(int, k.kills, k.enough));

    cr_assert(UNTIL(PROMPT, all_workers_run(pool, WORKERS)), "not every worker was replaced");
    mp_pool_stats stats;
    mp_pool_get_stats(pool, &stats);
    cr_assert(gt(sz, s.failed, 0), "a storm that hits nothing shows nothing");
    cr_assert(le(sz, s.failed, (size_t)k.kills));
    cr_assert(le(u64, stats.lost, (uint64_t)k.kills));
    cr_assert(ge(u64, stats.lost, (uint64_t)s.failed));
    cr_assert(eq(u64, stats.failed, (uint64_t)s.failed));
    cr_assert(eq(u64, stats.accepted, done + PER_MAP));
    cr_assert(zero(u64, stats.pending));
    cr_assert(eq(int, proc_descriptors(getpid()), descriptors));
    long grown = proc_resident_kib(getpid()) - memory;
    cr_assert(lt(long, grown, CHECK_ASAN || CHECK_TSAN ? 400 * 1024 : 8 * 1024), "%ld KiB more", grown);

    size_t failed = s.failed;
    run_storm_map(&s, pool);
    cr_assert(eq(sz, s.failed, failed), "without kills nothing fails");
    mp_pool_free(&pool);
    free_storm(&s);
    ledger_close();
}

/* ---- idle ---- */

static void expect_pool_works(mp_pool *pool)
{
    enum { FEW = 200 };
    uint32_t items[FEW], results[FEW];
    mp_error error;
    ledger_clear();
    for (uint32_t i = 0; i < FEW; i++)
        items[i] = i;
    mp_status status = mp_pool_map(pool, count_run, items, FEW, results, .chunksize = 7, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    for (uint32_t i = 0; i < FEW; i++)
        cr_assert(eq(u32, results[i], counted(i)));
    cr_assert(eq(sz, ledger_find_other(1, 1), FEW));
}

/* So many have died, all told, and all their replacements run. A worker that has been killed may still look alive. */
static bool all_replaced(mp_pool *pool, uint64_t lost, int workers)
{
    mp_pool_stats stats;
    return mp_pool_get_stats(pool, &stats) == MP_OK && stats.lost == lost && stats.workers == workers;
}

CHECK(kill, one_idle_worker__next_map_works)
{
    pid_t workers[2];
    ledger_open(200);
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    for (uint64_t round = 1; round <= ROUNDS(50); round++) {
        cr_assert(eq(int, proc_living_children(zygote, workers, 2), 2));
        cr_assert(proc_signal_child(zygote, workers[round % 2], SIGKILL));
        expect_pool_works(pool); /* at once: it may be sent to before its death is known */
        cr_assert(UNTIL(PROMPT, all_replaced(pool, round, 2)));
    }
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(kill, every_idle_worker_at_once__next_map_works)
{
    pid_t workers[4];
    mp_pool_stats stats;
    ledger_open(200);
    mp_pool *pool = open_pool(4);
    pid_t zygote = proc_only_child();
    for (uint64_t round = 1; round <= ROUNDS(5); round++) {
        cr_assert(eq(int, proc_living_children(zygote, workers, 4), 4));
        for (int i = 0; i < 4; i++)
            cr_assert(proc_signal_child(zygote, workers[i], SIGKILL));
        expect_pool_works(pool);
        cr_assert(UNTIL(PROMPT, all_replaced(pool, 4 * round, 4)));
    }
    mp_pool_get_stats(pool, &stats);
    cr_assert(zero(u64, stats.failed));
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(kill, idle_worker_of_a_closed_pool__join_returns)
{
    pid_t workers[3];
    for (int round = 0; round < ROUNDS(30); round++) {
        mp_pool *pool = open_pool(3);
        pid_t zygote = proc_only_child();
        cr_assert(eq(int, proc_living_children(zygote, workers, 3), 3));
        proc_signal_child(zygote, workers[round % 3], SIGKILL);
        mp_pool_close(pool);
        proc_signal_child(zygote, workers[(round + 1) % 3], SIGKILL);
        cr_assert(eq(int, mp_pool_join(pool), MP_OK));
        mp_pool_free(&pool);
    }
}

/* ---- running ---- */

static mp_status wait_at_gate(const uint32_t *in, uint32_t *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    while (!tally->gate)
        usleep(200);
    *out = *in + 1;
    ledger_end(item);
    return MP_OK;
}
MP_TASK(wait_at_gate, uint32_t, uint32_t);

CHECK(kill, every_worker_in_the_middle_of_a_map__costs_what_they_ran)
{
    enum { N = 100, WORKERS = 4 };
    uint32_t items[N] = {0}, results[N];
    pid_t workers[WORKERS];
    mapping m;
    ledger_open(N);
    mp_pool *pool = open_pool(WORKERS);
    pid_t zygote = proc_only_child();
    cr_assert(mapping_begin(&m, pool, &mp__task_wait_at_gate, items, N, results, 1));
    cr_assert(UNTIL(PROMPT, tally->begun == WORKERS));
    cr_assert(eq(int, proc_living_children(zygote, workers, WORKERS), WORKERS));
    for (int i = 0; i < WORKERS; i++)
        cr_assert(proc_signal_child(zygote, workers[i], SIGKILL));
    cr_assert(UNTIL(PROMPT, tally->begun == 2 * WORKERS), "they are replaced, and the map goes on");
    tally->gate = 1;
    cr_assert(UNTIL(PROMPT, m.returned));
    cr_assert(eq(int, m.status, MP_ECRASHED));
    cr_assert(eq(sz, mapping_count(&m, MP_ECRASHED), WORKERS));
    cr_assert(eq(sz, mapping_count(&m, MP_OK), N - WORKERS));
    for (size_t i = 0; i < N; i++) {
        cr_assert(eq(int, tally->lines[i].begun, 1), "item %zu", i);
        cr_assert(eq(int, tally->lines[i].ended, m.statuses[i] == MP_OK), "item %zu", i);
    }
    mapping_wait(&m);
    mapping_free(&m);
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(kill, stopped_worker__costs_what_it_ran)
{
    uint32_t items[20] = {0}, results[20];
    mapping m;
    ledger_open(20);
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    cr_assert(mapping_begin(&m, pool, &mp__task_wait_at_gate, items, 20, results, 1));
    cr_assert(UNTIL(PROMPT, tally->begun == 2));
    pid_t worker = tally->pids[0];
    cr_assert(proc_signal_child(zygote, worker, SIGSTOP));
    cr_assert(UNTIL(PROMPT, proc_look(worker).state == 'T'));
    tally->gate = 1;
    cr_assert(proc_signal_child(zygote, worker, SIGKILL));
    cr_assert(UNTIL(PROMPT, m.returned));
    cr_assert(eq(sz, mapping_count(&m, MP_ECRASHED), 1));
    cr_assert(eq(sz, mapping_count(&m, MP_OK), 19));
    mapping_wait(&m);
    mapping_free(&m);
    mp_pool_free(&pool);
    ledger_close();
}

/* ---- sending and being sent to ---- */

static mp_status give_8_mib(const uint32_t *in, mp_bytes *out, mp_call *call)
{
    size_t item = mp_call_item(call);
    ledger_begin(item, mp_call_worker(call));
    void *bytes = mp_call_alloc(call, 8 * MIB);
    memset(bytes, (int)*in, 8 * MIB);
    *out = (mp_bytes){bytes, 8 * MIB};
    ledger_end(item);
    return MP_OK;
}
MP_TASK(give_8_mib, uint32_t, mp_bytes);

static bool whole(const mp_bytes *bytes, size_t size, int value)
{
    const unsigned char *b = bytes->data;
    return bytes->size == size && b[0] == value && b[size - 1] == value && !memcmp(b, b + 1, size - 1);
}

/* Killed at a random moment after it has computed: while it writes, mostly. The writing itself is cut at every place by
 * test_system's short writes. */
CHECK(kill, while_it_writes_8_mib__costs_that_item_at_most)
{
    enum { N = 6 };
    uint32_t items[N] = {1, 2, 3, 4, 5, 6};
    mp_bytes results[N];
    size_t lost = 0;
    uint64_t seed = 77;
    ledger_open(N);
    mp_pool *pool = open_pool(2);
    pid_t zygote = proc_only_child();
    for (int round = 0; round < ROUNDS(40); round++) {
        mapping m;
        ledger_clear();
        cr_assert(mapping_begin(&m, pool, &mp__task_give_8_mib, items, N, results, 1));
        while (!tally->ended && !m.returned)
            ;
        nap_us((long)random_below(&seed, 2500));
        for (size_t i = 0; i < N; i++)
            if (tally->lines[i].ended && proc_signal_child(zygote, tally->lines[i].pid, SIGKILL))
                break;
        cr_assert(UNTIL(PROMPT, m.returned), "round %d hangs", round);
        for (size_t i = 0; i < N; i++) {
            cr_assert(le(int, tally->lines[i].begun, 1), "round %d, item %zu", round, i);
            if (m.statuses[i] == MP_OK)
                cr_assert(whole(&results[i], 8 * MIB, (int)items[i]), "round %d, item %zu", round, i);
            else
                cr_assert(m.statuses[i] == MP_ECRASHED || m.statuses[i] == MP_ELOST, "status %d", m.statuses[i]);
        }
        size_t failed = N - mapping_count(&m, MP_OK);
        cr_assert(le(sz, failed, 1), "round %d: one kill, one item", round);
        lost += failed;
        mp_free(mp_bytes, results, N);
        mapping_wait(&m);
        mapping_free(&m);
        cr_assert(UNTIL(PROMPT, all_workers_run(pool, 2)));
    }
    cr_assert(gt(sz, lost, 0), "no kill has hit a worker that was writing");
    mp_pool_free(&pool);
    ledger_close();
}

static mp_status take_bytes(const mp_bytes *in, uint64_t *out, mp_call *call)
{
    ledger_begin(mp_call_item(call), mp_call_worker(call));
    *out = in->size + *(const unsigned char *)in->data;
    ledger_end(mp_call_item(call));
    return MP_OK;
}
MP_TASK(take_bytes, mp_bytes, uint64_t);

/* Bytes that wait in one of the pipes of a process. */
static int waiting_bytes(pid_t pid)
{
    char path[320];
    int most = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        int bytes = 0;
        if (atoi(entry->d_name) <= 2)
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);
        int copy = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (copy >= 0 && ioctl(copy, FIONREAD, &bytes) == 0 && bytes > most)
            most = bytes;
        close(copy);
    }
    closedir(dir);
    return most;
}

/* It is stopped first, so that what it is sent fills its pipe and the parent is in the middle of an item. */
static void kill_while_sent_to(int workers, size_t n)
{
    unsigned char *bytes = malloc(8 * MIB);
    mp_bytes *items = calloc(n, sizeof *items);
    uint64_t *results = calloc(n, sizeof *results);
    pid_t pids[8];
    mapping m;
    ledger_open(n);
    memset(bytes, 3, 8 * MIB);
    for (size_t i = 0; i < n; i++)
        items[i] = (mp_bytes){bytes, 8 * MIB - i};
    mp_pool *pool = open_pool(workers);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, proc_living_children(zygote, pids, 8), workers));
    pid_t victim = pids[0];
    cr_assert(proc_signal_child(zygote, victim, SIGSTOP));
    cr_assert(UNTIL(PROMPT, proc_look(victim).state == 'T'));
    cr_assert(mapping_begin(&m, pool, &mp__task_take_bytes, items, n, results, 1));
    cr_assert(UNTIL(PROMPT, waiting_bytes(victim) >= 32 * 1024), "nothing is sent to it");
    cr_assert(proc_signal_child(zygote, victim, SIGKILL));
    cr_assert(UNTIL(PROMPT, m.returned), "the map hangs");
    cr_assert(eq(int, m.status, MP_OK), "it had begun no item: none is lost: %s", m.error.message);
    for (size_t i = 0; i < n; i++)
        cr_assert(eq(u64, results[i], 8 * MIB - i + 3));
    cr_assert(eq(sz, ledger_find_other(1, 1), n));
    mapping_wait(&m);
    mapping_free(&m);
    mp_pool_free(&pool);
    free(items);
    free(results);
    free(bytes);
    ledger_close();
}

CHECK(kill, the_only_worker_while_it_is_sent_8_mib__costs_nothing)
{
    kill_while_sent_to(1, 3);
}
CHECK(kill, one_of_three_while_it_is_sent_8_mib__costs_nothing)
{
    kill_while_sent_to(3, 12);
}

/* Between the death of a worker and its replacement, a pool may be closed, terminated, freed. */
CHECK(kill, then_terminate_at_once__ends)
{
    pid_t workers[3];
    for (int round = 0; round < ROUNDS(60); round++) {
        mp_pool *pool = open_pool(3);
        pid_t zygote = proc_only_child();
        cr_assert(eq(int, proc_living_children(zygote, workers, 3), 3));
        for (int i = 0; i <= round % 3; i++)
            proc_signal_child(zygote, workers[i], SIGKILL);
        if (round % 2)
            mp_pool_terminate(pool);
        mp_pool_free(&pool);
    }
}

/* ---- the zygote ---- */

CHECK(zygote, killed_while_idle__next_map_says_so)
{
    uint32_t item = 1, result = 1;
    mp_error error;
    ledger_open(1);
    mp_pool *pool = open_pool(2);
    cr_assert(proc_signal_child(getpid(), proc_only_child(), SIGKILL));
    mp_status status = mp_pool_map(pool, count_run, &item, 1, &result, .error = &error);
    cr_assert(status == MP_EBROKEN || status == MP_ECRASHED || status == MP_OK, "status %d: %s", status, error.message);
    cr_assert(UNTIL(PROMPT, mp_pool_map(pool, count_run, &item, 1, &result) == MP_EBROKEN));
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "its workers died with it");
    ledger_close();
}

CHECK(zygote, killed_in_the_middle_of_a_map__every_item_has_a_status_and_none_hangs)
{
    enum { N = 200 };
    uint32_t items[N] = {0}, results[N];
    pid_t workers[3];
    mapping m;
    ledger_open(N);
    mp_pool *pool = open_pool(3);
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, proc_living_children(zygote, workers, 3), 3));
    cr_assert(mapping_begin(&m, pool, &mp__task_wait_at_gate, items, N, results, 1));
    cr_assert(UNTIL(PROMPT, tally->begun == 3));
    cr_assert(proc_signal_child(getpid(), zygote, SIGKILL));
    cr_assert(UNTIL(PROMPT, m.returned), "the map hangs");
    for (int i = 0; i < 3; i++)
        cr_assert(UNTIL(PROMPT, !proc_lives(workers[i])), "a worker outlives the zygote");
    cr_assert(eq(sz, mapping_count(&m, MP_ECRASHED), 3));
    cr_assert(eq(sz, mapping_count(&m, MP_EBROKEN), N - 3));
    for (size_t i = 0; i < N; i++) {
        cr_assert(eq(int, tally->lines[i].begun, m.statuses[i] == MP_ECRASHED), "item %zu", i);
        cr_assert(eq(sz, m.errors[i].item, i));
        cr_assert(zero(u32, results[i]));
    }
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(int, stats.workers));
    cr_assert(zero(u64, stats.pending));
    mapping_wait(&m);
    mapping_free(&m);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
    ledger_close();
}

/* What workers had finished is not lost with the zygote. */
CHECK(zygote, killed_in_the_middle_of_quick_items__each_is_ok_crashed_or_broken)
{
    enum { N = 100000 };
    for (int round = 0; round < ROUNDS(10); round++) {
        mapping m;
        ledger_open(N);
        storm s = make_storm(N);
        mp_pool *pool = open_pool(3);
        cr_assert(mapping_begin(&m, pool, &mp__task_count_run, s.items, N, s.results, 0));
        cr_assert(UNTIL(PROMPT, tally->ended > 100 * (round + 1) || m.returned));
        proc_signal_child(getpid(), proc_only_child(), SIGKILL);
        cr_assert(UNTIL(PROMPT, m.returned), "the map hangs");
        mapping_wait(&m);
        int ended = tally->ended;
        cr_assert(le(sz, mapping_count(&m, MP_ECRASHED), 3));
        for (size_t i = 0; i < N; i++) {
            const ledger_line *line = &tally->lines[i];
            if (m.statuses[i] == MP_OK && (line->ended != 1 || line->begun != 1 || s.results[i] != counted(s.items[i])))
                cr_fatal("item %zu is OK, began %d times, ended %d times", i, line->begun, line->ended);
            if (m.statuses[i] == MP_EBROKEN && line->begun)
                cr_fatal("item %zu ran, but is told not to have been run: %s", i, m.errors[i].message);
            if (m.statuses[i] != MP_OK && m.statuses[i] != MP_EBROKEN && m.statuses[i] != MP_ECRASHED)
                cr_fatal("item %zu has status %d: %s", i, m.statuses[i], m.errors[i].message);
        }
        cr_assert(ge(sz, mapping_count(&m, MP_OK) + 3, (size_t)ended), "what was finished is kept");
        mapping_free(&m);
        mp_pool_free(&pool);
        cr_assert(ge(int, leftovers_reap(PROMPT), 0));
        free_storm(&s);
        ledger_close();
    }
}

CHECK(zygote, killed_while_the_pool_ends__join_returns)
{
    for (int round = 0; round < ROUNDS(40); round++) {
        mp_pool *pool = open_pool(2);
        pid_t zygote = proc_only_child();
        if (round % 2)
            mp_pool_close(pool);
        else
            mp_pool_terminate(pool);
        proc_signal_child(getpid(), zygote, SIGKILL);
        cr_assert(eq(int, mp_pool_join(pool), MP_OK));
        mp_pool_free(&pool);
        cr_assert(ge(int, leftovers_reap(PROMPT), 0));
    }
}

CHECK(zygote, terminated_by_sigterm__is_told)
{
    uint32_t item = 1, result = 1;
    mp_error error;
    ledger_open(1);
    mp_pool *pool = open_pool(1);
    cr_assert(proc_signal_child(getpid(), proc_only_child(), SIGTERM));
    mp_status status = mp_pool_map(pool, count_run, &item, 1, &result, .error = &error);
    /* it may well not listen to SIGTERM; then all goes on */
    cr_assert(status == MP_OK || status == MP_EBROKEN || status == MP_ECRASHED);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
    ledger_close();
}
