/* A task that ends its own worker costs its own item and no other: the tasks themselves count in shared memory how often each
 * item began and ended, and the statuses that a map gives must agree with that count (deeds.h). */
#include "tests/fault/deeds.h"

TestSuite(crash, .timeout = 120);

/* ---- item-exact loss ---- */

static void lose_one_item(deed how, int rounds)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[10].deed = how;
    for (int round = 0; round < rounds; round++)
        try_map(t, pool, 2);
    mp_pool_stats stats;
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(eq(u64, stats.failed, (uint64_t)rounds));
    cr_assert(eq(u64, stats.succeeded, (uint64_t)rounds * (N - 1)));
    cr_assert(eq(u64, stats.lost, (uint64_t)rounds));
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_one_item_of_a_fresh_pool(deed how, int rounds)
{
    trial *t = begin_trial();
    t->items[10].deed = how;
    for (int round = 0; round < rounds; round++) {
        mp_pool *pool = open_pool(2);
        try_map(t, pool, 2);
        mp_pool_free(&pool);
    }
    end_trial(t);
}

#define LOSE_ONE_ITEM(name, how, rounds)                                                                                   \
    CHECK(crash, item_10_of_100_by_##name##__costs_that_item)                                                              \
    {                                                                                                                      \
        lose_one_item(how, ROUNDS(rounds));                                                                                \
    }                                                                                                                      \
    CHECK(crash, item_10_of_100_of_a_fresh_pool_by_##name##__costs_that_item)                                              \
    {                                                                                                                      \
        lose_one_item_of_a_fresh_pool(how, ROUNDS((rounds) / 5));                                                          \
    }
LOSE_ONE_ITEM(sigkill, BY_SIGKILL, 60)
LOSE_ONE_ITEM(sigsegv, BY_SIGSEGV, 60)
LOSE_ONE_ITEM(abort, BY_ABORT, 60)
LOSE_ONE_ITEM(underscore_exit_3, BY_EXIT_3, 60)
LOSE_ONE_ITEM(exit_0, BY_EXIT_0, 60)
LOSE_ONE_ITEM(stack_overflow, BY_STACK, 25)
LOSE_ONE_ITEM(exec, BY_EXEC, 25)

/* ---- which items ---- */

/* Every place in turn: chunk edges, the very first, the very last. */
CHECK(crash, each_item_in_turn__costs_that_item)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < N; i += ROUNDS_SLOWER == 1 ? 1 : 19) {
        t->items[i].deed = 1 + (int)i % (BY_EXIT_0 - 1);
        try_map(t, pool, 2);
        t->items[i].deed = NONE;
    }
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, first_and_last_of_each_chunk__cost_those_items)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = i % CHUNK == 0 ? BY_SIGKILL : i % CHUNK == CHUNK - 1 ? BY_EXIT_0 : NONE;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, two_in_one_chunk__cost_those_two)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    t->items[24].deed = BY_SIGSEGV;
    t->items[31].deed = BY_EXIT_3;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, neighbours__cost_those_items)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(2);
    for (size_t i = 38; i < 43; i++)
        t->items[i].deed = BY_SIGKILL;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, 2);
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_every_item(int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = 1 + (int)i % BY_EXIT_0;
    for (int round = 0; round < ROUNDS(4); round++)
        try_map(t, pool, processes);
    memset(t->items, 0, sizeof t->items);
    try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

static void lose_some_items(int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].deed = i % 9 == 4 ? 1 + (int)i % BY_EXIT_0 : NONE;
    for (int round = 0; round < ROUNDS(20); round++)
        try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

#define LOSE_ITEMS(processes)                                                                                              \
    CHECK(crash, every_item_with_##processes##_workers__each_has_its_own_report)                                           \
    {                                                                                                                      \
        lose_every_item(processes);                                                                                        \
    }                                                                                                                      \
    CHECK(crash, some_items_with_##processes##_workers__cost_those_items)                                                  \
    {                                                                                                                      \
        lose_some_items(processes);                                                                                        \
    }
LOSE_ITEMS(1)
LOSE_ITEMS(2)
LOSE_ITEMS(7)

/* The one item of an apply. */
CHECK(crash, apply__tells_it)
{
    order item = {.deed = BY_ABORT};
    product result;
    mp_error error;
    trial *t = begin_trial();
    mp_pool *pool = open_pool(1);
    spoil(&result, sizeof result);
    cr_assert(eq(int, mp_pool_apply(pool, work, &item, &result, .error = &error), MP_ECRASHED));
    cr_assert(eq(int, error.signal, SIGABRT));
    cr_assert(zero(sz, error.item));
    cr_assert(is_zero(&result, sizeof result));
    item.deed = NONE;
    cr_assert(eq(int, mp_pool_apply(pool, work, &item, &result), MP_OK));
    mp_pool_free(&pool);
    end_trial(t);
}

/* ---- results that were still on their way ---- */

static void lose_one_behind_results(uint32_t size, int processes)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < N; i++)
        t->items[i].size = i % CHUNK < 10 ? size : 3;
    for (size_t i = 10; i < N; i += CHUNK)
        t->items[i] = (order){.deed = i % 3 ? BY_SIGKILL : BY_EXIT_0};
    for (int round = 0; round < 3; round++)
        try_map(t, pool, processes);
    mp_pool_free(&pool);
    end_trial(t);
}

CHECK(crash, behind_small_results__costs_none_of_them)
{
    lose_one_behind_results(100, 1);
    lose_one_behind_results(100, 2);
}
CHECK(crash, behind_results_that_fill_the_pipe__costs_none_of_them)
{
    lose_one_behind_results(60000, 2);
}
CHECK(crash, behind_results_of_one_mib__costs_none_of_them)
{
    lose_one_behind_results(1 << 20, 2);
}
CHECK(crash, behind_a_result_of_8_mib__costs_it_not)
{
    trial *t = begin_trial();
    mp_pool *pool = open_pool(1);
    t->items[9].size = t->items[11].size = 8 << 20;
    t->items[10].deed = BY_SIGKILL;
    for (int round = 0; round < ROUNDS(10); round++)
        try_map(t, pool, 1);
    mp_pool_free(&pool);
    end_trial(t);
}
