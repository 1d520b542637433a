/* A worker's life, on every kind of pool: initializer, state, maxtasksperchild, finalizer; resize and broadcast. Each life has a
 * number, which its initializer draws: that is how tests tell workers apart, whatever they are. */
#include "tests/lib/kinds.h"
#include <signal.h>
#include <string.h>

TestSuite(initializer, .timeout = 60);
TestSuite(finalizer, .timeout = 60);
TestSuite(maxtasks, .timeout = 60);
TestSuite(resize, .timeout = 60);
TestSuite(broadcast, .timeout = 60);

enum { MOST = 10000 };
static int items[MOST], results[MOST];

typedef struct state {
    int life, items;
    char text[32];
} state;

typedef struct setup {
    mp_str text;
    int fails; /* 1: always; 2: in the worker with index 1; 3: when word[0] says so */
    int crashes;
} setup;
MP_TYPE(setup, text, fails, crashes);

static mp_status be_born(const setup *in, mp_none *out, mp_call *call)
{
    (void)out;
    int life = ++the_board()->lives;
    if (in->crashes)
        raise(SIGKILL);
    if (in->fails == 1 || (in->fails == 2 && mp_call_worker(call) == 1) || (in->fails == 3 && the_board()->word[0]))
        return mp_fail(call, (mp_status)(MP_EUSER + 8), "no model '%s'", in->text.data);
    state *made = calloc(1, sizeof *made);
    if (!made)
        return MP_ENOMEM;
    made->life = life;
    snprintf(made->text, sizeof made->text, "%s", in->text.data);
    mp_call_set_state(call, made);
    return MP_OK;
}
MP_TASK(be_born, setup, mp_none);

/* word[1]: items that ended lives had run. */
static mp_status pass_away(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    state *mine = mp_call_state(call);
    the_board()->word[1] += mine->items;
    the_board()->ends++;
    free(mine);
    mp_call_set_state(call, NULL);
    return MP_OK;
}
MP_TASK(pass_away, mp_none, mp_none);

/* Which life runs it; none: -1. */
static mp_status tell_life(const int *in, int *out, mp_call *call)
{
    (void)in;
    board_begin(call);
    state *mine = mp_call_state(call);
    if (mine)
        the_board()->life_items[mine->life]++;
    *out = mine ? (mine->items++, mine->life) : -1;
    return MP_OK;
}
MP_TASK(tell_life, int, int);

static mp_status tell_setup(const int *in, mp_str *out, mp_call *call)
{
    (void)in;
    const state *mine = mp_call_state(call);
    if (mine)
        *out = mp_str_of(mine->text);
    return MP_OK;
}
MP_TASK(tell_setup, int, mp_str);

#define BORN MP_HOOK(be_born, &(setup){.text = mp_str_of("m")})
#define ENDS MP_HOOK(pass_away, NULL)

/* More than `limit` items in one life: the number of such lives. */
static int too_long_lives(int limit)
{
    int count = 0;
    for (int life = 0; life <= the_board()->lives; life++)
        count += the_board()->life_items[life] > limit;
    return count;
}

/* ---- initializer ---- */

EACH_KIND(initializer, each_worker__runs_it_once_before_its_first_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 3, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, the_board()->lives, 3), "they are through when open returns");
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 200, results), MP_OK));
    for (int i = 0; i < 200; i++)
        cr_assert(results[i] >= 1 && results[i] <= 3, "life %d", results[i]);
    cr_assert(eq(int, the_board()->lives, 3));
    close_join_free(&pool);
}

EACH_KIND(initializer, state__is_the_workers_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 3, .initializer = BORN, .finalizer = ENDS);
    int lives[3], again[3];
    cr_assert(eq(int, mp_pool_broadcast(pool, tell_life, items, lives, 3), MP_OK));
    cr_assert(lives[0] != lives[1] && lives[1] != lives[2] && lives[0] != lives[2]);
    cr_assert(eq(int, mp_pool_broadcast(pool, tell_life, items, again, 3), MP_OK));
    cr_assert(zero(int, memcmp(lives, again, sizeof lives)), "each keeps its own");
    close_join_free(&pool);
}

/* word[index] is one more for each worker that knows who it is. */
static mp_status know_oneself(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out;
    char name[64];
    int index = mp_call_worker(call);
    snprintf(name, sizeof name, "carp_%d", index);
    if (strcmp(name, mp_call_worker_name(call)) == 0 && index >= 0 && index < 3 && !mp_call_cancelled(call))
        the_board()->word[index]++;
    return MP_OK;
}
MP_TASK(know_oneself, mp_none, mp_none);

EACH_KIND(initializer, index_and_name__are_its_workers)
{
    mp_pool *pool = OPEN_POOL(.processes = 3, .thread_name_prefix = "carp", .initializer = MP_HOOK(know_oneself, NULL));
    for (int k = 0; k < 3; k++)
        cr_assert(eq(int, the_board()->word[k], 1), "worker %d", k);
    mp_pool_free(&pool);
}

EVERY_KIND(initializer, that_is_not_given__state_is_null)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_assert(eq(int, mp_pool_apply(pool, tell_life, items, results), MP_OK));
    cr_assert(eq(int, results[0], -1));
    mp_pool_free(&pool);
}

EVERY_KIND(initializer, input__is_copied_when_the_pool_opens)
{
    char text[] = "large model";
    setup with = {.text = mp_str_of(text)};
    mp_pool *pool =
        OPEN_POOL(.processes = 1, .maxtasksperchild = 1, .initializer = MP_HOOK(be_born, &with), .finalizer = ENDS);
    memset(text, 'X', strlen(text));
    spoil(&with, sizeof with);
    mp_str texts[5];
    cr_assert(eq(int, mp_pool_map(pool, tell_setup, items, 5, texts), MP_OK));
    for (int i = 0; i < 5; i++)
        cr_assert(eq(str, (char *)texts[i].data, (char *)"large model"));
    mp_free(mp_str, texts, 5);
    close_join_free(&pool);
}

static void expect_no_pool(const setup *with, mp_status status, const char *text)
{
    mp_pool *pool = (mp_pool *)&pool;
    mp_error error;
    cr_assert(eq(int,
                 mp_pool_open(&pool, OPTIONS, .processes = 3, .initializer = MP_HOOK(be_born, with), .finalizer = ENDS,
                              .error = &error),
                 status),
              "%s", error.message);
    cr_assert(zero(ptr, pool));
    cr_assert(eq(int, error.status, status));
    cr_assert(says(&error, text), "%s", error.message);
}

EVERY_KIND(initializer, fails_at_open__opening_fails_with_its_status_and_message)
{
    expect_no_pool(&(setup){.text = mp_str_of("x.bin"), .fails = 1}, (mp_status)(MP_EUSER + 8), "no model 'x.bin'");
}

/* What the others have made is theirs to put away: they leave in good order. */
EACH_PROCESS_KIND(initializer, fails_in_one_worker_at_open__opening_fails)
{
    expect_no_pool(&(setup){.text = mp_str_of("y.bin"), .fails = 2}, (mp_status)(MP_EUSER + 8), "no model 'y.bin'");
}

EACH_PROCESS_KIND(initializer, crashes_at_open__opening_fails)
{
    expect_no_pool(&(setup){.text = mp_str_of("z"), .crashes = 1}, MP_EBROKEN, "SIGKILL");
}

EVERY_KIND(initializer, fails_in_all_replacements__pool_is_broken_with_its_message)
{
    setup with = {.text = mp_str_of("late"), .fails = 3};
    mp_pool *pool =
        OPEN_POOL(.processes = 1, .maxtasksperchild = 1, .initializer = MP_HOOK(be_born, &with), .finalizer = ENDS);
    mp_error error;
    the_board()->word[0] = 1;
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 20, results, .error = &error), MP_EBROKEN), "%s", error.message);
    cr_assert(says(&error, "no model 'late'"), "%s", error.message);
    cr_assert(ge(int, the_board()->lives, 7), "it was tried six times in a row");
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 1, results, .error = &error), MP_EBROKEN));
    cr_assert(says(&error, "no model 'late'"), "%s", error.message);
    mp_async *async = mp_pool_apply_async(pool, tell_life, items);
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_EBROKEN));
    mp_iter *iter = mp_pool_imap(pool, tell_life, items, 1);
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_EBROKEN));
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
    cr_assert(eq(int, mp_pool_resize(pool, 2), MP_EBROKEN));
    mp_async_free(&async);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* ---- finalizer ---- */

EACH_KIND(finalizer, close__runs_it_in_each_worker_last)
{
    mp_pool *pool = OPEN_POOL(.processes = 3, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 200, results), MP_OK));
    cr_assert(zero(int, the_board()->ends));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, the_board()->ends, 3));
    cr_assert(eq(int, the_board()->word[1], 200), "it ran behind all items");
    mp_pool_free(&pool);
}

/* Counts without owning anything: whether it runs is the question. */
static mp_status count_end(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    the_board()->ends++;
    return MP_OK;
}
MP_TASK(count_end, mp_none, mp_none);

/* A process takes what it has with it; what a thread has is the program's. */
EACH_KIND(finalizer, terminate__runs_it_on_threads_alone)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .finalizer = MP_HOOK(count_end, NULL));
    mp_async *async = mp_pool_map_async(pool, hold_or_see, items, 10);
    cr_assert(SOON(the_board()->begun == 2));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, the_board()->ends, on_threads() ? 2 : 0));
    mp_async_free(&async);
    mp_pool_free(&pool);
}

EACH_KIND(finalizer, maxtasksperchild_and_resize__run_it_in_who_leaves)
{
    mp_pool *pool = OPEN_POOL(.processes = 3, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_resize(pool, 1), MP_OK));
    cr_assert(SOON(the_board()->ends == 2));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->ends, 3));
    pool = OPEN_POOL(.processes = 1, .maxtasksperchild = 2, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 10, results), MP_OK));
    cr_assert(SOON(the_board()->ends >= 3 + 4));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->ends, the_board()->lives));
    cr_assert(eq(int, the_board()->word[1], 10));
}

/* ---- maxtasksperchild ---- */

EVERY_KIND(maxtasks, limit__counts_items_whatever_the_chunks)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxtasksperchild = 3, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 30, results, .chunksize = 10), MP_OK));
    cr_assert(eq(sz, board_find_other(30, 1), 30));
    cr_assert(zero(int, too_long_lives(3)));
    cr_assert(ge(int, the_board()->lives, 10));
    close_join_free(&pool);
    cr_assert(le(int, the_board()->lives, 11), "ten that worked, and the next");
}

EACH_KIND(maxtasks, that_is_zero__is_for_ever)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, 2000, results), MP_OK));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->lives, 2));
}

static void recycle(int workers, int limit, int n)
{
    mp_pool *pool = OPEN_POOL(.processes = workers, .maxtasksperchild = limit, .initializer = BORN, .finalizer = ENDS);
    cr_assert(eq(int, mp_pool_map(pool, tell_life, items, n, results), MP_OK));
    cr_assert(eq(sz, board_find_other(n, 1), n), "each item once");
    cr_assert(zero(int, too_long_lives(limit)));
    cr_assert(zero(u64, stats_of(pool).lost));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->word[1], n));
    cr_assert(eq(int, the_board()->ends, the_board()->lives));
}

EVERY_KIND(maxtasks, one_item_each__loses_nothing)
{
    recycle(1, 1, few_lives(300));
}

EVERY_KIND(maxtasks, four_workers_under_load__lose_nothing)
{
    recycle(4, 3, few_lives(2000));
}

EVERY_KIND(maxtasks, streams_and_handles__lose_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 2, .maxtasksperchild = 2, .initializer = BORN, .finalizer = ENDS);
    int n = few_lives(300);
    fill(items, n);
    mp_async *async = mp_pool_map_async(pool, add_one, items, n);
    mp_iter *iter = mp_pool_imap(pool, add_one, items, n, .chunksize = 5);
    for (int i = 0, result = 0; i < n; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, i + 1));
    }
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, n), n));
    mp_async_free(&async);
    mp_iter_free(&iter);
    close_join_free(&pool);
}

/* Leaves only when the next life has begun; word[2]: how many waited in vain. */
static mp_status wait_for_heir(const mp_none *in, mp_none *out, mp_call *call)
{
    state *mine = mp_call_state(call);
    if (!the_board()->gate)
        the_board()->word[2] += !UNTIL(10, the_board()->lives > mine->life || the_board()->gate);
    return pass_away(in, out, call);
}
MP_TASK(wait_for_heir, mp_none, mp_none);

EACH_KIND(maxtasks, replacement__is_there_before_the_old_one_has_left)
{
    mp_pool *pool =
        OPEN_POOL(.processes = 1, .maxtasksperchild = 1, .initializer = BORN, .finalizer = MP_HOOK(wait_for_heir, NULL));
    for (int i = 0; i < 5; i++)
        cr_assert(eq(int, mp_pool_apply(pool, tell_life, items, results), MP_OK));
    the_board()->gate = 1;
    close_join_free(&pool);
    cr_assert(zero(int, the_board()->word[2]));
}

/* Does not end before the next life has begun: result 1; 0 if it waited in vain. */
static mp_status work_until_heir(const int *in, int *out, mp_call *call)
{
    (void)in;
    const state *mine = mp_call_state(call);
    *out = UNTIL(10, the_board()->lives > mine->life);
    return MP_OK;
}
MP_TASK(work_until_heir, int, int);

EACH_KIND(maxtasks, replacement__is_started_while_the_last_item_runs)
{
    mp_pool *pool = OPEN_POOL(.processes = 1, .maxtasksperchild = 1, .initializer = BORN, .finalizer = ENDS);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_pool_apply(pool, work_until_heir, items, results), MP_OK));
        cr_assert(eq(int, results[0], 1));
    }
    close_join_free(&pool);
}

/* word[3]: how many run; word[4]: the most that ever did. */
static mp_status count_at_once(const int *in, int *out, mp_call *call)
{
    (void)call;
    int now = ++the_board()->word[3], most = the_board()->word[4];
    while (now > most && !atomic_compare_exchange_weak(&the_board()->word[4], &most, now)) {
    }
    nap_us(3000);
    the_board()->word[3]--;
    *out = *in;
    return MP_OK;
}
MP_TASK(count_at_once, int, int);

/* A worker and its replacement do not work at the same time. */
EACH_KIND(maxtasks, items_that_take_long__no_more_at_once_than_workers)
{
    for (int limit = 1; limit <= 3; limit++) {
        mp_pool *pool = OPEN_POOL(.processes = 2, .maxtasksperchild = limit);
        fill(items, 40);
        cr_assert(eq(int, mp_pool_map(pool, count_at_once, items, 40, results), MP_OK));
        cr_assert(zero(int, memcmp(items, results, 40 * sizeof *items)));
        close_join_free(&pool);
    }
    cr_assert(eq(int, the_board()->word[4], 2));
}

/* ---- resize ---- */

EACH_KIND(resize, up_and_down__so_many_run)
{
    static const int counts[] = {4, 1, 3, 2};
    mp_pool *pool = OPEN_POOL(.processes = 1, .initializer = BORN, .finalizer = ENDS);
    for (int i = 0; i < 4; i++) {
        int n = counts[i];
        cr_assert(eq(int, mp_pool_resize(pool, n), MP_OK));
        cr_assert(eq(int, stats_of(pool).processes, n));
        cr_assert(SOON(stats_of(pool).workers == n), "%d workers", stats_of(pool).workers);
        cr_assert(eq(int, mp_pool_broadcast(pool, tell_life, items, results, n), MP_OK));
        for (int k = 1; k < n; k++)
            cr_assert(ne(int, results[k], results[k - 1]));
        cr_assert(eq(int, mp_pool_map(pool, add_one, items, 50, results), MP_OK));
    }
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->ends, the_board()->lives));
}

EVERY_KIND(resize, under_load__loses_nothing)
{
    static const int counts[] = {1, 4, 2, 6, 1, 3};
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int round = 0; round < ROUNDS(8); round++) {
        fill(items, MOST);
        board_clear(MOST);
        mp_async *async = mp_pool_map_async(pool, count_one, items, MOST);
        for (int i = 0; i < 6; i++) {
            cr_assert(eq(int, mp_pool_resize(pool, counts[i]), MP_OK));
            nap_us(500);
        }
        cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
        cr_assert(eq(int, find_wrong(results, MOST), MOST));
        cr_assert(eq(sz, board_find_other(MOST, 1), MOST));
        mp_async_free(&async);
    }
    cr_assert(zero(u64, stats_of(pool).lost));
    close_join_free(&pool);
}

EACH_KIND(resize, down__lets_what_runs_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    fill(items, 20);
    mp_async *async = mp_pool_map_async(pool, hold, items, 20, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 3));
    cr_assert(eq(int, mp_pool_resize(pool, 1), MP_OK));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_async_get(async, results, PROMPT), MP_OK));
    cr_assert(eq(int, find_wrong(results, 20), 20));
    cr_assert(eq(sz, board_find_other(20, 1), 20));
    cr_assert(SOON(stats_of(pool).workers == 1));
    mp_async_free(&async);
    close_join_free(&pool);
}

EVERY_KIND(resize, to_what_cannot_be__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    cr_assert(eq(int, mp_pool_resize(pool, 0), MP_EINVAL));
    cr_assert(eq(int, mp_pool_resize(pool, -3), MP_EINVAL));
    cr_assert(eq(int, mp_pool_resize(pool, 100001), MP_EINVAL));
    cr_assert(eq(int, stats_of(pool).processes, 1));
    mp_pool_free(&pool);
}

/* ---- broadcast ---- */

EACH_KIND(broadcast, every_worker__runs_it_once)
{
    mp_pool *pool = OPEN_POOL(.processes = 4);
    mp_status statuses[4];
    for (int round = 0; round < 20; round++) {
        board_clear(4);
        cr_assert(eq(int, mp_pool_broadcast(pool, tell_worker, items, results, 4, .statuses = statuses), MP_OK));
        cr_assert(eq(int, the_board()->begun, 4));
        for (int k = 0; k < 4; k++) {
            cr_assert(eq(int, statuses[k], MP_OK));
            for (int j = 0; j < k; j++)
                cr_assert(ne(int, results[k], results[j]));
        }
    }
    mp_pool_free(&pool);
}

static mp_status fail_on_one(const int *in, int *out, mp_call *call)
{
    *out = mp_call_worker(call);
    return *in == *out ? mp_fail(call, (mp_status)(MP_EUSER + 2), "not on worker %d", *in) : MP_OK;
}
MP_TASK(fail_on_one, int, int);

EACH_KIND(broadcast, results__stand_at_their_workers_index)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    mp_status statuses[3];
    mp_error error;
    int which = 1;
    cr_assert(eq(int, mp_pool_broadcast(pool, fail_on_one, &which, results, 3, .statuses = statuses, .error = &error),
                 MP_EUSER + 2));
    cr_assert(eq(sz, error.item, 1));
    cr_assert(eq(int, error.worker, 1));
    cr_assert(statuses[0] == MP_OK && statuses[1] == MP_EUSER + 2 && statuses[2] == MP_OK);
    cr_assert(results[0] == 0 && results[1] == 0 && results[2] == 2);
    mp_pool_free(&pool);
}

EACH_KIND(broadcast, room_for_another_number__is_refused)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 1), MP_EINVAL));
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 3), MP_EINVAL));
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 0), MP_EINVAL));
    cr_assert(eq(int, mp_pool_resize(pool, 3), MP_OK));
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 2), MP_EINVAL));
    cr_assert(zero(int, the_board()->begun));
    cr_assert(eq(int, mp_pool_broadcast(pool, count_one, items, results, 3), MP_OK));
    cr_assert(eq(int, the_board()->begun, 3));
    mp_pool_free(&pool);
}

EACH_PROCESS_KIND(broadcast, worker_has_died_idle__its_replacement_runs_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    for (int round = 0; round < ROUNDS(20); round++) {
        cr_assert(eq(int, mp_pool_broadcast(pool, tell_worker, items, results, 3), MP_OK));
        cr_assert(gt(int, results[1], 1));
        int victim = results[1];
        cr_assert(zero(int, kill(victim, SIGKILL)));
        cr_assert(eq(int, mp_pool_broadcast(pool, add_one, items, results, 3), MP_OK));
        cr_assert(SOON(stats_of(pool).lost == (uint64_t)round + 1));
        cr_assert(eq(int, mp_pool_broadcast(pool, tell_worker, items, results, 3), MP_OK));
        cr_assert(ne(int, results[1], victim));
    }
    mp_pool_free(&pool);
}

static mp_status die_on_one(const int *in, int *out, mp_call *call)
{
    if (mp_call_worker(call) == *in)
        raise(SIGKILL);
    *out = 7;
    return MP_OK;
}
MP_TASK(die_on_one, int, int);

EACH_PROCESS_KIND(broadcast, kills_one_worker__costs_its_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 3);
    mp_status statuses[3];
    int which = 2;
    cr_assert(eq(int, mp_pool_broadcast(pool, die_on_one, &which, results, 3, .statuses = statuses), MP_ECRASHED));
    cr_assert(statuses[0] == MP_OK && statuses[1] == MP_OK && statuses[2] == MP_ECRASHED);
    cr_assert(results[0] == 7 && results[1] == 7 && results[2] == 0);
    which = -1;
    cr_assert(eq(int, mp_pool_broadcast(pool, die_on_one, &which, results, 3), MP_OK));
    mp_pool_free(&pool);
}

EACH_KIND(broadcast, behind_a_long_queue__takes_its_turn)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_async *async = mp_pool_map_async(pool, count_one, items, MOST);
    cr_assert(eq(int, mp_pool_broadcast(pool, add_one, items, results, 2), MP_OK));
    cr_assert(ge(int, the_board()->begun, MOST / 2), "it came too early: %d", the_board()->begun);
    cr_assert(eq(int, mp_async_wait(async, PROMPT), MP_OK));
    mp_async_free(&async);
    mp_pool_free(&pool);
}
