/* EACH_KIND: one body, four tests: on processes of each start method, and on threads. EVERY_KIND: and in a serial pool, where items
 * run in the call that hands them in, one at a time. It is for tests that need neither two workers nor anything to be under way when
 * such a call returns; those that do, as most do that cancel, open a gate or count workers, are EACH_KIND.
 *
 *     EACH_KIND(map, empty__is_ok)
 *     {
 *         mp_pool *pool = OPEN_POOL(.processes = 2);
 *         ...
 *     }
 *
 * gives map::empty__is_ok__fork, __spawn, __forkserver and __threads. Each has a board (board.h) of its own. `how` says which
 * one runs, OPTIONS are its options. EACH_PROCESS_KIND leaves threads out. The same tests run with workers on another host, in programs of
 * their own, but for those that are ..._HERE. */
#ifndef TESTS_LIB_KINDS_H
#define TESTS_LIB_KINDS_H
#include "tests/lib/board.h"
#include "tests/lib/check.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"

typedef struct pool_kind {
    const char *name;
    mp_kind kind;
    mp_start_method start_method;
} pool_kind;

static pool_kind how;

#define OPTIONS .kind = how.kind, .start_method = how.start_method

#ifdef ONLY_CLUSTER

/* The same tests where all workers are on another host: programs of their own (meson.build), which leave out what is about this one. */
#include "tests/lib/agents.h"

#define CLUSTER_TEST(suite, test, ...)                                                                                     \
    static void suite##_##test##_of_each(void);                                                                            \
    CHECK(suite, test##__cluster, ##__VA_ARGS__)                                                                           \
    {                                                                                                                      \
        how = (pool_kind){"cluster", MP_CLUSTER, MP_DEFAULT_START};                                                        \
        board_open();                                                                                                      \
        cluster_begin();                                                                                                   \
        suite##_##test##_of_each();                                                                                        \
        cluster_end();                                                                                                     \
        board_close();                                                                                                     \
    }                                                                                                                      \
    static void suite##_##test##_of_each(void)
#define NOT_IN_CLUSTER(suite, test) __attribute__((unused)) static void suite##_##test##_of_none(void)

#define EACH_PROCESS_KIND(suite, test) CLUSTER_TEST(suite, test)
#define EACH_KIND(suite, test) CLUSTER_TEST(suite, test)
#define EVERY_KIND(suite, test) CLUSTER_TEST(suite, test)
#define EACH_KIND_UNLESS(unfit, suite, test) CLUSTER_TEST(suite, test, .disabled = (unfit))
#define ON_THREADS(suite, test) NOT_IN_CLUSTER(suite, test)
#define EACH_KIND_HERE(suite, test) NOT_IN_CLUSTER(suite, test)
#define EVERY_KIND_HERE(suite, test) NOT_IN_CLUSTER(suite, test)
#define EACH_PROCESS_KIND_HERE(suite, test) NOT_IN_CLUSTER(suite, test)

#else

#define KIND_TEST(suite, test, label, which, method, ...)                                                                  \
    CHECK(suite, test##__##label, ##__VA_ARGS__)                                                                           \
    {                                                                                                                      \
        how = (pool_kind){#label, which, method};                                                                          \
        board_open();                                                                                                      \
        suite##_##test##_of_each();                                                                                        \
        board_close();                                                                                                     \
    }

#define EACH_PROCESS_KIND(suite, test)                                                                                     \
    static void suite##_##test##_of_each(void);                                                                            \
    KIND_TEST(suite, test, fork, MP_PROCESSES, MP_FORK)                                                                    \
    KIND_TEST(suite, test, spawn, MP_PROCESSES, MP_SPAWN)                                                                  \
    KIND_TEST(suite, test, forkserver, MP_PROCESSES, MP_FORKSERVER)                                                        \
    static void suite##_##test##_of_each(void)

#define ON_THREADS(suite, test)                                                                                            \
    static void suite##_##test##_of_each(void);                                                                            \
    KIND_TEST(suite, test, threads, MP_THREADS, MP_DEFAULT_START)                                                          \
    static void suite##_##test##_of_each(void)

#define EACH_KIND(suite, test)                                                                                             \
    static void suite##_##test##_of_each(void);                                                                            \
    KIND_TEST(suite, test, fork, MP_PROCESSES, MP_FORK)                                                                    \
    KIND_TEST(suite, test, spawn, MP_PROCESSES, MP_SPAWN)                                                                  \
    KIND_TEST(suite, test, forkserver, MP_PROCESSES, MP_FORKSERVER)                                                        \
    KIND_TEST(suite, test, threads, MP_THREADS, MP_DEFAULT_START)                                                          \
    static void suite##_##test##_of_each(void)

/* And in a serial pool. */
#define EVERY_KIND(suite, test)                                                                                            \
    static void suite##_##test##_of_each(void);                                                                            \
    KIND_TEST(suite, test, serial, MP_SERIAL, MP_DEFAULT_START)                                                            \
    EACH_KIND(suite, test)

/* Not where it would see nothing: see each. */
#define EACH_KIND_UNLESS(unfit, suite, test)                                                                               \
    static void suite##_##test##_of_each(void);                                                                            \
    KIND_TEST(suite, test, fork, MP_PROCESSES, MP_FORK, .disabled = (unfit))                                               \
    KIND_TEST(suite, test, spawn, MP_PROCESSES, MP_SPAWN, .disabled = (unfit))                                             \
    KIND_TEST(suite, test, forkserver, MP_PROCESSES, MP_FORKSERVER, .disabled = (unfit))                                   \
    KIND_TEST(suite, test, threads, MP_THREADS, MP_DEFAULT_START, .disabled = (unfit))                                     \
    static void suite##_##test##_of_each(void)

/* About processes of this host, or what only they can have: not where workers are on another. */
#define EACH_KIND_HERE(suite, test) EACH_KIND(suite, test)
#define EVERY_KIND_HERE(suite, test) EVERY_KIND(suite, test)
#define EACH_PROCESS_KIND_HERE(suite, test) EACH_PROCESS_KIND(suite, test)

#endif

/* Or on the thread of the caller. */
static inline bool on_threads(void)
{
    return how.kind == MP_THREADS || how.kind == MP_SERIAL;
}

/* How many workers a test may use up: those that are executed cost ten times as much as those that are forked. */
static inline int few_lives(int n)
{
    return ROUNDS(how.start_method == MP_SPAWN ? n / 10 : n);
}

/* A pool of this kind; the test fails if there is none to be had. */
#define OPEN_POOL(...)                                                                                                     \
    __extension__({                                                                                                        \
        mp_pool *opened_pool;                                                                                              \
        mp_error opened_error;                                                                                             \
        mp_status opened = mp_pool_open(&opened_pool, OPTIONS, .error = &opened_error, __VA_ARGS__);                       \
        cr_assert(eq(int, opened, MP_OK), "%s", opened_error.message);                                                     \
        opened_pool;                                                                                                       \
    })

/* 0, 1, 2, ... */
static inline void fill(int *numbers, int n)
{
    for (int i = 0; i < n; i++)
        numbers[i] = i;
}

/* The first that is not its index and one more, or n. */
static inline int find_wrong(const int *results, int n)
{
    int i = 0;
    while (i < n && results[i] == i + 1)
        i++;
    return i;
}

static inline mp_pool_stats stats_of(mp_pool *pool)
{
    mp_pool_stats stats = {0};
    (void)mp_pool_get_stats(pool, &stats);
    return stats;
}

/* Ends as a program should; the test fails if it does not. */
static inline void close_join_free(mp_pool **pool)
{
    cr_assert(eq(int, mp_pool_close(*pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(*pool, PROMPT), MP_OK));
    mp_pool_free(pool);
}

#endif
