/* Ten thousand handles at a time, made, cancelled, waited for and freed in an order of chance, on every kind of pool. The oracle:
 * of each call exactly one callback has run, once; and its item has run once, or it was cancelled or terminated and has not.
 *
 * MP_STRESS_SEED: the first seed (default 1); a failure names the one it happened with. */
#include "tests/lib/kinds.h"
#include <string.h>

TestSuite(handles, .timeout = 600);

enum { MOST = 10000 };

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

typedef struct record {
    mp_async *async;
    _Atomic int good, bad, status, value;
} record;

static record records[MOST];

static void tell_good(const int *value, void *user)
{
    record *me = user;
    me->value = *value;
    me->good++;
}

static void tell_bad(const mp_error *error, void *user)
{
    record *me = user;
    me->status = (int)error->status;
    me->bad++;
}

/* The index is the input, and where the item is counted: mp_call_item is 0 for each. */
static mp_status count_input(const int *in, int *out, mp_call *call)
{
    (void)call;
    the_board()->times[*in]++;
    *out = *in + 1;
    return *in % 10 == 7 ? mp_fail(call, MP_EUSER, "a seven") : MP_OK;
}
MP_TASK(count_input, int, int);

static void touch(uint64_t *chance, record *one)
{
    int value;
    switch (below(chance, 6)) {
    case 0: mp_async_free(&one->async); break;
    case 1: (void)mp_async_cancel(one->async); break;
    case 2: (void)mp_async_wait(one->async, 0); break;
    case 3: (void)mp_async_get(one->async, &value, 0.0001); break;
    case 4: (void)mp_async_ready(one->async); break;
    default: break;
    }
}

static void expect_one_end(uint64_t seed, int i)
{
    record *one = &records[i];
    int ran = the_board()->times[i];
    bool dropped = one->bad && (one->status == MP_ECANCELLED || one->status == MP_ETERMINATED);
    cr_assert(eq(int, one->good + one->bad, 1), "seed %lu call %d: %d %d", seed, i, one->good, one->bad);
    cr_assert(one->status == MP_ETERMINATED ? ran <= 1 : ran == !dropped, "seed %lu call %d: status %d, ran %d times", seed,
              i, one->status, ran);
    cr_assert(one->bad || one->value == i + 1);
}

static void play(uint64_t seed, int n, bool terminate)
{
    uint64_t chance = seed;
    mp_pool *pool = OPEN_POOL(.processes = 1 + below(&chance, 4));
    memset(records, 0, sizeof records);
    board_clear((size_t)n);
    for (int i = 0; i < n; i++) {
        records[i].async = mp_pool_apply_async(pool, count_input, &i, .callback = tell_good, .error_callback = tell_bad,
                                               .user = &records[i]);
        touch(&chance, &records[below(&chance, i + 1)]);
    }
    for (int i = 0; i < n / 2; i++)
        touch(&chance, &records[below(&chance, n)]);
    if (terminate) {
        mp_pool_free(&pool);
    } else {
        close_join_free(&pool);
    }
    for (int i = 0; i < n; i++)
        expect_one_end(seed, i);
    for (int i = n; i-- > 0;)
        mp_async_free(&records[i].async);
}

EACH_KIND(handles, ten_thousand_in_any_order__each_ends_once)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + ROUNDS(20); seed++)
        play(seed, MOST, false);
}

EACH_KIND(handles, in_a_pool_that_is_freed__each_ends_once)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + ROUNDS(20); seed++)
        play(seed, MOST / 4, true);
}

/* All of them exist at once, complete, with a result that they own. */
EACH_KIND(handles, ten_thousand_complete_ones__hold_their_results)
{
    static mp_async *all[MOST];
    int n = ROUNDS(MOST), wrong = 0;
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int i = 0; i < n; i++)
        all[i] = mp_pool_apply_async(pool, tell_text, (&(int){i % 500}));
    close_join_free(&pool);
    for (int k = 0; k < n; k++) {
        int i = (int)((k * 7919L) % n);
        mp_str text;
        if (!all[i])
            continue;
        wrong += mp_async_get(all[i], &text, 0) != MP_OK || !is_text(&text, (size_t)i % 500);
        mp_free(mp_str, &text, 1);
        mp_async_free(&all[i]);
    }
    for (int i = 0; i < n; i++)
        mp_async_free(&all[i]);
    cr_assert(zero(int, wrong));
}
