/* Rounds with seeds, far more than the other suites run: pools opened and freed, workers killed at random, pools terminated at
 * random moments of random maps; and two things that take long: a result of 5 GiB, and ten seconds of doing nothing.
 *
 * MP_STRESS_SEED: the first seed (default 1); a failure names the one it happened with. MP_STRESS_BIG=1: the 5 GiB too, for
 * which 12 GiB of memory are needed. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/proc.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include "tests/lib/until.h"
#include <millpond.h>
#include <pthread.h>

TestSuite(stress, .timeout = 600);

enum { PROMPT = 30, MOST = 20000, MAPS = 3 };

/* ---- chance ---- */

static uint64_t first_seed(void)
{
    const char *text = getenv("MP_STRESS_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

static uint64_t below(uint64_t *state, uint64_t limit)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t x = *state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % limit;
}

/* ---- the task: it may compute, sleep, give much, fail, crash ---- */

typedef struct order {
    uint32_t line; /* in the ledger: several maps share it */
    uint32_t spin, sleep_us, size;
    uint8_t fail, crash;
} order;
MP_TYPE(order, line, spin, sleep_us, size, fail, crash);

static mp_status work(const order *in, mp_bytes *out, mp_call *call)
{
    ledger_begin(in->line, mp_call_worker(call));
    volatile uint32_t x = in->line;
    for (uint32_t i = 0; i < in->spin; i++)
        x = x * 1664525u + 1013904223u;
    if (in->sleep_us)
        usleep(in->sleep_us);
    if (in->crash)
        raise(SIGKILL);
    if (in->fail)
        return mp_fail(call, MP_EUSER, "line %u", in->line);
    unsigned char *bytes = mp_call_alloc(call, in->size + 1);
    if (!bytes)
        return mp_fail(call, MP_ENOMEM, "no memory");
    memset(bytes, (int)in->line, in->size + 1);
    *out = (mp_bytes){bytes, in->size};
    ledger_end(in->line);
    return MP_OK;
}
MP_TASK(work, order, mp_bytes);

/* ---- a map in a thread of its own ---- */

typedef struct mapping {
    pthread_t thread;
    mp_pool *pool;
    size_t n;
    ptrdiff_t chunksize;
    order *items;
    mp_bytes *results;
    mp_status *statuses, status;
    mp_error *errors;
    _Atomic int returned;
} mapping;

static void *run_mapping(void *argument)
{
    mapping *m = argument;
    m->status = mp_pool_map(m->pool, work, m->items, m->n, m->results, .chunksize = m->chunksize, .statuses = m->statuses,
                            .errors = m->errors);
    m->returned = 1;
    return NULL;
}

static void begin_mapping(mapping *m, mp_pool *pool, size_t first_line, uint64_t *seed)
{
    size_t n = below(seed, 4) ? below(seed, 300) : below(seed, MOST / MAPS);
    uint32_t spin = (uint32_t)below(seed, 3000), size = below(seed, 3) ? 8 : (uint32_t)below(seed, 3000);
    bool mischief = below(seed, 2), slow = n < 300 && below(seed, 3) == 0;
    *m = (mapping){.pool = pool, .n = n, .chunksize = (ptrdiff_t)below(seed, 40)};
    m->items = calloc(n + 1, sizeof *m->items);
    m->results = calloc(n + 1, sizeof *m->results);
    m->statuses = calloc(n + 1, sizeof *m->statuses);
    m->errors = calloc(n + 1, sizeof *m->errors);
    for (size_t i = 0; i < n; i++) {
        m->items[i] = (order){.line = (uint32_t)(first_line + i), .spin = spin, .size = (uint32_t)below(seed, size + 1)};
        m->items[i].sleep_us = slow ? (uint32_t)below(seed, 2000) : 0;
        m->items[i].fail = mischief && below(seed, 50) == 0;
        m->items[i].crash = mischief && below(seed, 200) == 0;
        if (below(seed, 400) == 0 && n < 300)
            m->items[i].size = (uint32_t)below(seed, 2000000);
    }
    spoil(m->statuses, n * sizeof *m->statuses);
    cr_assert(zero(int, pthread_create(&m->thread, NULL, run_mapping, m)));
}

static void end_mapping(mapping *m)
{
    pthread_join(m->thread, NULL);
    mp_free(mp_bytes, m->results, m->n);
    free(m->items);
    free(m->results);
    free(m->statuses);
    free(m->errors);
}

/* What is true of every map, whatever was done to its pool; `allowed`: statuses of items that were not themselves at fault. How
 * many items were lost that way. */
static size_t expect_sound(const mapping *m, uint64_t seed, bool may_terminate)
{
    size_t lost = 0;
    for (size_t i = 0; i < m->n && m->status != MP_ECLOSED; i++) {
        const order *item = &m->items[i];
        const ledger_line *line = &tally->lines[item->line];
        mp_status s = m->statuses[i];
        const mp_bytes *result = &m->results[i];
        const unsigned char *bytes = result->data;
        if (line->begun > 1)
            cr_fatal("seed %lu: item %zu ran %d times", seed, i, line->begun);
        if (s == MP_OK) {
            if (line->ended != 1 || result->size != item->size)
                cr_fatal("seed %lu: item %zu is OK, ended %d times, %zu bytes of %u", seed, i, line->ended, result->size,
                         item->size);
            if (item->size && (bytes[0] != (unsigned char)item->line || memcmp(bytes, bytes + 1, item->size - 1) != 0))
                cr_fatal("seed %lu: item %zu has another's result", seed, i);
            continue;
        }
        if (s == MP_EUSER && item->fail && line->begun == 1)
            continue;
        if (s == MP_ECRASHED && item->crash && line->begun == 1)
            continue;
        lost++;
        if (s != MP_ECRASHED && !(may_terminate && s == MP_ETERMINATED))
            cr_fatal("seed %lu: item %zu has status %d: %s", seed, i, s, m->errors[i].message);
        if (m->errors[i].item != i || m->errors[i].status != s)
            cr_fatal("seed %lu: item %zu has the error of %zu", seed, i, m->errors[i].item);
    }
    return lost;
}

/* ---- kills ---- */

typedef struct killer {
    pthread_t thread;
    pid_t zygote;
    uint64_t seed;
    _Atomic int stop, kills;
} killer;

static void *kill_at_random(void *argument)
{
    killer *k = argument;
    while (!k->stop) {
        pid_t pid = tally->pids[below(&k->seed, 6)];
        if (pid > 1 && proc_signal_child(k->zygote, pid, SIGKILL))
            k->kills++;
        nap_us((long)below(&k->seed, 4000));
    }
    return NULL;
}

static void weather_a_storm(uint64_t seed)
{
    uint64_t state = seed;
    mapping m[MAPS];
    mp_pool *pool;
    mp_pool_stats stats;
    size_t lost = 0;
    int workers = 1 + (int)below(&state, 6);
    ledger_clear();
    memset((void *)tally->pids, 0, sizeof tally->pids);
    cr_assert(eq(int, mp_pool_open(&pool, .processes = workers), MP_OK), "seed %lu", seed);
    killer k = {.zygote = proc_only_child(), .seed = seed};
    cr_assert(zero(int, pthread_create(&k.thread, NULL, kill_at_random, &k)));
    for (int i = 0; i < MAPS; i++)
        begin_mapping(&m[i], pool, (size_t)i * (MOST / MAPS), &state);
    bool returned = UNTIL(PROMPT, m[0].returned && m[1].returned && m[2].returned);
    k.stop = 1;
    pthread_join(k.thread, NULL);
    cr_assert(returned, "seed %lu: a map hangs", seed);
    for (int i = 0; i < MAPS; i++)
        lost += expect_sound(&m[i], seed, false);
    cr_assert(le(sz, lost, (size_t)k.kills), "seed %lu", seed);
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.accepted, m[0].n + m[1].n + m[2].n), "seed %lu", seed);
    cr_assert(zero(u64, stats.pending), "seed %lu", seed);
    for (int i = 0; i < MAPS; i++)
        end_mapping(&m[i]);
    mp_pool_free(&pool);
}

CHECK(stress, kill_storms__cost_what_they_hit)
{
    ledger_open(MOST);
    for (uint64_t seed = first_seed(); seed < first_seed() + ROUNDS(200); seed++)
        weather_a_storm(seed);
    ledger_close();
}

/* ---- terminate ---- */

static void terminate_at_random(uint64_t seed)
{
    uint64_t state = seed;
    mapping m[MAPS];
    mp_pool *pool;
    ledger_clear();
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1 + (int)below(&state, 4)), MP_OK), "seed %lu", seed);
    for (int i = 0; i < MAPS; i++)
        begin_mapping(&m[i], pool, (size_t)i * (MOST / MAPS), &state);
    nap_us((long)below(&state, below(&state, 4) ? 2000 : 30000));
    if (below(&state, 3) == 0)
        mp_pool_close(pool);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(UNTIL(PROMPT, m[0].returned && m[1].returned && m[2].returned), "seed %lu: a map hangs", seed);
    for (int i = 0; i < MAPS; i++)
        expect_sound(&m[i], seed, true);
    if (below(&state, 2))
        cr_assert(eq(int, mp_pool_join(pool), MP_OK), "seed %lu", seed);
    for (int i = 0; i < MAPS; i++)
        end_mapping(&m[i]);
    mp_pool_free(&pool);
    cr_assert(zero(int, proc_children(getpid(), NULL, 0)), "seed %lu: a child is left", seed);
}

CHECK(stress, terminate_at_random_moments__each_item_has_a_status)
{
    ledger_open(MOST);
    for (uint64_t seed = first_seed(); seed < first_seed() + ROUNDS(500); seed++)
        terminate_at_random(seed);
    ledger_close();
}

/* ---- many pools ---- */

CHECK(stress, thousand_short_pools__leave_nothing)
{
    order item = {.line = 0, .size = 10};
    mp_bytes result;
    ledger_open(1);
    int descriptors = proc_descriptors(getpid());
    long memory = 0;
    for (int round = 0; round < ROUNDS(1000); round++) {
        mp_pool *pool;
        cr_assert(eq(int, mp_pool_open(&pool, .processes = 1 + round % 4), MP_OK), "round %d", round);
        if (round % 3) {
            cr_assert(eq(int, mp_pool_apply(pool, work, &item, &result), MP_OK));
            mp_free(mp_bytes, &result, 1);
        }
        if (round % 5 == 0) {
            mp_pool_close(pool);
            cr_assert(eq(int, mp_pool_join(pool), MP_OK));
        }
        mp_pool_free(&pool);
        cr_assert(eq(int, proc_descriptors(getpid()), descriptors), "round %d", round);
        if (round == ROUNDS(1000) / 10)
            memory = proc_resident_kib(getpid());
    }
    long grown = proc_resident_kib(getpid()) - memory;
    cr_assert(lt(long, grown, CHECK_ASAN || CHECK_TSAN ? 200 * 1024 : 2 * 1024), "%ld KiB more", grown);
    ledger_close();
}

/* ---- 5 GiB ---- */

static mp_status give_5_gib(const uint64_t *in, mp_bytes *out, mp_call *call)
{
    uint64_t *numbers = mp_call_alloc(call, *in);
    if (!numbers)
        return mp_fail(call, MP_ENOMEM, "no memory for %lu bytes", *in);
    for (uint64_t i = 0; i < *in / 8; i++)
        numbers[i] = i * 0x9e3779b97f4a7c15u;
    *out = (mp_bytes){numbers, *in};
    return MP_OK;
}
MP_TASK(give_5_gib, uint64_t, mp_bytes);

CHECK(stress, result_of_5_gib__arrives_whole)
{
    const char *big = getenv("MP_STRESS_BIG");
    if (!big || strcmp(big, "1") != 0)
        cr_skip_test("set MP_STRESS_BIG=1 to run it: it needs 12 GiB of memory");
    uint64_t size = 5ull << 30;
    mp_bytes result;
    mp_error error;
    mp_pool *pool;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
    cr_assert(eq(int, mp_pool_apply(pool, give_5_gib, &size, &result, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(u64, result.size, size));
    for (uint64_t i = 0; i < size / 8; i++)
        if (((const uint64_t *)result.data)[i] != i * 0x9e3779b97f4a7c15u)
            cr_fatal("number %lu", i);
    mp_free(mp_bytes, &result, 1);
    mp_pool_free(&pool);
}

/* ---- idle ---- */

static long long cost(pid_t zygote, const pid_t *workers, int count)
{
    long long sum = proc_cpu_ns(getpid()) + proc_cpu_ns(zygote);
    for (int i = 0; i < count; i++)
        sum += proc_cpu_ns(workers[i]);
    return sum;
}

CHECK(stress, ten_idle_seconds__cost_less_than_a_millisecond_of_cpu)
{
    pid_t workers[4];
    order items[100] = {{.size = 10}};
    mp_bytes results[100];
    mp_pool *pool;
    ledger_open(1);
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 4), MP_OK));
    pid_t zygote = proc_only_child();
    cr_assert(eq(int, mp_pool_map(pool, work, items, 100, results), MP_OK));
    cr_assert(eq(int, proc_living_children(zygote, workers, 4), 4));
    cr_assert(gt(long, (long)cost(zygote, workers, 4), 0), "the kernel does not count");
    long long before = cost(zygote, workers, 4);
    nap_us(10000000);
    long long spent = cost(zygote, workers, 4) - before;
    cr_assert(lt(long, (long)spent, CHECK_TSAN ? 100000000 : 1000000), "%lld ns", spent);
    mp_free(mp_bytes, results, 100);
    mp_pool_free(&pool);
    ledger_close();
}
