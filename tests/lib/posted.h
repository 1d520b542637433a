/* Calls that are posted one by one, on every kind; what each handle must say when it is complete; and workers that are all busy until
 * the test lets them go. */
#ifndef TESTS_LIB_POSTED_H
#define TESTS_LIB_POSTED_H
#include "tests/lib/futures.h"

enum { WORKERS = 2 };

#define POST(pool, task, number) mp_pool_apply_async(pool, task, (&(int){number}))

#define EXPECT_GOT(async, value)                                                                                           \
    do {                                                                                                                   \
        int expect_got = -77;                                                                                              \
        mp_status expect_status = mp_async_get(async, &expect_got, PROMPT);                                                \
        cr_assert(eq(int, expect_status, MP_OK), "%s", mp_async_error(async)->message);                                    \
        cr_assert(eq(int, expect_got, value));                                                                             \
    } while (0)

/* The handle is complete, so; asked in every way. */
static inline void expect_ended(mp_async *async, mp_status wanted)
{
    int got = -77;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK), "it waits for ever");
    cr_assert(mp_async_ready(async));
    cr_assert(eq(int, mp_async_get(async, &got, 0), wanted), "%s", mp_async_error(async)->message);
    cr_assert(eq(int, mp_async_error(async)->status, wanted));
    if (wanted != MP_EOVERTIME) /* which is what who waits is told */
        cr_assert(eq(int, mp_async_statuses(async)[0], wanted));
    cr_assert(eq(int, mp_async_successful(async), wanted == MP_OK));
    if (wanted)
        cr_assert(zero(int, got));
}

static inline void free_handles(mp_async **handles, int n)
{
    for (int i = 0; i < n; i++)
        mp_async_free(&handles[i]);
}

static inline void expect_books(mp_pool *pool, uint64_t pending)
{
    mp_pool_stats stats = stats_of(pool);
    cr_assert(eq(u64, stats.accepted, stats.succeeded + stats.failed + stats.pending));
    cr_assert(eq(u64, stats.pending, pending));
}

/* All workers run something that is not known to end. */
static inline void hold_all(mp_pool *pool, mp_async *held[WORKERS])
{
    int before = the_board()->begun;
    for (int i = 0; i < WORKERS; i++)
        held[i] = POST(pool, latch, BOARD_ITEMS - WORKERS + i);
    cr_assert(SOON(the_board()->begun == before + WORKERS));
}

static inline void let_all_go(mp_async *held[WORKERS])
{
    LET_ALL_GO();
    for (int i = 0; i < WORKERS; i++)
        EXPECT_GOT(held[i], BOARD_ITEMS - WORKERS + i + 1);
    free_handles(held, WORKERS);
}

#endif
