/* The workers of an executor: they come as they are needed, idle ones are used first, there are never more than was said; their names,
 * initializers, finalizers, and how long they live. */
#include "tests/lib/futures.h"
#include "tests/lib/proc.h"

TestSuite(demand, .timeout = 60);
TestSuite(number, .timeout = 60);
TestSuite(life, .timeout = 60);

enum { N = 12 };

static mp_pool_stats executor_stats(mp_executor *executor)
{
    return stats_of(mp_executor_pool(executor));
}

/* ---- on demand ---- */

EVERY_KIND(demand, opened__has_one_worker)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
    cr_assert(eq(ulong, executor_stats(executor).started, 1));
    mp_executor_free(&executor);
}

EVERY_KIND(demand, one_after_the_other__use_one_worker)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
    int worker = 0, first = 0;
    for (int i = 0; i < 3; i++) {
        mp_future *future = SUBMIT(executor, tell_worker, 0);
        cr_assert(eq(int, mp_future_result(future, &worker, PROMPT), MP_OK));
        first = i ? first : worker;
        cr_assert(eq(int, worker, first));
        mp_future_free(&future);
    }
    cr_assert(eq(ulong, executor_stats(executor).started, 1));
    mp_executor_free(&executor);
}

EACH_KIND(demand, each_that_finds_none_idle__starts_one)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 5);
    mp_future *futures[3];
    for (int i = 0; i < 3; i++) {
        futures[i] = SUBMIT(executor, latch, i);
        cr_assert(SOON(the_board()->begun == i + 1));
        cr_assert(eq(ulong, executor_stats(executor).started, i + 1));
    }
    LET_ALL_GO();
    for (int i = 0; i < 3; i++)
        EXPECT_RESULT(futures[i], i + 1);
    free_futures(futures, 3);
    mp_executor_free(&executor);
}

EACH_KIND(demand, worker_that_idles_again__is_used_before_another_starts)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 5);
    mp_future *held = SUBMIT(executor, latch, 10), *second = SUBMIT(executor, latch, 1);
    cr_assert(SOON(the_board()->begun == 2));
    LET_GO(2);
    EXPECT_RESULT(second, 2);
    for (int i = 0; i < N; i++) {
        mp_future *future = SUBMIT(executor, mark, 50 + i);
        EXPECT_RESULT(future, 51 + i);
        mp_future_free(&future);
    }
    cr_assert(eq(ulong, executor_stats(executor).started, 2));
    LET_ALL_GO();
    mp_executor_free(&executor);
    mp_future_free(&held);
    mp_future_free(&second);
}

EACH_KIND(demand, more_than_there_may_be__wait_for_those)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == 3));
    cr_assert(eq(ulong, executor_stats(executor).started, 3));
    cr_assert(le(int, executor_stats(executor).processes, 3));
    LET_ALL_GO();
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(eq(ulong, executor_stats(executor).started, 3));
    mp_executor_free(&executor);
    free_futures(futures, N);
}

EACH_KIND(demand, no_task_waits_while_there_may_be_another_worker)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = N);
    mp_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == N), "%d run", the_board()->begun);
    LET_ALL_GO();
    mp_executor_free(&executor);
    free_futures(futures, N);
}

/* ---- how many ---- */

/* How many run at a time when more than enough are there. */
static void expect_most(mp_executor *executor, int most)
{
    enum { MANY = 60 };
    mp_future *futures[MANY];
    cr_assert(eq(int, mp_executor_max_workers(executor), most), "also before they are there");
    for (int i = 0; i < MANY; i++)
        futures[i] = SUBMIT(executor, latch, i);
    cr_assert(SOON(the_board()->begun == most), "%d run", the_board()->begun);
    cr_assert(eq(ulong, executor_stats(executor).started, most));
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, MANY));
    free_futures(futures, MANY);
    unsetenv("MILLPOND_CPU_COUNT");
}

EACH_PROCESS_KIND(number, of_processes_by_default__is_that_of_the_cpus)
{
    setenv("MILLPOND_CPU_COUNT", "3", 1);
    expect_most(OPEN_EXECUTOR(.max_workers = 0), 3);
}

ON_THREADS(number, of_threads_by_default__is_that_of_the_cpus_and_four)
{
    setenv("MILLPOND_CPU_COUNT", "3", 1);
    expect_most(OPEN_EXECUTOR(.max_workers = 0), 7);
}

ON_THREADS(number, of_threads_by_default__is_32_at_most)
{
    setenv("MILLPOND_CPU_COUNT", "100", 1);
    expect_most(OPEN_EXECUTOR(.max_workers = 0), 32);
}

CHECK(number, without_any_option__is_processes)
{
    mp_executor *executor = NULL;
    int worker = 0;
    board_open();
    cr_assert(eq(int, mp_executor_open_with(&executor, &(mp_executor_options){0}), MP_OK));
    mp_future *future = SUBMIT(executor, tell_worker, 0);
    cr_assert(eq(int, mp_future_result(future, &worker, PROMPT), MP_OK));
    cr_assert(ne(ptr, executor, NULL));
    cr_assert(eq(int, proc_look(worker).parent, proc_only_child()), "a child of our only child's");
    mp_future_free(&future);
    mp_executor_free(&executor);
    board_close();
}

/* ---- their lives ---- */

static mp_status tell_name(const int *in, mp_str *out, mp_call *call)
{
    (void)in;
    const char *name = mp_call_worker_name(call);
    char *text = mp_call_alloc(call, strlen(name) + 1);
    if (!text)
        return MP_ENOMEM;
    memcpy(text, name, strlen(name) + 1);
    *out = (mp_str){text, strlen(name)};
    return MP_OK;
}
MP_TASK(tell_name, int, mp_str);

EVERY_KIND(life, prefix__names_them)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .thread_name_prefix = "baker");
    mp_str name;
    mp_future *future = SUBMIT(executor, tell_name, 0);
    cr_assert(eq(int, mp_future_result(future, &name, PROMPT), MP_OK));
    cr_assert(is_str(&name, "baker_0"));
    mp_future_free(&future);
    mp_executor_free(&executor);
}

static mp_status come(const int *in, mp_none *out, mp_call *call)
{
    (void)out;
    the_board()->lives++;
    static _Thread_local int state;
    state = *in;
    mp_call_set_state(call, &state);
    return MP_OK;
}
MP_TASK(come, int, mp_none);

static mp_status go(const int *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    the_board()->ends++;
    return MP_OK;
}
MP_TASK(go, int, mp_none);

static mp_status tell_state(const int *in, int *out, mp_call *call)
{
    item_begin(*in);
    while (the_board()->word[LET] <= *in)
        nap_us(200);
    *out = *(int *)mp_call_state(call);
    return MP_OK;
}
MP_TASK(tell_state, int, int);

EACH_KIND(life, initializer_and_finalizer__run_once_in_each_worker)
{
    int input = 71;
    mp_executor *executor =
        OPEN_EXECUTOR(.max_workers = 3, .initializer = MP_HOOK(come, &input), .finalizer = MP_HOOK(go, &input));
    mp_future *futures[N];
    input = 0; /* it was copied */
    for (int i = 0; i < N; i++)
        futures[i] = SUBMIT(executor, tell_state, i);
    cr_assert(SOON(the_board()->begun == 3));
    LET_ALL_GO();
    for (int i = 0; i < N; i++)
        EXPECT_RESULT(futures[i], 71);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->lives, 3));
    cr_assert(eq(int, the_board()->ends, 3));
    free_futures(futures, N);
}

EVERY_KIND(life, max_tasks_per_child__replaces_them_and_loses_nothing)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1, .max_tasks_per_child = 2);
    mp_future *futures[6];
    for (int i = 0; i < 6; i++)
        futures[i] = SUBMIT(executor, mark, i);
    for (int i = 0; i < 6; i++)
        EXPECT_RESULT(futures[i], i + 1);
    cr_assert(ge(ulong, executor_stats(executor).started, 3));
    cr_assert(zero(ulong, executor_stats(executor).lost));
    mp_executor_free(&executor);
    cr_assert(eq(sz, board_find_other(6, 1), 6));
    free_futures(futures, 6);
}

/* Python's stopped when workers came to their end while more was submitted than they had left (gh-115634). */
EVERY_KIND(life, max_tasks_per_child_with_several_workers__comes_to_an_end)
{
    enum { MANY = 60 };
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2, .max_tasks_per_child = 2);
    mp_future *futures[MANY];
    int n = few_lives(MANY);
    for (int i = 0; i < n; i++)
        futures[i] = SUBMIT(executor, mark, i);
    cr_assert(eq(int, mp_wait(futures, (size_t)n, MP_ALL_COMPLETED, PROMPT).status, MP_OK));
    cr_assert(eq(sz, board_find_other((size_t)n, 1), (size_t)n));
    free_futures(futures, (size_t)n);
    mp_executor_free(&executor);
}
