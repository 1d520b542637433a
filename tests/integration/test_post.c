/* Calls that are posted without the lock, one by one: apply_async and submit. Whatever comes between posting and running them, each
 * handle ends exactly once, each call begins at most once, and the books balance: on every kind. */
#include "tests/lib/posted.h"
#include <pthread.h>

TestSuite(post, .timeout = 60);
TestSuite(post_order, .timeout = 60);
TestSuite(post_closed, .timeout = 60);

enum { N = 500 };

/* ---- each ends once ---- */

EVERY_KIND(post, one_by_one__each_ends_once_with_its_own_result)
{
    enum { MANY = 3000 };
    static mp_async *all[MANY];
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    for (int i = 0; i < MANY; i++)
        all[i] = POST(pool, mark, i);
    for (int i = 0; i < MANY; i++)
        EXPECT_GOT(all[i], i + 1);
    expect_books(pool, 0);
    cr_assert(eq(sz, board_find_other(MANY, 1), (size_t)MANY));
    cr_assert(eq(u64, stats_of(pool).accepted, MANY));
    free_handles(all, MANY);
    close_join_free(&pool);
}

EVERY_KIND(post, those_that_fail__say_why_and_harm_no_other)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *all[N];
    for (int i = 0; i < N; i++)
        all[i] = POST(pool, mark, i % 3 ? i : -1 - i);
    for (int i = 0; i < N; i++) {
        mp_status wanted = i % 3 ? MP_OK : (mp_status)(MP_EUSER + 1 + i);
        expect_ended(all[i], wanted);
        if (wanted)
            cr_assert(says(mp_async_error(all[i]), "minus"), "%s", mp_async_error(all[i])->message);
    }
    expect_books(pool, 0);
    cr_assert(eq(u64, stats_of(pool).failed, (N + 2) / 3));
    free_handles(all, N);
    close_join_free(&pool);
}

/* Nothing is asked, waited for or kept: close and join alone see to it that all has run. */
EVERY_KIND(post, freed_at_once__all_have_run_when_the_pool_is_joined)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    for (int i = 0; i < N; i++) {
        mp_async *async = POST(pool, mark, i);
        mp_async_free(&async);
    }
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(u64, stats_of(pool).succeeded, N));
    expect_books(pool, 0);
    cr_assert(eq(sz, board_find_other(N, 1), (size_t)N));
    mp_pool_free(&pool);
}

/* No other call of the pool comes behind it: the last one that is posted as the workers fall asleep is nobody's but the poster's. */
EVERY_KIND(post, one_as_the_workers_fall_asleep__runs_without_anybody_asking)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    int rounds = ROUNDS(2000);
    for (int i = 0; i < rounds; i++) {
        mp_async *async = POST(pool, count_one, i);
        mp_async_free(&async);
        for (volatile int wait = 0; wait < i * 13 % 20000; wait++)
            ;
        async = POST(pool, count_one, i);
        mp_async_free(&async);
        cr_assert(SOON(the_board()->ended == 2 * i + 2), "round %d", i);
    }
    close_join_free(&pool);
}

/* A row of short calls makes the driver nap: then too the last of the row runs, and nothing has to come behind it. */
EVERY_KIND(post, rows_that_stop_anywhere__run_to_their_end_without_anybody_asking)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    int posted = 0;
    for (int round = 0; round < ROUNDS(300); round++) {
        for (int i = 0; i < 1 + round % 40; i++, posted++) {
            mp_async *async = POST(pool, count_one, i);
            mp_async_free(&async);
        }
        cr_assert(SOON(the_board()->ended == posted), "round %d", round);
    }
    close_join_free(&pool);
}

/* ---- while all workers are busy ---- */

/* By so many calls of it. */
static void learn_that_mark_is_short(mp_pool *pool, mp_async **all, int n)
{
    for (int i = 0; i < n; i++)
        all[i] = POST(pool, mark, i);
    for (int i = 0; i < n; i++)
        EXPECT_GOT(all[i], i + 1);
    free_handles(all, n);
    board_clear(N);
}

static void run_behind_one_that_holds(int warm)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *all[N];
    learn_that_mark_is_short(pool, all, warm);
    mp_async *first = POST(pool, latch, 1000), *second = POST(pool, latch, 2000);
    cr_assert(SOON(the_board()->begun == 2));
    for (int i = 0; i < N; i++)
        all[i] = POST(pool, mark, i);
    for (int i = 0; i < N; i += 2)
        cr_assert(eq(int, mp_async_cancel(all[i]), MP_OK));
    for (int i = 0; i < N; i += 2)
        expect_ended(all[i], MP_ECANCELLED);
    cr_assert(eq(int, the_board()->begun, 2), "something has run before its turn");
    LET_GO(1001);
    for (int i = 1; i < N; i += 2)
        EXPECT_GOT(all[i], i + 1);
    cr_assert(not(mp_async_ready(second)));
    LET_GO(2001);
    EXPECT_GOT(first, 1001);
    EXPECT_GOT(second, 2001);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, the_board()->times[i], i % 2), "item %d", i);
    expect_books(pool, 0);
    free_handles(all, N);
    mp_async_free(&first);
    mp_async_free(&second);
    close_join_free(&pool);
}

EACH_KIND(post, of_which_nothing_is_known__while_all_are_busy__run_when_one_is_free)
{
    run_behind_one_that_holds(0);
}

EACH_KIND(post, known_to_be_short__while_all_are_busy__run_when_one_is_free)
{
    run_behind_one_that_holds(N);
}

/* Also where nobody waits for anything, and the calls that hold are freed. */
EACH_KIND(post, while_all_are_busy__nobody_asks__run_when_one_is_free)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        mp_async *held = POST(pool, latch, 1000 * (i + 1));
        mp_async_free(&held);
    }
    cr_assert(SOON(the_board()->begun == WORKERS));
    for (int i = 0; i < N; i++) {
        mp_async *async = POST(pool, mark, i);
        mp_async_free(&async);
    }
    LET_GO(1001);
    cr_assert(SOON(the_board()->ended == N + 1));
    LET_ALL_GO();
    close_join_free(&pool);
    cr_assert(eq(sz, board_find_other(N, 1), (size_t)N));
}

EACH_KIND(post, while_all_are_busy__the_books_have_them_at_once)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *held[WORKERS], *all[N];
    hold_all(pool, held);
    for (int i = 0; i < N; i++) {
        all[i] = POST(pool, mark, i);
        if (i % 100 == 0)
            expect_books(pool, (uint64_t)i + 1 + WORKERS);
    }
    expect_books(pool, N + WORKERS);
    let_all_go(held);
    for (int i = 0; i < N; i++)
        EXPECT_GOT(all[i], i + 1);
    expect_books(pool, 0);
    free_handles(all, N);
    close_join_free(&pool);
}

/* ---- their order ---- */

enum { AT = 0, POSTERS = 3 };

/* Its place among all that began. */
static mp_status take_place(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = the_board()->word[AT]++;
    the_board()->life_items[*out] = (uint16_t)*in;
    return MP_OK;
}
MP_TASK(take_place, int, int);

static mp_status take_place_too(const int *in, int *out, mp_call *call)
{
    return take_place(in, out, call);
}
MP_TASK(take_place_too, int, int);

EACH_KIND(post_order, on_one_worker__they_begin_as_they_were_posted)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int round = 0; round < ROUNDS(8); round++) {
        mp_async *all[N];
        the_board()->word[AT] = 0;
        LET_GO(round % 2 ? 0 : INT_MAX);
        mp_async *held = POST(pool, latch, 1);
        for (int i = 0; i < N; i++)
            all[i] = i % 7 < 4 ? POST(pool, take_place, i) : POST(pool, take_place_too, i);
        LET_ALL_GO();
        for (int i = 0; i < N; i++)
            EXPECT_GOT(all[i], i);
        free_handles(all, N);
        mp_async_free(&held);
    }
    close_join_free(&pool);
}

/* Submitted, applied and mapped in turn: those that take the lock do not overtake what was posted before. */
EVERY_KIND(post_order, on_one_worker__those_that_are_not_posted_keep_their_place)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_executor *executor = OVER_POOL(pool, .max_queue = 0);
    mp_async *all[N];
    mp_future *futures[N];
    int got[3];
    for (int i = 0; i < N; i += 5) {
        all[i] = POST(pool, take_place, i);
        futures[i] = SUBMIT(executor, take_place_too, i + 1);
        all[i + 1] = mp_pool_map_async(pool, take_place, ((int[]){i + 2, i + 3}), 2, .chunksize = 2);
        all[i + 2] = POST(pool, take_place_too, i + 4);
        if (i % 50 == 45)
            cr_assert(eq(int, mp_pool_apply(pool, add_one, (&(int){1}), got), MP_OK));
    }
    for (int i = 0; i < N; i += 5) {
        EXPECT_GOT(all[i], i);
        EXPECT_RESULT(futures[i], i + 1);
        cr_assert(eq(int, mp_async_get(all[i + 1], got, PROMPT), MP_OK));
        cr_assert(eq(int, got[0], i + 2));
        cr_assert(eq(int, got[1], i + 3));
        EXPECT_GOT(all[i + 2], i + 4);
        free_handles(all + i, 3);
        mp_future_free(&futures[i]);
    }
    mp_executor_free(&executor);
    close_join_free(&pool);
}

typedef struct posting {
    pthread_t thread;
    mp_pool *pool;
    int first;
    mp_async *all[N];
} posting;

static void *post_places(void *argument)
{
    posting *me = argument;
    for (int i = 0; i < N; i++)
        me->all[i] = POST(me->pool, take_place, me->first + i);
    return NULL;
}

EVERY_KIND(post_order, of_several_threads__each_ones_begin_as_it_posted_them)
{
    static posting threads[POSTERS];
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int k = 0; k < POSTERS; k++) {
        threads[k].pool = pool;
        threads[k].first = k * N;
        cr_assert(zero(int, pthread_create(&threads[k].thread, NULL, post_places, &threads[k])));
    }
    for (int k = 0; k < POSTERS; k++)
        pthread_join(threads[k].thread, NULL);
    for (int k = 0; k < POSTERS; k++)
        for (int i = 0, before = -1, place; i < N; i++, before = place) {
            cr_assert(eq(int, mp_async_get(threads[k].all[i], &place, PROMPT), MP_OK));
            cr_assert(gt(int, place, before), "call %d of thread %d", i, k);
            cr_assert(eq(int, the_board()->life_items[place], k *N + i));
        }
    expect_books(pool, 0);
    for (int k = 0; k < POSTERS; k++)
        free_handles(threads[k].all, N);
    close_join_free(&pool);
}

/* ---- a pool that closes ---- */

EACH_KIND(post_closed, before_close_it_runs__behind_close_it_is_refused_at_once)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *held[WORKERS], *all[N];
    hold_all(pool, held);
    for (int i = 0; i < N; i++)
        all[i] = POST(pool, mark, i);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    for (int i = 0; i < 10; i++) {
        mp_async *late = POST(pool, mark, N + i);
        cr_assert(mp_async_ready(late));
        expect_ended(late, MP_ECLOSED);
        mp_async_free(&late);
    }
    let_all_go(held);
    for (int i = 0; i < N; i++)
        EXPECT_GOT(all[i], i + 1);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(u64, stats_of(pool).accepted, N + WORKERS), "what is refused is not accepted");
    expect_books(pool, 0);
    cr_assert(eq(sz, board_find_other(N + 10, 1), (size_t)N));
    free_handles(all, N);
    mp_pool_free(&pool);
}

EACH_KIND(post_closed, terminated_while_all_are_busy__end_at_once_and_never_start)
{
    mp_pool *pool = OPEN_POOL(.processes = WORKERS, .grace = 0.2);
    mp_async *held[WORKERS], *all[N];
    hold_all(pool, held);
    for (int i = 0; i < N; i++)
        all[i] = POST(pool, mark, i);
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    for (int i = 0; i < N; i++) {
        cr_assert(mp_async_ready(all[i]), "call %d", i);
        expect_ended(all[i], MP_ETERMINATED);
    }
    mp_async *late = POST(pool, mark, N);
    cr_assert(eq(int, mp_async_get(late, NULL, 0), MP_ECLOSED));
    mp_async_free(&late);
    LET_ALL_GO();
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    expect_books(pool, 0);
    cr_assert(eq(sz, board_find_other(N + 1, 0), (size_t)N + 1));
    mp_pool_free(&pool);
    for (int i = 0; i < N; i++)
        cr_assert(eq(int, mp_async_get(all[i], NULL, 0), MP_ETERMINATED), "a handle lives longer than its pool");
    free_handles(all, N);
    free_handles(held, WORKERS);
}

/* More than the core is given at a time: most of them are in line when they are cancelled. */
EACH_KIND(post, many_in_line__cancelled_ones_never_start)
{
    enum { MANY = 3000 };
    static mp_async *calls[MANY];
    mp_pool *pool = OPEN_POOL(.processes = WORKERS);
    mp_async *held[WORKERS];
    hold_all(pool, held);
    for (int i = 0; i < MANY; i++)
        calls[i] = POST(pool, mark, i);
    for (int i = 0; i < MANY; i++)
        if (i % 3)
            cr_assert(eq(int, mp_async_cancel(calls[i]), MP_OK));
    let_all_go(held);
    for (int i = 0; i < MANY; i++) {
        if (i % 3)
            expect_ended(calls[i], MP_ECANCELLED);
        else
            EXPECT_GOT(calls[i], i + 1);
        cr_assert(eq(int, the_board()->times[i], i % 3 == 0), "call %d", i);
    }
    free_handles(calls, MANY);
    expect_books(pool, 0);
    close_join_free(&pool);
}
