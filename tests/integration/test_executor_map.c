/* mp_executor_map: order, the deadline, chunks, how far ahead it runs, and what becomes of one that is dropped. On every kind. */
#include "tests/lib/futures.h"

TestSuite(map, .timeout = 60);
TestSuite(deadline, .timeout = 60);
TestSuite(ahead, .timeout = 60);
TestSuite(dropped, .timeout = 60);

enum { N = 100 };
static int items[N], got;

#define EXPECT_NEXT(iter, status, value)                                                                                   \
    do {                                                                                                                   \
        cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), status), "%s", mp_iter_error(iter)->message);                  \
        cr_assert(eq(int, got, value));                                                                                    \
    } while (0)
#define EXPECT_END(iter) cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), MP_END))

/* ---- results ---- */

static void read_in_order(mp_iter *iter)
{
    for (int i = 0; i < N; i++)
        EXPECT_NEXT(iter, MP_OK, i + 1);
    EXPECT_END(iter);
    EXPECT_END(iter);
    mp_iter_free(&iter);
}

EVERY_KIND(map, results__come_in_the_order_of_the_items)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 3);
    fill(items, N);
    read_in_order(mp_executor_map(executor, mark, items, N));
    read_in_order(mp_executor_map(executor, mark, items, N, .chunksize = 1));
    read_in_order(mp_executor_map(executor, mark, items, N, .chunksize = 7, .timeout = PROMPT));
    read_in_order(mp_executor_map(executor, mark, items, N, .chunksize = 1000));
    read_in_order(mp_executor_map(executor, mark, items, N, .buffersize = 1));
    read_in_order(mp_executor_map(executor, mark, items, N, .buffersize = 10, .chunksize = 3));
    read_in_order(mp_executor_map(executor, mark, items, N, .buffersize = 1000));
    cr_assert(eq(sz, board_find_other(N, 7), N));
    mp_executor_free(&executor);
}

EVERY_KIND(map, of_nothing__is_at_its_end)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int *nothing = NULL;
    mp_iter *iter = mp_executor_map(executor, mark, nothing, 0);
    EXPECT_END(iter);
    mp_iter_free(&iter);
    iter = mp_executor_map(executor, mark, nothing, 0, .buffersize = 3);
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

EVERY_KIND(map, item_that_fails__is_one_and_the_stream_goes_on)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    items[10] = -4;
    items[11] = -5;
    mp_iter *iter = mp_executor_map(executor, mark, items, N, .chunksize = 20);
    for (int i = 0; i < N; i++) {
        bool fails = i == 10 || i == 11;
        EXPECT_NEXT(iter, fails ? MP_EUSER + i - 6 : MP_OK, fails ? 0 : i + 1);
        if (fails)
            cr_assert(eq(sz, mp_iter_error(iter)->item, i));
    }
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

static mp_status time_out_if_zero(const int *in, int *out, mp_call *call)
{
    *out = *in + 1;
    return *in ? MP_OK : mp_fail(call, MP_ETIMEDOUT, "the server did not answer");
}
MP_TASK(time_out_if_zero, int, int);

EVERY_KIND(map, items_own_time_out__is_not_that_of_the_map)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int three[3] = {1, 0, 2};
    mp_iter *iter = mp_executor_map(executor, time_out_if_zero, three, 3, .timeout = PROMPT);
    EXPECT_NEXT(iter, MP_OK, 2);
    EXPECT_NEXT(iter, MP_EFAILED, 0);
    cr_assert(says(mp_iter_error(iter), "the server did not answer"));
    EXPECT_NEXT(iter, MP_OK, 3);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

EACH_PROCESS_KIND(map, item_that_crashes__costs_itself)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    int some[5] = {-1, -2, 0, -3, -4};
    mp_iter *iter = mp_executor_map(executor, die, some, 5, .chunksize = 5);
    for (int i = 0; i < 5; i++)
        EXPECT_NEXT(iter, i == 2 ? MP_ECRASHED : MP_OK, i == 2 ? 0 : some[i] + 1);
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

static void expect_refused(mp_iter *iter, mp_status status)
{
    cr_assert(ne(ptr, iter, NULL));
    cr_assert(eq(int, mp_iter_next(iter, &got, PROMPT), status));
    cr_assert(mp_iter_error(iter)->message[0] != 0);
    EXPECT_END(iter);
    mp_iter_free(&iter);
}

EVERY_KIND(map, what_cannot_be__is_said_first)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1), *none = NULL;
    int *nothing = NULL;
    expect_refused(mp_executor_map(none, mark, items, N), MP_EINVAL);
    expect_refused(mp_executor_map(executor, mark, nothing, N), MP_EINVAL);
    expect_refused(mp_executor_map(executor, mark, items, N, .chunksize = -1), MP_EINVAL);
    expect_refused(mp_executor_map(executor, mark, items, N, .buffersize = -1), MP_EINVAL);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    expect_refused(mp_executor_map(executor, mark, items, N), MP_ECLOSED);
    expect_refused(mp_executor_map(executor, mark, items, N, .buffersize = 2), MP_ECLOSED);
    mp_executor_free(&executor);
}

EACH_KIND(map, items__are_copied)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    mp_future *held = SUBMIT(executor, latch, 500);
    char texts[5][2] = {"a", "b", "c", "d", "e"};
    mp_str *strings = malloc(5 * sizeof *strings), text;
    for (int i = 0; i < 5; i++)
        strings[i] = (mp_str){texts[i], 1};
    mp_iter *iter = mp_executor_map(executor, append, strings, 5);
    spoil(texts, sizeof texts);
    spoil(strings, 5 * sizeof *strings);
    free(strings);
    LET_ALL_GO();
    for (int i = 0; i < 5; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_OK));
        cr_assert(is_str(&text, (char[]){(char)('a' + i), 'a', 'n', 'd', ' ', 's', 'o', ' ', 'o', 'n', 0}));
        mp_free(mp_str, &text, 1);
    }
    mp_iter_free(&iter);
    mp_future_free(&held);
    mp_executor_free(&executor);
}

/* ---- the deadline ---- */

EACH_KIND(deadline, that_is_over__is_told_by_next)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, latch, items, N, .timeout = 0.05);
    cr_assert(eq(int, mp_iter_next(iter, &got, MP_FOREVER), MP_ETIMEDOUT));
    LET_ALL_GO();
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

/* Time that passes before the first next counts. One try of ten must not be held up for as long again: a clock that begins with the
 * first next holds up all of them. */
EACH_KIND(deadline, is_counted_from_the_call)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    bool prompt = false;
    fill(items, 2);
    for (int i = 0; i < 10 && !prompt; i++) {
        double start = seconds_now();
        mp_iter *iter = mp_executor_map(executor, latch, items, 2, .timeout = 0.2);
        nap_us(200000);
        cr_assert(eq(int, mp_iter_next(iter, &got, MP_FOREVER), MP_ETIMEDOUT));
        prompt = seconds_now() - start < 0.39;
        mp_iter_free(&iter);
    }
    cr_assert(prompt);
    LET_ALL_GO();
    mp_executor_free(&executor);
}

EACH_KIND(deadline, that_is_far__does_not_hide_that_of_next)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, latch, items, N, .timeout = PROMPT);
    cr_assert(eq(int, mp_iter_next(iter, &got, 0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_iter_next(iter, &got, 0.02), MP_ETIMEDOUT));
    LET_ALL_GO();
    read_in_order(iter);
    mp_executor_free(&executor);
}

/* ---- how far ahead ---- */

EVERY_KIND(ahead, without_a_bound__all_are_submitted_in_the_call)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, mark, items, N);
    cr_assert(SOON(the_board()->ended == N), "nobody needs to read for that");
    read_in_order(iter);
    mp_executor_free(&executor);
}

EVERY_KIND(ahead, with_a_bound__no_more_than_that_run_unread)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, mark, items, N, .buffersize = 5);
    cr_assert(SOON(the_board()->begun == 5));
    for (int read = 0; read < N; read++) {
        int wanted = read + 5 < N ? read + 5 : N;
        cr_assert(SOON(the_board()->begun > read), "nothing runs ahead");
        cr_assert(le(int, the_board()->begun, wanted));
        EXPECT_NEXT(iter, MP_OK, read + 1);
    }
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}

EVERY_KIND(ahead, with_a_bound_and_nobody_who_reads__stops_there)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, mark, items, N, .buffersize = 7);
    cr_assert(SOON(the_board()->begun == 7));
    cr_assert(not(UNTIL(0.02, the_board()->begun > 7)));
    mp_iter_free(&iter);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 7), "what was not submitted never is");
}

/* ---- dropped ---- */

EVERY_KIND(dropped, unread__runs_to_its_end)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, mark, items, N);
    mp_iter_free(&iter);
    cr_assert(zero(ptr, iter));
    mp_executor_free(&executor);
    cr_assert(eq(sz, board_find_other(N, 1), N));
    cr_assert(eq(int, the_board()->ended, N));
}

EACH_KIND(dropped, after_a_look__cancels_what_has_not_started)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, latch, items, N, .chunksize = 1);
    LET_GO(1);
    EXPECT_NEXT(iter, MP_OK, 1);
    cr_assert(SOON(the_board()->begun == 2));
    mp_iter_free(&iter);
    cr_assert(SOON(stats_of(mp_executor_pool(executor)).pending == 1), "but what runs");
    LET_ALL_GO();
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 2));
}

EVERY_KIND(dropped, by_a_shutdown_that_waits__is_run_and_can_be_read)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 2);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, mark, items, N);
    cr_assert(eq(int, mp_executor_shutdown(executor, true, false), MP_OK));
    cr_assert(eq(int, the_board()->ended, N));
    mp_executor_free(&executor);
    read_in_order(iter);
}

EACH_KIND(dropped, by_a_shutdown_that_cancels__ends_item_by_item)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, latch, items, N, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_shutdown(executor, false, true), MP_OK));
    LET_ALL_GO();
    EXPECT_NEXT(iter, MP_OK, 1);
    for (int i = 1; i < N; i++)
        EXPECT_NEXT(iter, MP_ECANCELLED, 0);
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
    cr_assert(eq(int, the_board()->begun, 1));
}

EACH_KIND(dropped, by_the_end_of_the_workers__ends_item_by_item)
{
    mp_executor *executor = OPEN_EXECUTOR(.max_workers = 1);
    fill(items, N);
    mp_iter *iter = mp_executor_map(executor, hold_or_see, items, N, .chunksize = 1);
    cr_assert(SOON(the_board()->begun == 1));
    cr_assert(eq(int, mp_executor_terminate_workers(executor), MP_OK));
    EXPECT_NEXT(iter, on_threads() ? MP_OK : MP_ETERMINATED, on_threads() ? -1 : 0);
    for (int i = 1; i < N; i++)
        EXPECT_NEXT(iter, MP_ETERMINATED, 0);
    EXPECT_END(iter);
    mp_iter_free(&iter);
    mp_executor_free(&executor);
}
