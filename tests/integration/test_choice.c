/* MILLPOND and --millpond: who starts the program says what its workers are. */
#include "pool/pool.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include <millpond.h>
#include <stdlib.h>

TestSuite(environment, .timeout = 60);
TestSuite(arguments, .timeout = 60);

enum { WORDS = 12 };

static mp_status add_one(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(add_one, int, int);

/* What was opened works, is of this kind, and has so many workers. */
static void expect(mp_pool **pool, const mp__backend *backend, int workers)
{
    mp_pool_stats stats;
    int in = 1, out = 0;
    cr_assert_not_null(*pool);
    cr_assert(eq(ptr, (void *)(*pool)->backend, (void *)backend));
    cr_assert(eq(int, mp_pool_get_stats(*pool, &stats), MP_OK));
    cr_assert(eq(int, stats.processes, workers));
    cr_assert(eq(int, mp_pool_apply(*pool, add_one, &in, &out), MP_OK));
    cr_assert(eq(int, out, 2));
    mp_pool_free(pool);
}

/* ---- MILLPOND ---- */

static void expect_by(const char *text, const mp__backend *backend, int workers, const mp_pool_options *options)
{
    mp_pool *pool;
    mp_error error;
    mp_pool_options told = *options;
    told.error = &error;
    setenv("MILLPOND", text, 1);
    setenv("MILLPOND_CPU_COUNT", "2", 1);
    cr_assert(eq(int, mp_pool_open_with(&pool, &told), MP_OK), "%s: %s", text, error.message);
    expect(&pool, backend, workers);
}

CHECK(environment, text__says_kind_and_number)
{
    static const mp_pool_options none;
    expect_by("", &mp__process_backend, 2, &none);
    expect_by("processes", &mp__process_backend, 2, &none);
    expect_by("processes:3", &mp__process_backend, 3, &none);
    expect_by("threads", &mp__thread_backend, 2, &none);
    expect_by("threads:5", &mp__thread_backend, 5, &none);
    expect_by("serial", &mp__inline_backend, 1, &none);
}

CHECK(environment, options__go_before_it)
{
    expect_by("serial", &mp__thread_backend, 2, &(mp_pool_options){.kind = MP_THREADS});
    expect_by("threads:5", &mp__thread_backend, 3, &(mp_pool_options){.processes = 3});
    expect_by("threads:5", &mp__thread_backend, 5, &(mp_pool_options){.kind = MP_THREADS});
    expect_by("threads:5", &mp__process_backend, 2, &(mp_pool_options){.kind = MP_PROCESSES}); /* its number is not ours */
    expect_by("serial", &mp__inline_backend, 1, &(mp_pool_options){.processes = 3});
    expect_by("nonsense", &mp__thread_backend, 3, &(mp_pool_options){.kind = MP_THREADS, .processes = 3}); /* not asked */
}

CHECK(environment, what_the_kind_cannot_have__is_passed_over)
{
    mp_pool_options options = {.start_method = MP_FORK,
                               .maxrss = 1ull << 40,
                               .output = MP_OUTPUT_CAPTURE,
                               .limits.core = MP_NO_CORE,
                               .processes = 2};
    expect_by("threads", &mp__thread_backend, 2, &options);
    expect_by("serial", &mp__inline_backend, 1, &options);
    expect_by("processes", &mp__process_backend, 2, &options);
}

CHECK(environment, text_that_cannot_be_read__says_what_can)
{
    static const char *const bad[] = {
        "thread",     "Threads",    "threads:",   "threads:0", "threads:100001",
        "threads:+2", "threads:2x", "threads: 2", "serial:1",  "serial:",
        ":4",         "4",          "clusters:2", " serial",   "processes:99999999999999999999"};
    mp_error error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mp_pool *pool;
        mp_executor *executor;
        setenv("MILLPOND", bad[i], 1);
        cr_assert(eq(int, mp_pool_open(&pool, .error = &error), MP_EINVAL), "%s", bad[i]);
        cr_assert_null(pool);
        cr_assert(says(&error, "MILLPOND") && says(&error, bad[i]) && says(&error, "threads:N"), "%s", error.message);
        cr_assert(eq(int, mp_executor_open(&executor, .error = &error), MP_EINVAL), "%s", bad[i]);
        cr_assert_null(executor);
        cr_assert(says(&error, "MILLPOND"), "%s", error.message);
    }
}

static void expect_executor(const char *text, const mp__backend *backend, int workers, const mp_executor_options *options)
{
    mp_executor *executor;
    int in = 1, out = 0;
    setenv("MILLPOND", text, 1);
    setenv("MILLPOND_CPU_COUNT", "2", 1);
    cr_assert(eq(int, mp_executor_open_with(&executor, options), MP_OK), "%s", text);
    cr_assert(eq(ptr, (void *)mp_executor_pool(executor)->backend, (void *)backend), "%s", text);
    cr_assert(eq(int, mp_executor_max_workers(executor), workers), "%s", text);
    mp_future *future = mp_submit(executor, add_one, &in);
    cr_assert(eq(int, mp_future_result(future, &out, 20), MP_OK));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

CHECK(environment, executors__are_told_likewise)
{
    static const mp_executor_options none;
    expect_executor("", &mp__process_backend, 2, &none);
    expect_executor("threads", &mp__thread_backend, 6, &none); /* 4 more than CPUs, as in Python */
    expect_executor("threads:3", &mp__thread_backend, 3, &none);
    expect_executor("serial", &mp__inline_backend, 1, &none);
    expect_executor("serial", &mp__inline_backend, 1, &(mp_executor_options){.max_workers = 9});
    expect_executor("serial", &mp__thread_backend, 6, &(mp_executor_options){.kind = MP_THREADS});
}

/* ---- --millpond ---- */

static int argc;
static char *argv[WORDS + 1];

static void set_arguments(const char *const *words)
{
    unsetenv("MILLPOND");
    setenv("MILLPOND_CPU_COUNT", "2", 1);
    for (argc = 0; words[argc]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    argv[argc] = NULL;
}

static void expect_arguments(const char *const *words)
{
    int n = 0;
    for (; words[n]; n++) {
        cr_assert_not_null(argv[n]);
        cr_assert(eq(str, argv[n], (char *)(uintptr_t)words[n]));
    }
    cr_assert(eq(int, argc, n));
    cr_assert_null(argv[n]);
}

#define SET(...) set_arguments((const char *const[]){__VA_ARGS__, NULL})
#define EXPECT(...) expect_arguments((const char *const[]){__VA_ARGS__, NULL})

static mp_pool *open_told(void)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_from_args(&pool, &argc, argv, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

CHECK(arguments, absent__changes_nothing)
{
    SET("program", "-x", "--millponds=serial", "--mill", "file");
    mp_pool *pool = open_told();
    expect(&pool, &mp__process_backend, 2);
    EXPECT("program", "-x", "--millponds=serial", "--mill", "file");
    argc = 0;
    argv[0] = NULL;
    pool = open_told();
    expect(&pool, &mp__process_backend, 2);
    cr_assert(zero(int, argc));
}

CHECK(arguments, one_word__is_taken_out)
{
    SET("program", "-x", "--millpond=threads:3", "file");
    mp_pool *pool = open_told();
    expect(&pool, &mp__thread_backend, 3);
    EXPECT("program", "-x", "file");
}

CHECK(arguments, two_words_at_the_end__are_taken_out)
{
    SET("program", "file", "--millpond", "serial");
    mp_pool *pool = open_told();
    expect(&pool, &mp__inline_backend, 1);
    EXPECT("program", "file");
}

CHECK(arguments, several__the_last_counts)
{
    SET("program", "--millpond=serial", "a", "--millpond", "processes:1", "b", "--millpond=threads:4", "c");
    mp_pool *pool = open_told();
    expect(&pool, &mp__thread_backend, 4);
    EXPECT("program", "a", "b", "c");
}

CHECK(arguments, behind_two_dashes__are_left_alone)
{
    SET("program", "--millpond=threads:1", "--", "--millpond=serial", "--millpond");
    mp_pool *pool = open_told();
    expect(&pool, &mp__thread_backend, 1);
    EXPECT("program", "--", "--millpond=serial", "--millpond");
}

CHECK(arguments, command_line__goes_before_options_and_environment)
{
    mp_pool *pool;
    SET("program", "--millpond=threads:2");
    setenv("MILLPOND", "nonsense", 1);
    cr_assert(eq(int,
                 mp_pool_from_args(&pool, &argc, argv, .kind = MP_PROCESSES, .processes = 3, .start_method = MP_FORK,
                                   .output = MP_OUTPUT_CAPTURE),
                 MP_OK));
    expect(&pool, &mp__thread_backend, 2);
    SET("program", "--millpond=threads");
    cr_assert(eq(int, mp_pool_from_args(&pool, &argc, argv, .kind = MP_PROCESSES, .processes = 3), MP_OK));
    expect(&pool, &mp__thread_backend, 3);
    SET("program");
    cr_assert(eq(int, mp_pool_from_args(&pool, &argc, argv, .kind = MP_SERIAL), MP_OK));
    expect(&pool, &mp__inline_backend, 1);
}

CHECK(arguments, pools_that_follow__are_told_as_well)
{
    mp_executor *executor;
    SET("program", "--millpond=serial");
    setenv("MILLPOND", "threads", 1);
    mp_pool *pool = open_told();
    expect(&pool, &mp__inline_backend, 1);
    MP_WITH_POOL (next, .processes = 2)
        cr_assert(eq(ptr, (void *)next->backend, (void *)&mp__inline_backend));
    cr_assert(eq(int, mp_executor_open(&executor), MP_OK));
    cr_assert(eq(ptr, (void *)mp_executor_pool(executor)->backend, (void *)&mp__inline_backend));
    mp_executor_free(&executor);
}

CHECK(arguments, of_an_executor_or_a_scope__are_an_option)
{
    mp_executor *executor;
    SET("program", "--millpond=threads:3", "file");
    cr_assert(eq(int, mp_executor_open(&executor, .argc = &argc, .argv = argv), MP_OK));
    cr_assert(eq(int, mp_executor_max_workers(executor), 3));
    EXPECT("program", "file");
    mp_executor_free(&executor);
    SET("program", "--millpond", "serial", "file");
    MP_WITH_POOL (pool, .argc = &argc, .argv = argv)
        cr_assert(eq(ptr, (void *)pool->backend, (void *)&mp__inline_backend));
    EXPECT("program", "file");
}

static void expect_bad(const char *text)
{
    mp_pool *pool;
    mp_error error;
    char *before[WORDS + 1];
    int count = argc;
    memcpy(before, argv, sizeof before);
    cr_assert(eq(int, mp_pool_from_args(&pool, &argc, argv, .error = &error), MP_EINVAL));
    cr_assert_null(pool);
    cr_assert(says(&error, "--millpond") && says(&error, text), "%s", error.message);
    cr_assert(eq(int, argc, count));
    cr_assert(zero(int, memcmp(before, argv, sizeof before)));
}

CHECK(arguments, malformed__are_left_and_said)
{
    SET("program", "--millpond=threads:2", "--millpond");
    expect_bad("last argument");
    SET("program", "--millpond=");
    expect_bad("''");
    SET("program", "--millpond=fast", "--millpond=serial");
    expect_bad("'fast'");
    SET("program", "--millpond", "--verbose");
    expect_bad("'--verbose'");
    SET("program", "--millpond=threads:many");
    expect_bad("'threads:many'");
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .argc = &argc, .error = &error), MP_EINVAL));
    cr_assert(says(&error, ".argv"), "%s", error.message);
}
