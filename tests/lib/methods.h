/* CHECK_METHODS: one test for each start method, `name__fork`, `name__spawn`, `name__forkserver`; its body finds the method in
 * `method`. Workers that are executed afresh come to be workers by respawn.c, which every test program has. */
#ifndef TESTS_LIB_METHODS_H
#define TESTS_LIB_METHODS_H
#include "tests/lib/check.h"
#include <millpond/pool.h>

#define CHECK_METHODS(suite, name, ...)                                                                                    \
    static void suite##_##name##_by(mp_start_method method);                                                               \
    CHECK(suite, name##__fork, ##__VA_ARGS__)                                                                              \
    {                                                                                                                      \
        suite##_##name##_by(MP_FORK);                                                                                      \
    }                                                                                                                      \
    CHECK(suite, name##__spawn, ##__VA_ARGS__)                                                                             \
    {                                                                                                                      \
        suite##_##name##_by(MP_SPAWN);                                                                                     \
    }                                                                                                                      \
    CHECK(suite, name##__forkserver, ##__VA_ARGS__)                                                                        \
    {                                                                                                                      \
        suite##_##name##_by(MP_FORKSERVER);                                                                                \
    }                                                                                                                      \
    static void suite##_##name##_by(mp_start_method method)

#endif
