/* How a task's failure and a worker's death come back, what a worker inherits, and pools in tasks: on every kind of pool. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

TestSuite(task, .timeout = 60);
TestSuite(value, .timeout = 60);
TestSuite(worker, .timeout = 60);
TestSuite(start, .timeout = 60);
TestSuite(nested, .timeout = 60);

/* ---- a task fails, exits, is killed ---- */

enum { EXIT = 1, KILL, ABORT };

static mp_status die(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    if (*in == EXIT)
        exit(7);
    if (*in == KILL)
        raise(SIGKILL);
    if (*in == ABORT)
        abort();
    *out = 1;
    return MP_OK;
}
MP_TASK(die, int, int);

EVERY_KIND(task, fails__status_text_item_and_worker_come_back)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int items[3] = {1, -5, 2}, results[3];
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, fail_some, items, 3, results, .error = &error), MP_EUSER + 5));
    cr_assert(eq(int, error.status, MP_EUSER + 5));
    cr_assert(eq(str, error.message, (char *)"minus 5"));
    cr_assert(eq(str, error.task, (char *)"fail_some"));
    cr_assert(eq(sz, error.item, 1));
    cr_assert(eq(int, error.worker, 0));
    cr_assert(zero(int, error.signal));
    mp_pool_free(&pool);
}

/* Waiting calls say these two; a task cannot. */
static mp_status pretend(const int *in, int *out, mp_call *call)
{
    *out = 1;
    return mp_fail(call, (mp_status)*in, "pretended");
}
MP_TASK(pretend, int, int);

EVERY_KIND(task, returns_what_waiting_calls_say__has_failed)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int items[2] = {MP_ETIMEDOUT, MP_END}, results[2];
    mp_status statuses[2];
    cr_assert(eq(int, mp_pool_map(pool, pretend, items, 2, results, .statuses = statuses), MP_EFAILED));
    cr_assert(eq(int, statuses[1], MP_EFAILED));
    mp_iter *iter = mp_pool_imap(pool, pretend, items, 2);
    for (int i = 0; i < 2; i++)
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_EFAILED));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static void expect_costs_one(int deed, int exit_code, int signal)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int items[30] = {[11] = deed}, results[30];
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, die, items, 30, results, .chunksize = 10, .error = &error), MP_ECRASHED));
    cr_assert(eq(sz, error.item, 11));
    cr_assert(eq(int, error.exit_code, exit_code));
    cr_assert(eq(int, error.signal, signal));
    cr_assert(gt(int, error.pid, 0));
    for (int i = 0; i < 30; i++)
        cr_assert(eq(int, results[i], i != 11));
    cr_assert(eq(sz, board_find_other(30, 1), 30), "each item is run once, the one that kills too");
    items[11] = 0;
    cr_assert(eq(int, mp_pool_map(pool, die, items, 30, results), MP_OK));
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(task, exits__costs_its_item)
{
    expect_costs_one(EXIT, 7, 0);
}

EACH_PROCESS_KIND(task, is_killed__costs_its_item)
{
    expect_costs_one(KILL, -1, SIGKILL);
}

EACH_PROCESS_KIND(task, aborts__costs_its_item)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    expect_costs_one(ABORT, -1, SIGABRT);
}

EACH_PROCESS_KIND(task, kills_its_worker__handles_and_streams_say_so_and_go_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int items[5] = {0, 0, KILL, 0, 0}, result;
    mp_async *async = mp_pool_map_async(pool, die, items, 5, .chunksize = 5);
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_ECRASHED));
    cr_assert(eq(sz, mp_async_error(async)->item, 2));
    mp_iter *iter = mp_pool_imap(pool, die, items, 5, .chunksize = 5);
    for (int i = 0; i < 5; i++)
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), i == 2 ? MP_ECRASHED : MP_OK));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    mp_async_free(&async);
    mp_iter_free(&iter);
    close_join_free(&pool);
}

/* ---- values that cannot travel ---- */

typedef struct answer {
    mp_str text;
    int pid;
} answer;
MP_TYPE(answer, text, pid);

static mp_status answer_text(const mp_str *in, answer *out, mp_call *call)
{
    board_begin(call);
    *out = (answer){{in->size == 3 ? "\xff\xfe" : "fine", in->size == 3 ? 2 : 4}, getpid()};
    return MP_OK;
}
MP_TASK(answer_text, mp_str, answer);

static mp_status pass_address(const mp_ptr *in, mp_ptr *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(pass_address, mp_ptr, mp_ptr);

EACH_PROCESS_KIND(value, result_is_not_utf8__costs_its_item_and_no_worker)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_str items[3] = {mp_str_of("x"), mp_str_of("bad"), mp_str_of("y")};
    answer answers[3];
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, answer_text, items, 3, answers, .error = &error), MP_EENCODING));
    cr_assert(eq(sz, error.item, 1));
    cr_assert(says(&error, "text"), "the message names the field: %s", error.message);
    cr_assert(eq(int, answers[0].pid, answers[2].pid), "the worker lives on");
    mp_free(answer, answers, 3);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(value, input_is_not_utf8__costs_its_item_and_is_not_run)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_str items[3] = {mp_str_of("x"), mp_str_of("\xff\xff"), mp_str_of("y")};
    answer answers[3];
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, answer_text, items, 3, answers, .chunksize = 3, .error = &error), MP_EENCODING));
    cr_assert(eq(sz, error.item, 1));
    cr_assert(eq(int, the_board()->begun, 2));
    mp_free(answer, answers, 3);
    mp_async *async = mp_pool_map_async(pool, answer_text, items, 3);
    cr_assert(eq(int, mp_async_get(async, answers, PROMPT), MP_EENCODING));
    cr_assert(eq(sz, mp_async_error(async)->item, 1));
    mp_free(answer, answers, 3);
    mp_async_free(&async);
    mp_iter *iter = mp_pool_imap(pool, answer_text, items, 3);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_iter_next(iter, answers, PROMPT), i == 1 ? MP_EENCODING : MP_OK));
        mp_free(answer, answers, 1);
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(value, address__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_ptr item = {pool};
    cr_assert(eq(int, mp_pool_apply(pool, pass_address, &item, &item), MP_ETYPE));
    cr_assert(eq(ptr, item.address, pool), "no array was touched");
    mp_async *async = mp_pool_apply_async(pool, pass_address, &item);
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_ETYPE));
    mp_async_free(&async);
    mp_iter *iter = mp_pool_imap(pool, pass_address, &item, 1);
    cr_assert(eq(int, mp_iter_next(iter, &item, PROMPT), MP_ETYPE));
    cr_assert(eq(int, mp_iter_next(iter, &item, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* ---- workers ---- */

EACH_PROCESS_KIND(worker, killed_while_idle__costs_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int item = 0, victim = 0, next = 0;
    cr_assert(eq(int, mp_pool_apply(pool, tell_worker, &item, &victim), MP_OK));
    cr_assert(gt(int, victim, 1));
    cr_assert(zero(int, kill(victim, SIGKILL)));
    cr_assert(SOON(stats_of(pool).lost == 1));
    cr_assert(eq(int, mp_pool_apply(pool, tell_worker, &item, &next), MP_OK));
    cr_assert(ne(int, next, victim));
    close_join_free(&pool);
}

static mp_status read_input(const int *in, int *out, mp_call *call)
{
    char byte;
    (void)in, (void)call;
    *out = (int)read(0, &byte, 1);
    return MP_OK;
}
MP_TASK(read_input, int, int);

EACH_PROCESS_KIND(worker, reads_standard_input__it_is_empty)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int item = 0, result = -1;
    cr_assert(eq(int, mp_pool_apply(pool, read_input, &item, &result), MP_OK));
    cr_assert(zero(int, result));
    mp_pool_free(&pool);
}

typedef struct identity {
    int index;
    char name[64], shown[16];
} identity;
MP_TYPE(identity, index, name, shown);

static mp_status tell_identity(const int *in, identity *out, mp_call *call)
{
    (void)in;
    out->index = mp_call_worker(call);
    snprintf(out->name, sizeof out->name, "%s", mp_call_worker_name(call));
    prctl(PR_GET_NAME, out->shown);
    return MP_OK;
}
MP_TASK(tell_identity, int, identity);

static void expect_names(mp_pool *pool, const char *prefix)
{
    identity found[3];
    int item = 0;
    cr_assert(eq(int, mp_pool_broadcast(pool, tell_identity, &item, found, 3), MP_OK));
    for (int k = 0; k < 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%d", prefix, k);
        cr_assert(eq(int, found[k].index, k));
        cr_assert(eq(str, found[k].name, name));
        name[15] = 0;
        cr_assert(eq(str, found[k].shown, name));
    }
}

EACH_KIND(worker, name__is_prefix_and_index)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    expect_names(pool, on_threads() ? "mp-thread" : "mp-worker");
    mp_pool_free(&pool);
    char prefix[] = "fish-in-the-mill-pond";
    pool = OPEN_POOL(.processes = 3, .thread_name_prefix = prefix);
    memset(prefix, 'x', 5);
    expect_names(pool, "fish-in-the-mill-pond");
    mp_pool_free(&pool);
}

/* ---- start methods ---- */

static int remembered;

static mp_status tell_remembered(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    *out = remembered;
    return MP_OK;
}
MP_TASK(tell_remembered, int, int);

EVERY_KIND(start, memory_of_before_open__is_seen_by_fork_and_threads_alone)
{
    remembered = 5;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    remembered = 6;
    int item = 0, result = -1;
    cr_assert(eq(int, mp_pool_apply(pool, tell_remembered, &item, &result), MP_OK));
    cr_assert(eq(int, result, on_threads() ? 6 : how.start_method == MP_FORK ? 5 : 0));
    mp_pool_free(&pool);
}

typedef struct place {
    char directory[200], variable[20];
} place;
MP_TYPE(place, directory, variable);

static mp_status tell_place(const int *in, place *out, mp_call *call)
{
    (void)in, (void)call;
    const char *variable = getenv("TEST_PLACE");
    snprintf(out->variable, sizeof out->variable, "%s", variable ? variable : "");
    return getcwd(out->directory, sizeof out->directory) ? MP_OK : MP_ESYSTEM;
}
MP_TASK(tell_place, int, place);

EVERY_KIND_HERE(start, environment_and_directory__are_inherited)
{
    char before[PATH_MAX];
    cr_assert(ne(ptr, getcwd(before, sizeof before), NULL));
    cr_assert(zero(int, chdir("/usr")));
    setenv("TEST_PLACE", "pond", 1);
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int item = 0;
    place found = {0};
    cr_assert(eq(int, mp_pool_apply(pool, tell_place, &item, &found), MP_OK));
    cr_assert(eq(str, found.directory, (char *)"/usr"));
    cr_assert(eq(str, found.variable, (char *)"pond"));
    cr_assert(zero(int, chdir(before)));
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(start, worker_that_dies__is_replaced_by_one_of_the_same_kind)
{
    remembered = 5;
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int items[2] = {KILL, 0}, results[2];
    cr_assert(eq(int, mp_pool_map(pool, die, items, 2, results), MP_ECRASHED));
    cr_assert(eq(int, mp_pool_apply(pool, tell_remembered, items, results), MP_OK));
    cr_assert(eq(int, results[0], how.start_method == MP_FORK ? 5 : 0));
    mp_pool_free(&pool);
}

EVERY_KIND(start, two_pools_at_once__do_not_touch_each_other)
{
    mp_pool *pools[2] = {OPEN_POOL(.processes = 2), OPEN_POOL(.processes = 1)};
    int items[100], results[100];
    fill(items, 100);
    mp_async *async = mp_pool_map_async(pools[0], add_one, items, 100);
    cr_assert(eq(int, mp_pool_map(pools[1], add_one, items, 100, results), MP_OK));
    mp_pool_free(&pools[1]);
    memset(results, 0, sizeof results);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, 100), 100));
    mp_async_free(&async);
    close_join_free(&pools[0]);
}

/* ---- pools in tasks ---- */

typedef struct recipe {
    int kind, method, depth;
} recipe;
MP_TYPE(recipe, kind, method, depth);

/* A pool in a task, down to `depth`; at the bottom 42. */
static mp_status nest(const recipe *in, int *out, mp_call *call);
MP_TASK(nest, recipe, int);
static mp_status nest(const recipe *in, int *out, mp_call *call)
{
    if (!in->depth) {
        *out = 42;
        return MP_OK;
    }
    recipe next = *in;
    next.depth--;
    mp_error error = {0};
    mp_status status = MP_OK;
    MP_WITH_POOL (pool, .kind = (mp_kind)in->kind, .start_method = (mp_start_method)in->method, .processes = 2,
                  .error = &error)
        status = mp_pool_apply(pool, nest, &next, out, .error = &error);
    if (status == MP_OK)
        status = error.status;
    return status == MP_OK ? MP_OK : mp_fail(call, status, "depth %d: %s", in->depth, error.message);
}

static void expect_nests(recipe what)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    recipe items[4] = {what, what, what, what};
    int results[4] = {0};
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, nest, items, 4, results, .chunksize = 1, .error = &error), MP_OK), "%s",
              error.message);
    for (int i = 0; i < 4; i++)
        cr_assert(eq(int, results[i], 42));
    close_join_free(&pool);
}

EVERY_KIND(nested, pools_of_the_same_kind__work)
{
    expect_nests((recipe){how.kind, how.start_method, 2});
}

EVERY_KIND(nested, pools_of_threads__work)
{
    expect_nests((recipe){MP_THREADS, MP_DEFAULT_START, 1});
}

EVERY_KIND(nested, pools_of_forked_processes__work)
{
    expect_nests((recipe){MP_PROCESSES, MP_FORK, 1});
}

EACH_PROCESS_KIND_HERE(nested, pool_of_a_task_that_is_terminated__leaves_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    recipe items[20];
    for (int i = 0; i < 20; i++)
        items[i] = (recipe){MP_PROCESSES, MP_FORK, 1};
    mp_async *async = mp_pool_map_async(pool, nest, items, 20, .chunksize = 1);
    cr_assert(SOON(stats_of(pool).succeeded >= 2));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "a process of a pool in a task is left"); /* they come to us */
}
