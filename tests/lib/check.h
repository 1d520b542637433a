/* CHECK: a Criterion test that also fails when it leaves something behind: a child (or a child's child), a thread, a
 * descriptor, shared memory, a changed signal setting (leftovers.h), or, in a sanitizer build, memory. Criterion judges a
 * test before its process ends, so what LeakSanitizer would say at exit is asked for here, inside the test.
 *
 *     #include "tests/lib/check.h"
 *     TestSuite(pool, .timeout = 60);              // every suite: without one a hanging test hangs for ever
 *     CHECK(pool, map__empty_input__is_ok) { cr_assert(eq(int, mp_pool_map(...), MP_OK)); }
 *
 * Rules of Criterion 2.4.1: time-outs of 10 s and more, no less. A forked child ends by _exit and neither asserts nor
 * returns. Assert in the test's own thread. Arguments of the new assertions must not expand to something that begins with a
 * parenthesis: use exited() and signaled() below. A test process always has a second thread, Criterion's own. */
#ifndef TESTS_LIB_CHECK_H
#define TESTS_LIB_CHECK_H
#include "tests/lib/leftovers.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <sys/wait.h>

#if defined(__has_feature)
#define CHECK_HAS_FEATURE(x) __has_feature(x)
#else
#define CHECK_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || CHECK_HAS_FEATURE(address_sanitizer)
#define CHECK_ASAN 1
#include <sanitizer/lsan_interface.h>
static inline int memory_leaked(void)
{
    return __lsan_do_recoverable_leak_check();
}
#else
#define CHECK_ASAN 0
static inline int memory_leaked(void)
{
    return 0;
}
#endif
#if defined(__SANITIZE_THREAD__) || CHECK_HAS_FEATURE(thread_sanitizer)
#define CHECK_TSAN 1
#else
#define CHECK_TSAN 0
#endif

/* The leak check comes last: a thread that has not ended yet would hold what it is about to free. */
#define CHECK(suite, name, ...)                                                                                            \
    static void suite##_##name##_body(void);                                                                               \
    Test(suite, name, ##__VA_ARGS__)                                                                                       \
    {                                                                                                                      \
        leftovers before;                                                                                                  \
        char left[2048];                                                                                                   \
        leftovers_before(&before);                                                                                         \
        suite##_##name##_body();                                                                                           \
        if (!leftovers_after(&before, left, sizeof left))                                                                  \
            cr_fatal("%s", left);                                                                                          \
        if (memory_leaked())                                                                                               \
            cr_fatal("memory leaked: see LeakSanitizer's report on standard error");                                       \
    }                                                                                                                      \
    static void suite##_##name##_body(void)

/* What wait(2) said of a child: for assertions. */
static inline int exited(int wait_status, int code)
{
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == code;
}
static inline int signaled(int wait_status, int signal)
{
    return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == signal;
}

#endif
