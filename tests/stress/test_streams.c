/* Streams for a long time, and left at any moment, on every kind of pool: memory stays where it was, large results do not pile up
 * before a reader that stops, and each item is told once.
 *
 * MP_STRESS_SEED: the first seed (default 1); a failure names the one it happened with. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <string.h>

TestSuite(streams, .timeout = 600);

enum { SECONDS = 15, LARGE = 100000, MOST_KIB = 64 << 10 };

static uint64_t first_seed(void)
{
    const char *text = getenv("MP_STRESS_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

static int below(uint64_t *state, int limit)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (int)((x ^ (x >> 31)) % (uint64_t)limit);
}

typedef struct source {
    int next, end; /* end 0: never */
    _Atomic int released;
} source;

static bool ask(int *item, void *user)
{
    source *me = user;
    if (me->end && me->next == me->end)
        return false;
    *item = me->next++ & 0xfffff;
    return true;
}

static bool ask_large(int *item, void *user)
{
    ((source *)user)->next++;
    *item = LARGE;
    return true;
}

static void let_go(void *user)
{
    ((source *)user)->released++;
}

EACH_KIND(streams, endless_for_a_quarter_of_a_minute__take_no_more_memory)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    double begun = seconds_now();
    long early = 0;
    int result = 0, count = 0;
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from);
    while (seconds_now() - begun < SECONDS) {
        for (int i = 0; i < 1000; i++, count++) {
            cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
            cr_assert(eq(int, result, (count & 0xfffff) + 1));
        }
        if (!early && seconds_now() - begun > 1)
            early = proc_resident_kib(getpid());
    }
    long late = proc_resident_kib(getpid());
    cr_assert(lt(long, late - early, 4096L * ROUNDS_SLOWER), "%d items: %ld KiB, then %ld KiB", count, early, late);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* The workers' own memory counts too. */
static long resident_of_all(void)
{
    pid_t children[1] = {0}, workers[8];
    long sum = proc_resident_kib(getpid());
    if (proc_children(getpid(), children, 1) == 1)
        for (int i = proc_children(children[0], workers, 8); i-- > 0;)
            sum += i < 8 ? proc_resident_kib(workers[i]) : 0;
    return sum;
}

EACH_KIND(streams, large_results_and_a_reader_that_stops__stay_small)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    mp_str text;
    long before = resident_of_all(), most = 0;
    mp_iter *iter = mp_pool_imap_from(pool, tell_text, ask_large, &from);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < ROUNDS(2000); i++) {
            cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_OK));
            cr_assert(eq(sz, text.size, LARGE));
            mp_free(mp_str, &text, 1);
        }
        for (int look = 0; look < 25; look++) {
            long now = resident_of_all() - before;
            most = now > most ? now : most;
            nap_us(20000);
        }
    }
    cr_assert(lt(long, most, (long)MOST_KIB *(ROUNDS_SLOWER > 1 ? 4 : 1)), "%ld KiB more", most);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* One stream of chance, read for a while, then left, or its pool closed, terminated or freed. */
static void play(uint64_t seed)
{
    uint64_t chance = seed;
    mp_pool *pool = OPEN_POOL(.processes = 1 + below(&chance, 3));
    source from = {.end = below(&chance, 400)};
    int end = from.end, read = below(&chance, 500), buffer = below(&chance, 40), chunk = below(&chance, 9), result;
    bool ordered = below(&chance, 2);
    if (!end)
        read = below(&chance, 100);
    mp_iter *iter = ordered ? mp_pool_imap_from(pool, count_one, ask, &from, .chunksize = chunk, .buffersize = buffer,
                                                .release = let_go)
                            : mp_pool_imap_unordered_from(pool, count_one, ask, &from, .chunksize = chunk,
                                                          .buffersize = buffer, .release = let_go);
    static uint8_t seen[500];
    memset(seen, 0, sizeof seen);
    mp_status status = MP_OK;
    for (int i = 0; i < read && status != MP_END; i++) {
        size_t index = 0;
        status = mp_iter_next(iter, &result, PROMPT, .index = &index);
        cr_assert(status == MP_OK || status == MP_END, "seed %lu item %d: status %d", seed, i, status);
        if (status == MP_OK && (int)index < end)
            cr_assert(eq(int, ++seen[index], 1), "seed %lu", seed);
        cr_assert(status != MP_END || i == end, "seed %lu: it ended after %d of %d", seed, i, end);
    }
    switch (below(&chance, 4)) {
    case 0: mp_pool_terminate(pool); break;
    case 1: mp_pool_close(pool); break;
    case 2: mp_pool_free(&pool); break;
    default: break;
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
    cr_assert(SOON(from.released == 1), "seed %lu: released %d times", seed, from.released);
}

EACH_KIND(streams, of_chance__are_right_and_leave_nothing)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + (uint64_t)few_lives(1000); seed++)
        play(seed);
}
