/* ThreadPool: what is different on threads. Nothing is serialized, nothing is forked, nothing can be killed; and a task can wait
 * for its own pool, unless it would be the last. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <pthread.h>
#include <string.h>

TestSuite(threads, .timeout = 60);
TestSuite(waits, .timeout = 60);

enum { N = 100 };
static int items[N], results[N];
static mp_pool *own; /* the pool of the test that runs, for tasks that wait for it */

/* ---- nothing is serialized ---- */

static mp_status tell_address(const int *in, mp_ptr *out, mp_call *call)
{
    (void)call;
    out->address = (void *)(uintptr_t)in;
    return MP_OK;
}
MP_TASK(tell_address, int, mp_ptr);

static mp_status increment(const mp_ptr *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    ++*(int *)in->address;
    return MP_OK;
}
MP_TASK(increment, mp_ptr, mp_none);

ON_THREADS(threads, inputs__are_seen_where_they_stand)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_ptr seen[N];
    cr_assert(eq(int, mp_pool_map(pool, tell_address, items, N, seen), MP_OK));
    for (int i = 0; i < N; i++)
        cr_assert(eq(ptr, seen[i].address, &items[i]));
    mp_pool_free(&pool);
}

ON_THREADS(threads, addresses__go_straight_through)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_ptr addresses[N];
    fill(items, N);
    for (int i = 0; i < N; i++)
        addresses[i].address = &items[i];
    cr_assert(eq(int, mp_pool_map(pool, increment, addresses, N, NULL), MP_OK));
    cr_assert(eq(int, find_wrong(items, N), N));
    mp_async *async = mp_pool_map_async(pool, increment, addresses, N);
    cr_assert(eq(int, mp_async_get(async, NULL, PROMPT), MP_OK));
    mp_iter *iter = mp_pool_imap(pool, increment, addresses, N);
    while (mp_iter_next(iter, NULL, PROMPT) == MP_OK)
        ;
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, items[i], i + 3));
    mp_async_free(&async);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

typedef struct series {
    mp_str name;
    MP_SPAN(double) values;
} series;
MP_TYPE(series, name, values);

/* Half of its memory is the call's, half the program's: what comes out must be neither. */
static mp_status make_series(const int *in, series *out, mp_call *call)
{
    static const char name[] = "series";
    double *values = mp_call_alloc(call, (size_t)*in * sizeof *values);
    for (int i = 0; i < *in; i++)
        values[i] = i;
    out->name = mp_str_of(name);
    out->values.items = values;
    out->values.count = (size_t)*in;
    return MP_OK;
}
MP_TASK(make_series, int, series);

ON_THREADS(threads, results__own_what_they_point_to)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static series made[N];
    fill(items, N);
    cr_assert(eq(int, mp_pool_map(pool, make_series, items, N, made), MP_OK));
    mp_pool_free(&pool);
    for (int i = 0; i < N; i++) {
        cr_assert(eq(sz, made[i].values.count, i));
        if (i)
            made[i].values.items[i - 1] += 1; /* ours to write */
        cr_assert(i == 0 || made[i].values.items[i - 1] == i);
        cr_assert(eq(str, (char *)made[i].name.data, (char *)"series"));
    }
    mp_free(series, made, N);
}

ON_THREADS(threads, pool__has_no_child_process)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    pid_t child;
    cr_assert(zero(int, proc_children(getpid(), &child, 1)));
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    cr_assert(zero(int, proc_children(getpid(), &child, 1)));
    mp_pool_free(&pool);
}

/* ---- nothing can be killed ---- */

ON_THREADS(threads, terminate__lets_what_runs_end_and_completes_its_handle)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 3);
    mp_async *async = mp_pool_map_async(pool, hold, items, 3, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_async_wait(async, 0.02), MP_ETIMEDOUT), "its first item runs still");
    cr_assert(eq(int, mp_pool_join(pool, 0.02), MP_ETIMEDOUT));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_ETERMINATED));
    cr_assert(eq(int, mp_async_statuses(async)[0], MP_OK));
    cr_assert(eq(int, results[0], 1));
    cr_assert(eq(int, mp_async_error(async)->item, 1));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, the_board()->begun, 1));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

ON_THREADS(threads, terminate__is_seen_by_what_runs)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *async = mp_pool_map_async(pool, hold_or_see, items, 2, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 2));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, results[0], -1));
    cr_assert(eq(int, results[1], -1));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

static mp_status leave_thread(const int *in, int *out, mp_call *call)
{
    void *left_behind = mp_call_alloc(call, 100);
    board_begin(call);
    memset(left_behind, 1, 100);
    if (*in < 0)
        pthread_exit(NULL);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(leave_thread, int, int);

ON_THREADS(threads, task_that_ends_its_thread__costs_its_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_status statuses[20];
    mp_error error;
    for (int i = 0; i < 20; i++)
        items[i] = i % 5 == 2 ? -1 : i;
    cr_assert(
        eq(int, mp_pool_map(pool, leave_thread, items, 20, results, .statuses = statuses, .error = &error, .chunksize = 10),
           MP_ECRASHED));
    cr_assert(eq(sz, error.item, 2));
    for (int i = 0; i < 20; i++) {
        cr_assert(eq(int, statuses[i], i % 5 == 2 ? MP_ECRASHED : MP_OK));
        cr_assert(eq(int, results[i], i % 5 == 2 ? 0 : i + 1));
    }
    cr_assert(eq(sz, board_find_other(20, 1), 20));
    fill(items, N);
    cr_assert(eq(int, mp_pool_map(pool, leave_thread, items, N, results), MP_OK));
    cr_assert(eq(int, find_wrong(results, N), N));
    cr_assert(eq(u64, stats_of(pool).lost, 4));
    close_join_free(&pool);
}

static mp_pool *asked;
static pthread_key_t asking;

/* What is the thread's is destroyed when it ends, by code of the user's, which may ask the pool. */
static void ask_the_pool(void *value)
{
    (void)value;
    int one = 1;
    the_board()->ends += stats_of(asked).processes;
    the_board()->word[0] += mp_pool_apply(asked, add_one, &one, &one) == MP_EDEADLK; /* it is the last free one */
}

static mp_status have_something_destroyed(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    pthread_setspecific(asking, &asking);
    if (*in < 0)
        pthread_exit(NULL);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(have_something_destroyed, int, int);

ON_THREADS(threads, end_of_a_thread__what_is_destroyed_then_may_ask_the_pool)
{
    cr_assert(zero(int, pthread_key_create(&asking, ask_the_pool)));
    asked = OPEN_POOL(.processes = 1, .maxtasksperchild = 1);
    for (int i = 0; i < 20; i++)
        items[i] = i % 5 == 2 ? -1 : i;
    cr_assert(eq(int, mp_pool_map(asked, have_something_destroyed, items, 20, results), MP_ECRASHED));
    cr_assert(eq(sz, board_find_other(20, 1), 20));
    close_join_free(&asked);
    cr_assert(eq(int, the_board()->ends, 20));
    cr_assert(eq(int, the_board()->word[0], 20));
    pthread_key_delete(asking);
}

/* ---- a task that waits for its own pool ---- */

static mp_status apply_inside(const int *in, int *out, mp_call *call)
{
    mp_error error;
    mp_status status = mp_pool_apply(own, add_one, in, out, .error = &error);
    return status == MP_OK ? MP_OK : mp_fail(call, status, "%s", error.message);
}
MP_TASK(apply_inside, int, int);

static mp_status get_inside(const int *in, int *out, mp_call *call)
{
    (void)call;
    mp_async *async = mp_pool_apply_async(own, add_one, in);
    mp_status status = mp_async_get(async, out, PROMPT);
    mp_async_free(&async);
    return status == MP_ETIMEDOUT ? MP_EUSER : status;
}
MP_TASK(get_inside, int, int);

static mp_status read_inside(const int *in, int *out, mp_call *call)
{
    (void)call;
    mp_iter *iter = mp_pool_imap(own, add_one, in, 1);
    mp_status status = mp_iter_next(iter, out, PROMPT);
    mp_iter_free(&iter);
    return status == MP_ETIMEDOUT ? MP_EUSER : status;
}
MP_TASK(read_inside, int, int);

static mp_status wait_inside(const mp_task *task, int threads, int *result)
{
    own = OPEN_POOL(.processes = threads);
    int item = 41;
    *result = 0;
    mp_status status = mp_pool_apply_task(own, task, &item, result, NULL);
    close_join_free(&own);
    return status;
}

static const mp_task *const waiting_tasks[] = {&mp__task_apply_inside, &mp__task_get_inside, &mp__task_read_inside};

ON_THREADS(waits, while_a_thread_is_free__work)
{
    for (int i = 0, result; i < 3; i++) {
        cr_assert(eq(int, wait_inside(waiting_tasks[i], 2, &result), MP_OK), "%s", waiting_tasks[i]->name);
        cr_assert(eq(int, result, 42));
    }
}

ON_THREADS(waits, on_the_last_thread__are_refused)
{
    for (int i = 0, result; i < 3; i++)
        cr_assert(eq(int, wait_inside(waiting_tasks[i], 1, &result), MP_EDEADLK), "%s", waiting_tasks[i]->name);
}

/* Both have begun before either waits. */
static mp_status meet_and_wait(const int *in, int *out, mp_call *call)
{
    board_begin(call);
    while (the_board()->begun < 2)
        nap_us(100);
    return apply_inside(in, out, call);
}
MP_TASK(meet_and_wait, int, int);

ON_THREADS(waits, on_both_threads_at_once__one_is_refused)
{
    for (int round = 0; round < ROUNDS(50); round++) {
        mp_status statuses[2];
        own = OPEN_POOL(.processes = 2);
        board_clear(2);
        (void)mp_pool_map(own, meet_and_wait, items, 2, results, .chunksize = 1, .statuses = statuses);
        cr_assert(statuses[0] == MP_EDEADLK || statuses[1] == MP_EDEADLK, "%d %d", statuses[0], statuses[1]);
        cr_assert(statuses[0] == MP_OK || statuses[1] == MP_OK, "%d %d", statuses[0], statuses[1]);
        close_join_free(&own);
    }
}

static mp_status hold_inside(const int *in, int *out, mp_call *call)
{
    the_board()->word[0] = 1;
    (void)call;
    return mp_pool_apply(own, hold, in, out);
}
MP_TASK(hold_inside, int, int);

ON_THREADS(waits, fewer_threads_than_wait__are_refused)
{
    own = OPEN_POOL(.processes = 3);
    mp_async *async = mp_pool_apply_async(own, hold_inside, items);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_pool_resize(own, 1), MP_EDEADLK));
    cr_assert(eq(int, mp_pool_resize(own, 2), MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    mp_async_free(&async);
    close_join_free(&own);
}

static mp_status join_inside(const int *in, int *out, mp_call *call)
{
    (void)in, (void)call;
    mp_pool_close(own);
    *out = mp_pool_join(own, PROMPT);
    return MP_OK;
}
MP_TASK(join_inside, int, int);

ON_THREADS(waits, join_of_its_own_pool__is_refused)
{
    own = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, mp_pool_apply(own, join_inside, items, results), MP_OK));
    cr_assert(eq(int, results[0], MP_EDEADLK));
    cr_assert(eq(int, mp_pool_join(own, PROMPT), MP_OK));
    mp_pool_free(&own);
}

static mp_status broadcast_inside(const int *in, int *out, mp_call *call)
{
    int both[2];
    (void)call;
    *out = mp_pool_broadcast(own, add_one, in, both, 2);
    return MP_OK;
}
MP_TASK(broadcast_inside, int, int);

ON_THREADS(waits, broadcast_on_its_own_pool__is_refused)
{
    own = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, mp_pool_apply(own, broadcast_inside, items, results), MP_OK));
    cr_assert(eq(int, results[0], MP_EDEADLK));
    close_join_free(&own);
}

static mp_status free_inside(const int *in, int *out, mp_call *call)
{
    (void)call;
    mp_pool_free(&own);
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(free_inside, int, int);

ON_THREADS(waits, free_of_its_own_pool__ends_it_afterwards)
{
    own = OPEN_POOL(.processes = 2);
    mp_async *async = mp_pool_apply_async(own, free_inside, (&(int){1}));
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, results[0], 2));
    cr_assert(zero(ptr, own));
    mp_async_free(&async);
}

static mp_status submit_inside(const int *in, int *out, mp_call *call)
{
    (void)call;
    mp_async *async = mp_pool_apply_async(own, count_one, in);
    mp_async_free(&async);
    *out = 1;
    return MP_OK;
}
MP_TASK(submit_inside, int, int);

ON_THREADS(waits, submit_without_waiting_on_the_last_thread__works)
{
    own = OPEN_POOL(.processes = 1);
    cr_assert(eq(int, mp_pool_map(own, submit_inside, items, 10, results), MP_OK));
    close_join_free(&own);
    cr_assert(eq(int, the_board()->ended, 10));
}
