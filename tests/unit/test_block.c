/* Blocks of memory: which are kept when they are freed, and for whom. */
#include "serial/block.h"
#include "serial/memory.h"
#include "tests/lib/check.h"
#include <pthread.h>
#include <sys/resource.h>

TestSuite(block, .timeout = 60);

enum { MIB = 1 << 20, LARGE = 40 * MIB };

/* Under AddressSanitizer nothing is, so that it finds who uses what was freed. */
#define CHECK_KEPT(name)                                                                                                   \
    static void kept_##name(void);                                                                                         \
    CHECK(block, name)                                                                                                     \
    {                                                                                                                      \
        if (!CHECK_ASAN)                                                                                                   \
            kept_##name();                                                                                                 \
    }                                                                                                                      \
    static void kept_##name(void)

static mp__block *fill(mp__block *block, size_t size, int byte)
{
    cr_assert_not_null(block);
    memset(block + 1, byte, size - sizeof *block);
    return block;
}

CHECK_KEPT(large_one__is_kept_for_the_next_of_about_its_size)
{
    mp__block *first = fill(mp__block_allocate(LARGE, 64), LARGE, 1);
    mp__block_free(first);
    mp__block *next = fill(mp__block_allocate(LARGE - MIB, 64), LARGE - MIB, 2);
    cr_assert_eq(next, first);
    cr_assert_eq(next->next, next);
    cr_assert_eq(mp__block_let_go(), false, "it is taken, and kept no more");
    mp__block_free(next);
    cr_assert(mp__block_let_go());
    cr_assert_eq(mp__block_let_go(), false);
}

CHECK_KEPT(kept_one__of_another_size_is_given_back)
{
    static const size_t sizes[][2] = {{LARGE, LARGE + 4 * MIB}, {100 * MIB, LARGE}};
    for (size_t i = 0; i < 2; i++) {
        size_t kept = sizes[i][0], other = sizes[i][1];
        mp__block_free(fill(mp__block_allocate(kept, 64), kept, 1));
        mp__block *block = fill(mp__block_allocate(other, 64), other, 2);
        cr_assert_eq(mp__block_let_go(), false);
        mp__block_free(block);
        cr_assert(mp__block_let_go());
    }
}

CHECK_KEPT(second_one_that_is_freed__takes_the_place_of_the_first)
{
    mp__block *first = fill(mp__block_allocate(LARGE, 64), LARGE, 1),
              *second = fill(mp__block_allocate(LARGE, 64), LARGE, 2);
    mp__block_free(first);
    mp__block_free(second);
    mp__block *next = mp__block_allocate(LARGE, 64);
    cr_assert_eq(next, second);
    mp__block_free(next);
    cr_assert(mp__block_let_go());
}

CHECK(block, small_or_very_large_one__is_not_kept)
{
    mp__block_free(fill(mp__block_allocate(LARGE / 2, 64), LARGE / 2, 1));
    mp__block_free(fill(mp__block_allocate(100, 64), 100, 1));
    mp__block_free(mp__block_allocate(260 * (size_t)MIB, 64));
    cr_assert_eq(mp__block_let_go(), false);
}

CHECK_KEPT(held_one__is_not_freed)
{
    mp__block *block = fill(mp__block_allocate(LARGE, 64), LARGE, 1);
    block->held = true;
    mp__block_free(block);
    cr_assert_eq(mp__block_let_go(), false);
    block->held = false;
    mp__block_free(block);
    mp__block *next = mp__block_allocate(LARGE, 64);
    cr_assert_eq(next, block);
    cr_assert_eq(next->held, false);
    mp__block_free(next);
    cr_assert(mp__block_let_go());
}

/* A sanitizer's shadow does not fit into less; what is asked of the system is the same there. */
CHECK(block, limited_address_space__is_not_taken_up)
{
    static const __rlimit_resource_t limits[] = {RLIMIT_AS, RLIMIT_DATA};
    for (size_t i = 0; i < 2; i++) {
        struct rlimit before, limit;
        mp__block *block = fill(mp__block_allocate(LARGE, 64), LARGE, 1);
        cr_assert_eq(getrlimit(limits[i], &before), 0);
        limit = (struct rlimit){.rlim_cur = (rlim_t)1 << 60, .rlim_max = before.rlim_max};
        cr_assert_eq(setrlimit(limits[i], &limit), 0);
        mp__block_free(block);
        cr_assert_eq(setrlimit(limits[i], &before), 0);
        cr_assert_eq(mp__block_let_go(), false);
    }
}

static int refusals;
static void *refuse(size_t size)
{
    return refusals-- > 0 ? NULL : malloc(size);
}

CHECK_KEPT(memory_runs_out__is_given_back_for_it)
{
    mp__memory_calls ours = mp__memory;
    mp__block_free(fill(mp__block_allocate(LARGE, 64), LARGE, 1));
    mp__memory.malloc = refuse;
    refusals = 1;
    mp__block *block = mp__block_allocate(100, 64);
    mp__memory = ours;
    cr_assert_not_null(block);
    cr_assert_eq(mp__block_let_go(), false);
    mp__block_free(block);
}

static void *come_and_go(void *number)
{
    const uint8_t mine = (uint8_t)(uintptr_t)number;
    for (int round = 0; round < 20; round++) {
        mp__block *block = mp__block_allocate(LARGE, 64);
        uint8_t *data = (uint8_t *)(block + 1);
        for (size_t at = 0; at < LARGE - sizeof *block; at += MIB)
            data[at] = mine;
        for (size_t at = 0; at < LARGE - sizeof *block; at += MIB)
            if (data[at] != mine)
                return NULL;
        mp__block_free(block);
    }
    return number;
}

CHECK(block, many_threads__never_share_one)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, come_and_go, (void *)(i + 1)), 0);
    for (uintptr_t i = 0; i < THREADS; i++) {
        void *found;
        cr_assert_eq(pthread_join(threads[i], &found), 0);
        cr_assert_eq(found, (void *)(i + 1));
    }
    cr_assert_eq(mp__block_let_go(), !CHECK_ASAN);
}
