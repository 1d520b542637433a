/* One value for which there is no memory, at the root or at an agent, costs its item, and nobody else anything. */
#include "serial/memory.h"
#include "tests/lib/cluster.h"
#include "tests/lib/says.h"

TestSuite(cluster_memory, .timeout = 120);

enum { ITEMS = 40, BIG = 7, BLOCK = 20, MUCH = 4 << 20, TOO_MUCH = 8 << 20, SOME = 300000 };

static void *little_by_malloc(size_t size)
{
    return size < MUCH ? malloc(size) : NULL;
}

static void *little_by_realloc(void *old, size_t size)
{
    return size < MUCH ? realloc(old, size) : NULL;
}

/* Once, for a piece of what an item is sent in: other buffers of an agent are larger, or smaller. */
static void *none_for_a_piece(void *old, size_t size)
{
    static bool done;
    if (done || size < MP__WIRE_MAX || size > 2 * MP__WIRE_MAX)
        return realloc(old, size);
    done = true;
    return NULL;
}

/* An agent that has this in its environment is short of memory: of blocks for frames, or of buffers that grow. Its workers, which it
 * executes, are not. Before respawn.c makes an agent of the process. */
#define SHORTAGE "TEST_SHORTAGE"
__attribute__((constructor(2000))) static void run_short(void)
{
    const char *of = getenv(SHORTAGE);
    if (!of)
        return;
    if (!strcmp(of, "blocks"))
        mp__memory.malloc = little_by_malloc;
    else
        mp__memory.realloc = strcmp(of, "pieces") ? little_by_realloc : none_for_a_piece;
    unsetenv(SHORTAGE);
}

/* So many bytes. */
static mp_status widen(const size_t *size, mp_bytes *result, mp_call *call)
{
    char *bytes = mp_call_alloc(call, *size);
    board_begin(call);
    if (!bytes)
        return MP_EUSER;
    memset(bytes, (int)mp_call_item(call), *size);
    *result = (mp_bytes){bytes, *size};
    return MP_OK;
}
MP_TASK(widen, size_t, mp_bytes);

static mp_status measure(const mp_bytes *in, size_t *size, mp_call *call)
{
    board_begin(call);
    *size = in->size;
    return MP_OK;
}
MP_TASK(measure, mp_bytes, size_t);

static size_t sizes[ITEMS], got[ITEMS];
static mp_bytes in[ITEMS], results[ITEMS];
static mp_status statuses[ITEMS];
static mp_error errors[ITEMS];

static mp_pool *open_pool(const char *shortage, int processes)
{
    for (size_t i = 0; i < ITEMS; i++)
        sizes[i] = i == BIG ? TOO_MUCH : i == BLOCK ? SOME : i;
    span("0,agents=1,local=0", 0);
    agent_add(shortage);
    return SPANNING(.processes = processes);
}

/* Nobody was lost: not the agent, and no worker. */
static void end(mp_pool **pool)
{
    cr_assert(zero(u64, spanning_stats(*pool).lost));
    cr_assert(eq(int, spanning_stats(*pool).processes, 2));
    for (size_t i = 0; i < ITEMS; i++)
        cr_assert(le(int, the_board()->times[i], 1), "item %zu began more than once", i);
    spanning_end(pool);
    span_end();
}

static void expect_only_big_failed(void)
{
    for (size_t i = 0; i < ITEMS; i++)
        cr_assert(eq(int, statuses[i], i == BIG ? MP_ENOMEM : MP_OK), "item %zu: %s", i, errors[i].message);
    cr_assert(says(&errors[BIG], "there is no memory for "), "%s", errors[BIG].message);
    cr_assert(ne(chr, errors[BIG].host[0], 0), "it says on which host");
}

static void expect_result(size_t i)
{
    cr_assert(eq(sz, results[i].size, sizes[i]));
    for (size_t k = 0; k < sizes[i]; k += 1 + sizes[i] / 1000)
        cr_assert(eq(int, ((const unsigned char *)results[i].data)[k], (int)i), "item %zu, byte %zu", i, k);
}

CHECK(cluster_memory, none_for_a_result_at_the_root__only_its_item_fails)
{
    mp__memory_calls usual = mp__memory;
    mp__memory.malloc = little_by_malloc;
    mp_pool *pool = open_pool(NULL, 2);
    cr_assert(eq(int,
                 mp_pool_map(pool, widen, sizes, ITEMS, results, .chunksize = 1, .statuses = statuses, .errors = errors),
                 MP_ENOMEM));
    expect_only_big_failed();
    for (size_t i = 0; i < ITEMS; i++)
        if (i != BIG)
            expect_result(i);
    mp_free(mp_bytes, results, ITEMS);
    end(&pool);
    mp__memory = usual;
}

CHECK(cluster_memory, none_for_an_item_at_the_agent__only_it_fails)
{
    static char bytes[TOO_MUCH];
    mp_pool *pool = open_pool(SHORTAGE "=blocks", 2);
    for (size_t i = 0; i < ITEMS; i++)
        in[i] = (mp_bytes){bytes, sizes[i]};
    cr_assert(eq(int, mp_pool_map(pool, measure, in, ITEMS, got, .chunksize = 1, .statuses = statuses, .errors = errors),
                 MP_ENOMEM));
    expect_only_big_failed();
    cr_assert(zero(int, the_board()->times[BIG]), "it ran");
    for (size_t i = 0; i < ITEMS; i++)
        if (i != BIG)
            cr_assert(eq(sz, got[i], sizes[i]));
    end(&pool);
}

/* It goes on its way as it lies there. */
CHECK(cluster_memory, none_for_a_result_twice_at_the_agent__all_arrive)
{
    mp_pool *pool = open_pool(SHORTAGE "=buffers", 2);
    cr_assert(eq(int, mp_pool_map(pool, widen, sizes, ITEMS, results, .chunksize = 1), MP_OK));
    for (size_t i = 0; i < ITEMS; i++)
        expect_result(i);
    mp_free(mp_bytes, results, ITEMS);
    end(&pool);
}

/* Then the worker is ended, and its item, which it has not got, is another's. */
CHECK(cluster_memory, none_for_a_piece_at_the_agent__another_worker_runs_the_item)
{
    static char bytes[SOME];
    mp_pool *pool = open_pool(SHORTAGE "=pieces", 1);
    in[0] = (mp_bytes){bytes, SOME};
    cr_assert(eq(int, mp_pool_map(pool, measure, in, 1, got), MP_OK));
    cr_assert(eq(sz, got[0], SOME));
    cr_assert(eq(int, the_board()->times[0], 1));
    cr_assert(proc_lives(agents[0]));
    spanning_end(&pool);
    span_end();
}
