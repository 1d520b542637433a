/* imap and imap_unordered, row by row, on every kind of pool: results in their place, failures among them, waiting and looking,
 * several readers, what a refused call says, the descriptor. What concerns the input is in test_iter_input, how streams end in
 * test_iter_end. */
#include "tests/lib/kinds.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>

TestSuite(iter, .timeout = 60);
TestSuite(reading, .timeout = 60);
TestSuite(watching, .timeout = 60);

enum { N = 100 };
static int items[N], results[N];

typedef struct countdown {
    int next, end;
} countdown;

/* The same numbers as in `items`. */
static bool give_items(int *item, void *user)
{
    countdown *me = user;
    if (me->next == me->end)
        return false;
    *item = items[me->next++];
    return true;
}

typedef struct form {
    bool generated, ordered;
    int chunksize;
} form;

enum { FORMS = 12 };

static form form_of(int i)
{
    static const int sizes[] = {1, 2, 7};
    return (form){i & 1, i & 2, sizes[i / 4]};
}

static mp_iter *begin(mp_pool *pool, form f, countdown *source)
{
    *source = (countdown){0, N};
    if (f.generated && f.ordered)
        return mp_pool_imap_from(pool, fail_some, give_items, source, .chunksize = f.chunksize);
    if (f.generated)
        return mp_pool_imap_unordered_from(pool, fail_some, give_items, source, .chunksize = f.chunksize);
    if (f.ordered)
        return mp_pool_imap(pool, fail_some, items, N, .chunksize = f.chunksize);
    return mp_pool_imap_unordered(pool, fail_some, items, N, .chunksize = f.chunksize);
}

/* Each item once, in order if it is ordered, with its own status, text and index; then the end, for ever. */
static void expect_all(mp_iter *iter, form f)
{
    bool seen[N] = {false};
    size_t index = 0;
    mp_error error;
    for (int i = 0, result = 7; i < N; i++) {
        mp_status status = mp_iter_next(iter, &result, PROMPT, .index = &index, .error = &error);
        cr_assert(lt(sz, index, N), "status %d: %s", status, error.message);
        cr_assert(not(seen[index]));
        seen[index] = true;
        if (f.ordered)
            cr_assert(eq(sz, index, i));
        int item = items[index];
        cr_assert(eq(int, status, item < 0 ? MP_EUSER - item : MP_OK), "%s", error.message);
        cr_assert(eq(int, result, item < 0 ? 0 : item + 1));
        cr_assert(eq(int, error.status, status));
        cr_assert(eq(int, mp_iter_error(iter)->status, status));
        if (item < 0)
            cr_assert(says(&error, "minus ") && says(mp_iter_error(iter), "minus "), "%s", error.message);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT, .index = &index), MP_END));
        cr_assert(eq(sz, index, SIZE_MAX));
    }
}

EVERY_KIND(iter, of_every_form__gives_every_result_in_its_place)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    countdown source;
    fill(items, N);
    for (int i = 0; i < FORMS; i++) {
        mp_iter *iter = begin(pool, form_of(i), &source);
        expect_all(iter, form_of(i));
        mp_iter_free(&iter);
        cr_assert(zero(ptr, iter));
    }
    mp_pool_free(&pool);
}

EVERY_KIND(iter, with_items_that_fail__tells_each_in_its_place_and_goes_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    countdown source;
    fill(items, N);
    items[0] = -1;
    items[50] = -50;
    items[51] = -51;
    items[N - 1] = -99;
    for (int i = 0; i < FORMS; i++) {
        mp_iter *iter = begin(pool, form_of(i), &source);
        expect_all(iter, form_of(i));
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(iter, of_nothing__has_ended)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int *nothing = NULL;
    countdown source = {0, 0};
    mp_iter *array = mp_pool_imap(pool, add_one, nothing, 0);
    mp_iter *generated = mp_pool_imap_unordered_from(pool, add_one, give_items, &source);
    cr_assert(eq(int, mp_iter_next(array, results, PROMPT), MP_END));
    cr_assert(eq(int, mp_iter_next(generated, results, PROMPT), MP_END));
    cr_assert(eq(int, mp_iter_next(generated, results, 0), MP_END));
    mp_iter_free(&array);
    mp_iter_free(&generated);
    mp_pool_free(&pool);
}

EVERY_KIND(iter, tasks_without_result__tell_their_status)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, N);
    items[3] = -3;
    mp_iter *iter = mp_pool_imap(pool, fail_some, items, 5);
    for (int i = 0; i < 5; i++)
        cr_assert(eq(int, mp_iter_next(iter, NULL, PROMPT), i == 3 ? MP_EUSER + 3 : MP_OK));
    cr_assert(eq(int, mp_iter_next(iter, NULL, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* ---- waiting and looking ---- */

EACH_KIND(reading, in_vain__times_out_and_consumes_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 5);
    mp_iter *iter = mp_pool_imap(pool, hold, items, 5, .chunksize = 2);
    size_t index = 3;
    cr_assert(eq(int, mp_iter_next(iter, results, 0, .index = &index), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_iter_next(iter, results, 0.02), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_iter_next(iter, results, -1.0), MP_ETIMEDOUT));
    cr_assert(eq(int, mp_iter_next(iter, results, __builtin_nan("")), MP_ETIMEDOUT));
    the_board()->gate = 1;
    for (int i = 0, result = 0; i < 5; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, i + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* Item 0 waits at the gate, the others do not. */
static mp_status hold_first(const int *in, int *out, mp_call *call)
{
    return *in == 0 ? hold(in, out, call) : count_one(in, out, call);
}
MP_TASK(hold_first, int, int);

EACH_KIND(reading, in_order__waits_for_the_one_whose_turn_it_is)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, 10);
    mp_iter *iter = mp_pool_imap(pool, hold_first, items, 10, .chunksize = 1);
    cr_assert(SOON(the_board()->ended == 9));
    cr_assert(eq(int, mp_iter_next(iter, results, 0.02), MP_ETIMEDOUT));
    the_board()->gate = 1;
    for (int i = 0, result = 0; i < 10; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_OK));
        cr_assert(eq(int, result, i + 1));
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EACH_KIND(reading, unordered__gives_what_is_there)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, 10);
    mp_iter *iter = mp_pool_imap_unordered(pool, hold_first, items, 10, .chunksize = 1);
    size_t index;
    for (int i = 0, result = 0; i < 9; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT, .index = &index), MP_OK));
        cr_assert(ne(sz, index, 0));
        cr_assert(eq(int, result, (int)index + 1));
    }
    cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_ETIMEDOUT));
    the_board()->gate = 1;
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT, .index = &index), MP_OK));
    cr_assert(zero(sz, index));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(reading, into_room_of_another_size__is_refused_and_loses_nothing)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    double wide = 7;
    mp_iter *iter = mp_pool_imap(pool, add_one, (&(int){1}), 1);
    cr_assert(eq(int, mp_iter_next(iter, &wide, PROMPT), MP_ETYPE));
    cr_assert(eq(dbl, wide, 7));
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
    cr_assert(eq(int, results[0], 2));
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(reading, texts__are_the_readers_own)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_str texts[4];
    int sizes[4] = {0, 10, 70000, 30};
    mp_iter *iter = mp_pool_imap(pool, tell_text, sizes, 4);
    cr_assert(eq(int, mp_iter_next(iter, &texts[0], PROMPT), MP_OK));
    cr_assert(eq(int, mp_iter_next(iter, NULL, PROMPT), MP_OK), "not wanted: freed");
    cr_assert(eq(int, mp_iter_next(iter, &texts[2], PROMPT), MP_OK));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
    cr_assert(is_text(&texts[0], 0) && is_text(&texts[2], 70000));
    mp_free(mp_str, &texts[0], 1);
    mp_free(mp_str, &texts[2], 1);
}

typedef struct reader {
    pthread_t thread;
    mp_iter *iter;
    int seen[N];
    int count, wrong;
} reader;

static void *read_all(void *argument)
{
    reader *me = argument;
    for (;;) {
        int result = -1;
        size_t index = 0;
        mp_status status = mp_iter_next(me->iter, &result, PROMPT, .index = &index);
        if (status == MP_END)
            return NULL;
        me->wrong += status != MP_OK || index >= N || result != (int)index + 1;
        if (index < N)
            me->seen[index]++;
        me->count++;
        if (me->wrong)
            return NULL;
    }
}

EVERY_KIND(reading, by_two_threads__each_item_goes_to_one)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    for (int round = 0; round < ROUNDS(20); round++) {
        reader both[2] = {{.count = 0}};
        mp_iter *iter = round % 2 ? mp_pool_imap(pool, add_one, items, N, .chunksize = 3)
                                  : mp_pool_imap_unordered(pool, add_one, items, N, .chunksize = 3);
        for (int k = 0; k < 2; k++) {
            both[k].iter = iter;
            cr_assert(zero(int, pthread_create(&both[k].thread, NULL, read_all, &both[k])));
        }
        for (int k = 0; k < 2; k++)
            pthread_join(both[k].thread, NULL);
        cr_assert(zero(int, both[0].wrong + both[1].wrong));
        cr_assert(eq(int, both[0].count + both[1].count, N));
        for (int i = 0; i < N; i++)
            cr_assert(eq(int, both[0].seen[i] + both[1].seen[i], 1));
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(reading, two_streams_by_turns__do_not_mix)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    mp_iter *a = mp_pool_imap(pool, add_one, items, N), *b = mp_pool_imap(pool, fail_some, items, N);
    for (int i = 0, one = 0, other = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(a, &one, PROMPT), MP_OK));
        cr_assert(eq(int, mp_iter_next(b, &other, PROMPT), MP_OK));
        cr_assert(one == i + 1 && other == i + 1);
    }
    mp_iter_free(&a);
    mp_iter_free(&b);
    mp_pool_free(&pool);
}

/* ---- refused ---- */

static void expect_refused(mp_iter *iter, mp_status status)
{
    mp_error error;
    size_t index = 7;
    int result = 7;
    cr_assert(ne(ptr, iter, NULL));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT, .error = &error, .index = &index), status), "%s", error.message);
    cr_assert(eq(int, error.status, status));
    cr_assert(ne(chr, error.message[0], 0));
    cr_assert(zero(int, result));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    cr_assert(eq(int, mp_iter_next(iter, &result, PROMPT), MP_END));
    mp_iter_free(&iter);
}

EVERY_KIND(iter, of_a_refused_call__says_why_and_ends)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int *nothing = NULL;
    countdown source = {0, 5};
    expect_refused(mp_pool_imap(NULL, add_one, items, 5), MP_EINVAL);
    expect_refused(mp_pool_imap(pool, add_one, nothing, 5), MP_EINVAL);
    expect_refused(mp_pool_imap(pool, add_one, items, 5, .chunksize = -1), MP_EINVAL);
    expect_refused(mp_pool_imap_unordered(pool, add_one, items, 5, .buffersize = -1), MP_EINVAL);
    expect_refused(mp_pool_imap_from(NULL, add_one, give_items, &source), MP_EINVAL);
    expect_refused(mp_pool_imap_from(pool, add_one, give_items, &source, .chunksize = -1), MP_EINVAL);
    mp_pool_close(pool);
    expect_refused(mp_pool_imap(pool, add_one, items, 5), MP_ECLOSED);
    expect_refused(mp_pool_imap_from(pool, add_one, give_items, &source), MP_ECLOSED);
    mp_pool_free(&pool);
    cr_assert(zero(int, source.next), "its generator was never asked");
}

CHECK(iter, that_is_none__is_an_argument_that_is_not_valid)
{
    mp_iter *none = NULL;
    cr_assert(eq(int, mp_iter_next(none, results, 0), MP_EINVAL));
    cr_assert(eq(int, mp_iter_fd(none), -1));
    mp_iter_free(&none);
    mp_iter_free(NULL);
}

/* ---- the descriptor, progress ---- */

static bool is_readable(int fd, int milliseconds)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, milliseconds) == 1 && (look.revents & POLLIN);
}

EACH_KIND(watching, its_descriptor__polls_readable_while_next_would_not_wait)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 3);
    mp_iter *iter = mp_pool_imap(pool, hold, items, 3, .chunksize = 1);
    int fd = mp_iter_fd(iter);
    cr_assert(ge(int, fd, 0));
    cr_assert(not(is_readable(fd, 20)));
    the_board()->gate = 1;
    for (int i = 0; i < 3; i++) {
        cr_assert(is_readable(fd, PROMPT * 1000), "item %d", i);
        cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_OK));
    }
    cr_assert(is_readable(fd, PROMPT * 1000), "the end");
    cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_END));
    cr_assert(is_readable(fd, 0));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* Item 1 waits at the gate. */
static mp_status hold_second(const int *in, int *out, mp_call *call)
{
    return *in == 1 ? hold(in, out, call) : count_one(in, out, call);
}
MP_TASK(hold_second, int, int);

EACH_KIND(watching, its_descriptor__is_quiet_again_when_all_that_is_there_was_read)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    fill(items, 3);
    mp_iter *iter = mp_pool_imap(pool, hold_second, items, 3, .chunksize = 1);
    int fd = mp_iter_fd(iter);
    cr_assert(is_readable(fd, 5000));
    cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_OK));
    cr_assert(not(is_readable(fd, 20)));
    cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_ETIMEDOUT));
    the_board()->gate = 1;
    cr_assert(is_readable(fd, 5000));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static bool all_are_there(mp_pool *pool, uint64_t n)
{
    mp_pool_stats stats;
    mp_pool_get_stats(pool, &stats);
    return stats.succeeded == n;
}

/* What a reader has taken to have it at hand is there to be read, too. */
EVERY_KIND(watching, its_descriptor__asked_for_late__knows_what_was_read)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    fill(items, N);
    for (int before = 0; before <= N; before += 9) {
        mp_iter *iter = mp_pool_imap_unordered(pool, add_one, items, N, .chunksize = 1);
        cr_assert(UNTIL(PROMPT, all_are_there(pool, (uint64_t)(before / 9 + 1) * N)));
        for (int i = 0; i < before; i++)
            cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_OK));
        int fd = mp_iter_fd(iter);
        for (int i = before; i < N; i++) {
            cr_assert(is_readable(fd, 0));
            cr_assert(eq(int, mp_iter_next(iter, results, 0), MP_OK));
        }
        cr_assert(is_readable(fd, PROMPT * 1000), "the end");
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(reading, left_in_the_middle__what_was_not_read_is_thrown_away)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_str text;
    for (int i = 0; i < N; i++)
        items[i] = 10 + i;
    for (int before = 0; before < N; before += 9) {
        mp_iter *iter = mp_pool_imap(pool, tell_text, items, N, .chunksize = 1);
        cr_assert(UNTIL(PROMPT, all_are_there(pool, (uint64_t)(before / 9 + 1) * N)));
        for (int i = 0; i < before; i++) {
            cr_assert(eq(int, mp_iter_next(iter, &text, 0), MP_OK));
            cr_assert(is_text(&text, 10 + i));
            mp_free(mp_str, &text, 1);
        }
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

/* At most twice a second, written by who reads: reading goes on for a second and a half. */
CHECK(watching, progress__writes_lines_now_and_then)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    mp_pool *pool;
    cr_assert(eq(int, mp_pool_open(&pool, .kind = MP_THREADS, .processes = 1), MP_OK));
    mp_iter *iter = mp_pool_imap(pool, add_one, items, N, .progress = file);
    double begun = seconds_now();
    for (int i = 0; i < N; i++) {
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
        nap_us(15000);
    }
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
    mp_iter_free(&iter);
    double took = seconds_now() - begun;
    fclose(file);
    int lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    cr_assert(ge(int, lines, 1));
    cr_assert(le(int, lines, (int)(2 * took) + 2), "%s", text);
    cr_assert(ne(ptr, strpbrk(text, "0123456789"), NULL), "%s", text);
    cr_assert(eq(chr, text[size - 1], '\n'));
    free(text);
    mp_pool_free(&pool);
}
