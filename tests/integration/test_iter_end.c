/* Streams whose pool is closed, joined, terminated or freed before they are read to their end. */
#include "tests/lib/kinds.h"
#include <string.h>

TestSuite(closing, .timeout = 60);
TestSuite(ending, .timeout = 60);

enum { N = 3000 };
static int items[N];

typedef struct source {
    int next, end;
} source;

static bool ask(int *item, void *user)
{
    source *me = user;
    if (me->next == me->end)
        return false;
    *item = me->next++;
    return true;
}

static void expect_rest(mp_iter *iter, int from, int to)
{
    int result = 0;
    for (int i = from; i < to; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK), "item %d: %s", i, mp_iter_error(iter)->message);
        cr_assert(eq(int, result, i + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
}

/* ---- close ---- */

EVERY_KIND(closing, the_pool__streams_are_read_to_their_end)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0, N};
    fill(items, N);
    mp_iter *array = mp_pool_imap(pool, add_one, items, N, .buffersize = 10, .chunksize = 3);
    mp_iter *generated = mp_pool_imap_from(pool, add_one, ask, &from, .buffersize = 10, .chunksize = 3);
    int result = 0;
    cr_assert(eq(int, mp_iter_next(array, &result, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    expect_rest(array, 1, N);
    expect_rest(generated, 0, N);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_iter_free(&array);
    mp_iter_free(&generated);
    mp_pool_free(&pool);
}

EVERY_KIND(closing, and_joining__runs_streams_to_their_end_and_they_can_still_be_read)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0, N};
    fill(items, N);
    mp_iter *array = mp_pool_imap(pool, count_one, items, N, .buffersize = 10, .chunksize = 3);
    mp_iter *generated = mp_pool_imap_from(pool, count_one, ask, &from, .buffersize = 10, .bufferbytes = 100);
    int result = 0;
    cr_assert(eq(int, mp_iter_next(array, &result, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, the_board()->ended, 2 * N));
    expect_rest(array, 1, N);
    mp_pool_free(&pool);
    expect_rest(generated, 0, N);
    mp_iter_free(&array);
    mp_iter_free(&generated);
}

EVERY_KIND(closing, and_leaving_streams_early__join_returns)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0, -1};
    int result = 0;
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from);
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    mp_iter_free(&iter);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
}

EVERY_KIND(closing, with_an_endless_stream__join_times_out_until_it_is_left)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {0, -1};
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .buffersize = 10);
    cr_assert(eq(int, mp_pool_close(pool), MP_OK));
    cr_assert(eq(int, mp_pool_join(pool, 0.05), MP_ETIMEDOUT));
    mp_iter_free(&iter);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
}

/* ---- terminate, free ---- */

/* What is left: each of the `taken` items once, with its result or as terminated; if the input had more, that is told once, last;
 * then the end. On threads two were running, and have ended. */
static void expect_terminated(mp_iter *iter, int taken, bool more)
{
    int told = 0, others = 0, rest = 0, result = 0;
    mp_status status;
    size_t index;
    while ((status = mp_iter_next(iter, &result, PROMPT, .index = &index)) != MP_END) {
        cr_assert(status == MP_OK || status == MP_ETERMINATED, "status %d", status);
        cr_assert(zero(int, rest), "something comes behind the rest");
        rest += index == SIZE_MAX;
        told += index != SIZE_MAX;
        others += status == MP_OK;
    }
    cr_assert(eq(int, told, taken));
    cr_assert(eq(int, rest, more));
    cr_assert(le(int, others, 2));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
}

EACH_KIND(ending, the_pool__the_rest_of_an_array_is_terminated_item_by_item)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, 100);
    mp_iter *ordered = mp_pool_imap(pool, hold_or_see, items, 100, .chunksize = 3);
    mp_iter *unordered = mp_pool_imap_unordered(pool, hold_or_see, items, 100, .chunksize = 3, .buffersize = 10);
    cr_assert(SOON(the_board()->begun == 2 && stats_of(pool).accepted == 110));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    expect_terminated(ordered, 100, false);
    expect_terminated(unordered, 10, true);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    cr_assert(eq(int, the_board()->begun, 2));
    mp_iter_free(&ordered);
    mp_iter_free(&unordered);
    mp_pool_free(&pool);
}

/* How many items a generator would have given nobody knows: those that it gave are told. */
EACH_KIND(ending, the_pool__the_rest_of_an_endless_input_is_terminated)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0, -1};
    mp_iter *iter = mp_pool_imap_from(pool, hold_or_see, ask, &from, .buffersize = 20, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 2));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    int result = 0, count = 0;
    mp_status status;
    while ((status = mp_iter_next(iter, &result, PROMPT)) != MP_END) {
        cr_assert(status == MP_OK || status == MP_ETERMINATED, "status %d", status);
        cr_assert(le(int, ++count, 22));
    }
    cr_assert(ge(int, count, 2));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_KIND(ending, the_pool_by_free__streams_outlive_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0, -1};
    int result = 0, count = 0;
    mp_status status;
    fill(items, 100);
    mp_iter *array = mp_pool_imap(pool, hold_or_see, items, 100, .chunksize = 3);
    mp_iter *generated = mp_pool_imap_from(pool, add_one, ask, &from, .buffersize = 20);
    cr_assert(SOON(the_board()->begun >= 1 && stats_of(pool).accepted >= 100));
    mp_pool_free(&pool);
    expect_terminated(array, 100, false);
    while ((status = mp_iter_next(generated, &result, PROMPT)) != MP_END) {
        cr_assert(status == MP_OK || status == MP_ETERMINATED, "status %d", status);
        cr_assert(le(int, ++count, 22));
    }
    mp_iter_free(&array);
    mp_iter_free(&generated);
}

EVERY_KIND(ending, the_pool_by_free__unread_results_are_still_there)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int sizes[3] = {10, 60000, 20};
    mp_str text;
    mp_iter *iter = mp_pool_imap(pool, tell_text, sizes, 3);
    mp_iter *unread = mp_pool_imap(pool, tell_text, sizes, 3);
    close_join_free(&pool);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_OK));
        cr_assert(is_text(&text, (size_t)sizes[i]));
        mp_free(mp_str, &text, 1);
    }
    cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_iter_free(&unread);
}

EACH_KIND(ending, the_pool__a_reader_that_waits_is_told)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    mp_iter *iter = mp_pool_imap(pool, hold_or_see, items, 1);
    mp_async *none = mp_pool_apply_async(pool, add_one, items);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    int result;
    mp_status status = mp_iter_next(iter, &result, PROMPT);
    cr_assert(eq(int, status, on_threads() ? MP_OK : MP_ETERMINATED));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    mp_async_free(&none);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}
