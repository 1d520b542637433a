/* Callbacks of apply_async and map_async, on every kind of pool: which of the two runs, how often, when, where, and what may be
 * done inside one. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <pthread.h>
#include <string.h>

TestSuite(callback, .timeout = 60);
TestSuite(inside, .timeout = 60);

enum { N = 300 };
static int items[N], results[N];

/* What the callbacks of one call were told. */
typedef struct told {
    _Atomic int good, bad; /* how often each was called */
    _Atomic int value;     /* the first result, or the error's item */
    _Atomic int status, count, thread, process;
    _Atomic int *gate; /* waits for it */
} told;

static void be_told(told *me)
{
    me->thread = (int)gettid();
    me->process = (int)getpid();
    while (me->gate && !*me->gate)
        nap_us(200);
}

static void tell_one(const int *result, void *user)
{
    told *me = user;
    be_told(me);
    me->value = *result;
    me->good++;
}

static void tell_all(const int *all, size_t n, void *user)
{
    told *me = user;
    be_told(me);
    me->count = (int)n;
    me->value = find_wrong(all, (int)n);
    me->good++;
}

static void tell_error(const mp_error *error, void *user)
{
    told *me = user;
    be_told(me);
    me->status = (int)error->status;
    me->value = (int)error->item;
    me->bad++;
}

#define TELL_ONE(t) .callback = tell_one, .error_callback = tell_error, .user = (t)
#define TELL_ALL(t) .callback = tell_all, .error_callback = tell_error, .user = (t)

/* ---- which, how often, when, where ---- */

EVERY_KIND(callback, of_a_success__runs_once_with_the_result)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told one = {0}, all = {0};
    fill(items, N);
    mp_async *a = mp_pool_apply_async(pool, add_one, (&(int){41}), TELL_ONE(&one));
    mp_async *b = mp_pool_map_async(pool, add_one, items, N, .chunksize = 7, TELL_ALL(&all));
    cr_assert(eq(int, mp_async_wait(a, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_wait(b, PROMPT), MP_OK));
    mp_async_free(&a);
    mp_async_free(&b);
    close_join_free(&pool);
    cr_assert(eq(int, one.good, 1));
    cr_assert(zero(int, one.bad));
    cr_assert(eq(int, one.value, 42));
    cr_assert(eq(int, all.good, 1));
    cr_assert(zero(int, all.bad));
    cr_assert(eq(int, all.count, N));
    cr_assert(eq(int, all.value, N), "result %d is wrong", all.value);
}

EVERY_KIND(callback, of_a_failure__runs_once_with_the_smallest_index)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    told one = {0}, all = {0};
    fill(items, N);
    items[200] = -2;
    items[30] = -3;
    mp_async *a = mp_pool_apply_async(pool, fail_some, (&(int){-9}), TELL_ONE(&one));
    mp_async *b = mp_pool_map_async(pool, fail_some, items, N, .chunksize = 7, TELL_ALL(&all));
    mp_async_free(&a);
    mp_async_free(&b);
    close_join_free(&pool);
    cr_assert(eq(int, one.bad, 1));
    cr_assert(zero(int, one.good));
    cr_assert(eq(int, one.status, MP_EUSER + 9));
    cr_assert(eq(int, all.bad, 1));
    cr_assert(zero(int, all.good));
    cr_assert(eq(int, all.status, MP_EUSER + 3));
    cr_assert(eq(int, all.value, 30));
}

EVERY_KIND(callback, that_is_not_given__is_not_missed)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told good = {0}, bad = {0};
    mp_async *a = mp_pool_apply_async(pool, fail_some, (&(int){-9}), .callback = tell_one, .user = &good);
    mp_async *b = mp_pool_apply_async(pool, fail_some, (&(int){9}), .error_callback = tell_error, .user = &bad);
    cr_assert(eq(int, mp_async_wait(a, PROMPT), MP_OK));
    cr_assert(eq(int, mp_async_wait(b, PROMPT), MP_OK));
    mp_async_free(&a);
    mp_async_free(&b);
    close_join_free(&pool);
    cr_assert(zero(int, good.good + bad.bad));
}

EVERY_KIND(callback, of_an_empty_map__runs_with_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told all = {.count = 7};
    int *nothing = NULL;
    mp_async *async = mp_pool_map_async(pool, add_one, nothing, 0, TELL_ALL(&all));
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(mp_async_successful(async));
    cr_assert(eq(int, all.good, 1));
    cr_assert(zero(int, all.count));
    mp_async_free(&async);
    close_join_free(&pool);
    cr_assert(eq(int, all.good + all.bad, 1));
}

static void tell_slowly(const int *result, void *user)
{
    nap_us(20000); /* so that a get that does not wait for it would be seen */
    tell_one(result, user);
}

EVERY_KIND(callback, runs__before_get_wait_and_ready_say_so)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told one = {0}, two = {0}, three = {0};
    mp_async *async = mp_pool_apply_async(pool, add_one, items, .callback = tell_slowly, .user = &one);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, one.good, 1));
    mp_async_free(&async);
    async = mp_pool_apply_async(pool, add_one, items, .callback = tell_slowly, .user = &two);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, two.good, 1));
    mp_async_free(&async);
    async = mp_pool_apply_async(pool, add_one, items, .callback = tell_slowly, .user = &three);
    cr_assert(SOON(mp_async_ready(async)));
    cr_assert(eq(int, three.good, 1));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(callback, thread__is_neither_the_callers_nor_a_workers)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    told several[4] = {0};
    int workers[2];
    cr_assert(eq(int, mp_pool_broadcast(pool, tell_worker, items, workers, 2), MP_OK));
    for (int i = 0; i < 4; i++) {
        mp_async *async = mp_pool_apply_async(pool, fail_some, (&(int){i % 2 ? -1 : 1}), TELL_ONE(&several[i]));
        cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
        mp_async_free(&async);
        cr_assert(eq(int, several[i].process, getpid()));
        cr_assert(eq(int, several[i].thread, several[0].thread), "one thread for all");
    }
    cr_assert(ne(int, several[0].thread, gettid()));
    cr_assert(ne(int, several[0].thread, workers[0]));
    cr_assert(ne(int, several[0].thread, workers[1]));
    mp_pool_free(&pool);
}

static int order_told[N];
static _Atomic int order_count;

static void tell_order(const int *result, void *user)
{
    (void)user;
    order_told[order_count++] = *result;
}

/* One worker completes them one after the other. */
EVERY_KIND(callback, of_several_calls__run_in_the_order_of_completion)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    order_count = 0;
    for (int i = 0; i < N; i++) {
        mp_async *async = mp_pool_apply_async(pool, add_one, &i, .callback = tell_order);
        mp_async_free(&async);
    }
    close_join_free(&pool);
    cr_assert(eq(int, order_count, N));
    cr_assert(eq(int, find_wrong(order_told, N), N));
}

EACH_KIND(callback, of_a_call_that_completes_first__runs_first)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    order_count = 0;
    mp_async *slow = mp_pool_apply_async(pool, hold, (&(int){1}), .callback = tell_order);
    cr_assert(SOON(the_board()->begun == 1));
    mp_async *quick = mp_pool_apply_async(pool, add_one, (&(int){2}), .callback = tell_order);
    cr_assert(eq(int, mp_async_wait(quick, PROMPT), MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_wait(slow, PROMPT), MP_OK));
    cr_assert(eq(int, order_told[0], 3));
    cr_assert(eq(int, order_told[1], 2));
    mp_async_free(&slow);
    mp_async_free(&quick);
    mp_pool_free(&pool);
}

EVERY_KIND(callback, handle_is_freed_at_once__runs_all_the_same)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    static told several[N];
    memset(several, 0, sizeof several);
    for (int i = 0; i < N; i++) {
        mp_async *async = mp_pool_apply_async(pool, fail_some, (&(int){i % 3 ? i : -1}), TELL_ONE(&several[i]));
        mp_async_free(&async);
    }
    close_join_free(&pool);
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, several[i].good, i % 3 != 0));
        cr_assert(eq(int, several[i].bad, i % 3 == 0));
    }
}

EACH_KIND(callback, of_what_is_terminated__is_told_so)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told all = {0}, behind = {0};
    mp_async *a = mp_pool_map_async(pool, hold_or_see, items, 10, .chunksize = 1, TELL_ALL(&all));
    mp_async *b = mp_pool_apply_async(pool, add_one, items, TELL_ONE(&behind));
    cr_assert(SOON(the_board()->begun == 1));
    mp_pool_terminate(pool);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK), "callbacks have run when it returns");
    cr_assert(eq(int, all.bad, 1));
    cr_assert(eq(int, all.status, MP_ETERMINATED));
    cr_assert(eq(int, behind.bad, 1));
    cr_assert(zero(int, all.good + behind.good));
    mp_async_free(&a);
    mp_async_free(&b);
    mp_pool_free(&pool);
}

EACH_KIND(callback, of_what_is_cancelled__is_told_so)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    told one = {0};
    mp_async *held = mp_pool_apply_async(pool, hold, items);
    mp_async *async = mp_pool_apply_async(pool, count_one, items, TELL_ONE(&one));
    cr_assert(eq(int, mp_async_cancel(async), MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    cr_assert(eq(int, one.bad, 1));
    cr_assert(zero(int, one.good));
    cr_assert(eq(int, one.status, MP_ECANCELLED));
    mp_async_free(&held);
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EVERY_KIND(callback, that_is_slow__delays_other_callbacks_and_nothing_else)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    _Atomic int gate = 0;
    told slow = {.gate = &gate}, later = {0};
    mp_async *first = mp_pool_apply_async(pool, add_one, items, TELL_ONE(&slow));
    cr_assert(SOON(slow.thread));
    mp_async *second = mp_pool_apply_async(pool, add_one, items, TELL_ONE(&later));
    mp_async *silent = mp_pool_apply_async(pool, add_one, items);
    fill(items, N);
    cr_assert(eq(int, mp_pool_map(pool, add_one, items, N, results), MP_OK));
    cr_assert(eq(int, mp_async_wait(silent, PROMPT), MP_OK));
    cr_assert(SOON(stats_of(pool).pending == 0));
    cr_assert(not(mp_async_ready(first) || mp_async_ready(second)));
    cr_assert(zero(int, later.good));
    gate = 1;
    cr_assert(eq(int, mp_async_wait(second, PROMPT), MP_OK));
    cr_assert(eq(int, slow.good, 1));
    cr_assert(eq(int, later.good, 1));
    mp_async_free(&first);
    mp_async_free(&second);
    mp_async_free(&silent);
    mp_pool_free(&pool);
}

/* Python's worker handler spins while one runs: 1.2 s of CPU in 2 s. */
EVERY_KIND(callback, that_is_slow__costs_no_cpu)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    _Atomic int gate = 0;
    told slow = {.gate = &gate}, later = {0};
    mp_async *first = mp_pool_apply_async(pool, add_one, items, TELL_ONE(&slow));
    mp_async *second = mp_pool_apply_async(pool, add_one, items, TELL_ONE(&later));
    cr_assert(SOON(slow.thread && stats_of(pool).pending == 0));
    long long before = proc_cpu_ns(getpid());
    nap_us(200000);
    long long used = proc_cpu_ns(getpid()) - before;
    cr_assert(lt(long, used / 1000, 100000L * (ROUNDS_SLOWER > 1 ? 10 : 1)), "%lld us in 200000", used / 1000);
    gate = 1;
    mp_async_free(&first);
    mp_async_free(&second);
    close_join_free(&pool);
}

/* What it is given is borrowed until it returns, though its handle goes meanwhile. */
static void keep_looking(const mp_str *text, void *user)
{
    told *me = user;
    be_told(me);
    me->value = is_text(text, 5000);
    me->good++;
}

EVERY_KIND(callback, handle_is_freed_while_it_runs__keeps_what_it_was_given)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    _Atomic int gate = 0;
    told one = {.gate = &gate};
    mp_async *async = mp_pool_apply_async(pool, tell_text, (&(int){5000}), .callback = keep_looking, .user = &one);
    cr_assert(SOON(one.thread));
    mp_async_free(&async);
    gate = 1;
    close_join_free(&pool);
    cr_assert(eq(int, one.good, 1));
    cr_assert(eq(int, one.value, 1));
}

/* ---- from inside one ---- */

typedef struct scene {
    mp_pool *pool;
    mp_async *_Atomic own;
    mp_async *other;
    _Atomic int status, value, done;
} scene;

/* Runs `act` in a callback and waits until it has ended. */
static void play(scene *me, void (*act)(const int *, void *))
{
    me->status = -1;
    me->own = mp_pool_apply_async(me->pool, hold, (&(int){1}), .callback = act, .user = me);
    the_board()->gate = 1; /* not before it knows its own handle */
    cr_assert(SOON(me->done));
}

static void get_other(const int *result, void *user)
{
    scene *me = user;
    int value = *result;
    me->status = (int)mp_async_get(me->other, &value, PROMPT);
    me->value = value;
    me->done = 1;
}

EACH_KIND(inside, get_on_another_handle__works)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    told late = {0};
    me.other = mp_pool_apply_async(me.pool, hold, (&(int){7}), TELL_ONE(&late));
    play(&me, get_other);
    cr_assert(eq(int, me.status, MP_OK));
    cr_assert(eq(int, me.value, 8));
    mp_async *own = me.own;
    mp_async_free(&own);
    mp_async_free(&me.other);
    close_join_free(&me.pool);
}

/* Of a call that was submitted in a callback. */
static void be_heard(const int *result, void *user)
{
    (void)result;
    ((scene *)user)->done++;
}

static void submit_and_get(const int *result, void *user)
{
    scene *me = user;
    int value = *result;
    mp_async *next = mp_pool_apply_async(me->pool, add_one, result, .callback = be_heard, .user = me);
    me->status = (int)mp_async_get(next, &value, PROMPT);
    me->value = value;
    mp_async_free(&next);
    if (me->status == MP_OK)
        me->status = (int)mp_pool_map(me->pool, add_one, items, 10, results);
    mp_iter *iter = mp_pool_imap(me->pool, add_one, items, 1);
    if (me->status == MP_OK)
        me->status = (int)mp_iter_next(iter, &value, PROMPT);
    mp_iter_free(&iter);
    me->done++;
}

EACH_KIND(inside, submit_and_wait__works)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    play(&me, submit_and_get);
    cr_assert(eq(int, me.status, MP_OK));
    cr_assert(eq(int, me.value, 3));
    mp_async *own = me.own;
    mp_async_free(&own);
    close_join_free(&me.pool);
    cr_assert(eq(int, me.done, 2), "the callback of what was submitted inside has run");
}

static void terminate_pool(const int *result, void *user)
{
    scene *me = user;
    (void)result;
    me->status = (int)mp_pool_terminate(me->pool);
    me->done = 1;
}

EACH_KIND(inside, terminate__works)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    play(&me, terminate_pool);
    cr_assert(eq(int, me.status, MP_OK));
    cr_assert(eq(int, mp_pool_join(me.pool, PROMPT), MP_OK));
    mp_async *own = me.own;
    cr_assert(eq(int, mp_async_get(own, results, PROMPT), MP_OK), "it had succeeded");
    mp_async_free(&own);
    mp_pool_free(&me.pool);
}

static void free_own_handle(const int *result, void *user)
{
    scene *me = user;
    mp_async *own = me->own;
    mp_async_free(&own);
    me->value = *result;
    me->done = 1;
}

EACH_KIND(inside, free_of_its_own_handle__works)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    play(&me, free_own_handle);
    cr_assert(eq(int, me.value, 2));
    close_join_free(&me.pool);
}

static void free_pool(const int *result, void *user)
{
    scene *me = user;
    mp_pool_free(&me->pool);
    me->value = *result;
    me->done = 1;
}

EACH_KIND(inside, free_of_the_pool__ends_it_afterwards)
{
    scene me = {.pool = OPEN_POOL(.processes = 2)};
    play(&me, free_pool);
    cr_assert(zero(ptr, me.pool));
    cr_assert(eq(int, me.value, 2));
    mp_async *own = me.own;
    cr_assert(eq(int, mp_async_get(own, results, PROMPT), MP_OK));
    mp_async_free(&own);
}

static void close_and_join(const int *result, void *user)
{
    scene *me = user;
    (void)result;
    mp_pool_close(me->pool);
    me->status = (int)mp_pool_join(me->pool, PROMPT);
    me->done = 1;
}

EACH_KIND(inside, join__is_refused)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    play(&me, close_and_join);
    cr_assert(eq(int, me.status, MP_EDEADLK));
    mp_async *own = me.own;
    mp_async_free(&own);
    cr_assert(eq(int, mp_pool_join(me.pool, PROMPT), MP_OK));
    mp_pool_free(&me.pool);
}

static void resize_pool(const int *result, void *user)
{
    scene *me = user;
    (void)result;
    me->status = (int)mp_pool_resize(me->pool, 3);
    me->done = 1;
}

EACH_KIND(inside, resize__works)
{
    scene me = {.pool = OPEN_POOL(.processes = 1)};
    play(&me, resize_pool);
    cr_assert(eq(int, me.status, MP_OK));
    cr_assert(SOON(stats_of(me.pool).workers == 3));
    mp_async *own = me.own;
    mp_async_free(&own);
    close_join_free(&me.pool);
}
