/* Where the items of a stream come from: generators that end, fail, block, never end; how far they are asked ahead of the reader;
 * and when they are let go. */
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <pthread.h>
#include <string.h>

TestSuite(input, .timeout = 60);
TestSuite(bounds, .timeout = 60);
TestSuite(release, .timeout = 60);

static int results[16];

/* Gives 0, 1, 2, ... and notices how it is asked. Zero: never. */
typedef struct source {
    int end, fail; /* AFTER(n) items */
    int block;     /* AFTER(n) items it waits for the board's gate */
    int next;
    _Atomic int asked, released, thread, inside, overlaps;
    _Atomic int read; /* how many results the reader has asked for */
    int ahead, far;   /* the bound, and how often it was passed */
} source;

#define AFTER(n) ((n) + 1)

static mp_status ask(int *item, void *user, mp_error *error)
{
    source *me = user;
    me->thread = (int)gettid();
    me->overlaps += me->inside++ != 0;
    me->asked++;
    me->far += me->ahead && me->asked > me->read + me->ahead;
    while (AFTER(me->next) == me->block && !the_board()->gate)
        nap_us(200);
    mp_status status = MP_OK;
    if (AFTER(me->next) == me->fail)
        status = mp_error_set(error, (mp_status)(MP_EUSER + 77), "line %d is torn", me->next);
    else if (AFTER(me->next) == me->end)
        status = MP_END;
    else
        *item = me->next++;
    me->inside--;
    return status;
}

static void let_go(void *user)
{
    ((source *)user)->released++;
}

static mp_iter *begin(mp_pool *pool, bool ordered, int chunksize, source *from)
{
    return ordered ? mp_pool_imap_from(pool, add_one, ask, from, .chunksize = chunksize)
                   : mp_pool_imap_unordered_from(pool, add_one, ask, from, .chunksize = chunksize);
}

static mp_status tell_item(const mp_bytes *in, int *out, mp_call *call)
{
    (void)in;
    *out = (int)mp_call_item(call);
    return MP_OK;
}
MP_TASK(tell_item, mp_bytes, int);

EVERY_KIND(input, one_item_cannot_be_copied__those_behind_it_keep_their_numbers)
{
    mp_bytes items[5] = {{"a", 1}, {NULL, 7}, {"c", 1}, {NULL, 7}, {"e", 1}};
    mp_pool *pool = OPEN_POOL(.processes = 2);
    mp_iter *iter = mp_pool_imap(pool, tell_item, items, 5);
    for (int i = 0; i < 5; i++) {
        int told = -1;
        size_t index = 0;
        mp_status status = mp_iter_next(iter, &told, PROMPT, .index = &index);
        cr_assert(eq(sz, index, (size_t)i));
        cr_assert(eq(int, status, items[i].data ? MP_OK : MP_EINVAL), "%s", mp_iter_error(iter)->message);
        if (status == MP_OK)
            cr_assert(eq(int, told, i));
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* Reads to the end: how many results came; the failure of the input, if there is one, is behind them. */
static int read_to_end(mp_iter *iter, mp_status *failure, mp_error *error)
{
    int count = 0;
    *failure = MP_OK;
    for (;;) {
        mp_error why;
        size_t index = 0;
        int result;
        mp_status status = mp_iter_next(iter, &result, PROMPT, .index = &index, .error = &why);
        if (status == MP_END)
            return count;
        cr_assert(eq(int, *failure, MP_OK), "something comes behind the failure of the input");
        if (status == MP_OK) {
            cr_assert(eq(int, result, (int)index + 1));
            count++;
            continue;
        }
        cr_assert(eq(sz, index, SIZE_MAX));
        *failure = status;
        *error = why;
    }
}

/* ---- ends and fails ---- */

EVERY_KIND(input, that_ends_at_any_point__ends_the_stream_there)
{
    static const int ends[] = {0, 1, 2, 6, 7, 8, 50};
    static const int sizes[] = {1, 2, 7};
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int i = 0; i < 42; i++) {
        source from = {.end = AFTER(ends[i % 7])};
        mp_status failure;
        mp_error error;
        mp_iter *iter = begin(pool, i >= 21, sizes[i / 7 % 3], &from);
        cr_assert(eq(int, read_to_end(iter, &failure, &error), ends[i % 7]));
        cr_assert(eq(int, failure, MP_OK));
        mp_iter_free(&iter);
        cr_assert(eq(int, from.asked, ends[i % 7] + 1), "it is not asked again when it has ended");
        cr_assert(zero(int, from.overlaps));
    }
    mp_pool_free(&pool);
}

EVERY_KIND(input, that_fails_at_any_point__is_told_behind_what_came_before)
{
    static const int ends[] = {0, 1, 2, 6, 7, 8, 50};
    static const int sizes[] = {1, 2, 7};
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int i = 0; i < 42; i++) {
        source from = {.fail = AFTER(ends[i % 7])};
        mp_status failure;
        mp_error error;
        char text[32];
        mp_iter *iter = begin(pool, i >= 21, sizes[i / 7 % 3], &from);
        cr_assert(eq(int, read_to_end(iter, &failure, &error), ends[i % 7]));
        cr_assert(eq(int, failure, MP_EUSER + 77));
        snprintf(text, sizeof text, "line %d is torn", ends[i % 7]);
        cr_assert(says(&error, text), "%s", error.message);
        cr_assert(eq(int, from.asked, ends[i % 7] + 1), "it is not asked again when it has failed");
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(input, is_asked__on_a_thread_that_is_neither_the_readers_nor_a_workers)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    int zero_item = 0, worker;
    source from = {.end = AFTER(10)};
    mp_status failure;
    mp_error error;
    cr_assert(eq(int, mp_pool_apply(pool, tell_worker, &zero_item, &worker), MP_OK));
    mp_iter *iter = begin(pool, true, 1, &from);
    cr_assert(eq(int, read_to_end(iter, &failure, &error), 10));
    cr_assert(ne(int, from.thread, 0));
    cr_assert(ne(int, from.thread, gettid()));
    cr_assert(ne(int, from.thread, worker));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* One buffer for all items, as getline(3) has it. */
typedef struct lines {
    int next;
    char *buffer;
} lines;

static bool next_line(mp_str *line, void *user)
{
    lines *me = user;
    free(me->buffer);
    me->buffer = NULL;
    if (me->next == 50)
        return false;
    me->buffer = malloc(20);
    line->size = (size_t)snprintf(me->buffer, 20, "line %d", me->next++);
    line->data = me->buffer;
    return true;
}

static mp_status read_number(const mp_str *in, int *out, mp_call *call)
{
    board_begin(call);
    while (!the_board()->gate)
        nap_us(200);
    return sscanf(in->data, "line %d", out) == 1 ? MP_OK : MP_EFAILED;
}
MP_TASK(read_number, mp_str, int);

EVERY_KIND(input, item__is_copied_when_the_generator_returns)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    lines from = {0, NULL};
    mp_iter *iter = mp_pool_imap_from(pool, read_number, next_line, &from, .chunksize = 3);
    cr_assert(SOON(the_board()->begun >= 1));
    the_board()->gate = 1;
    for (int i = 0, number = -1; i < 50; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &number, PROMPT), MP_OK));
        cr_assert(eq(int, number, i));
    }
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(input, that_blocks__delays_nothing_else)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {.end = AFTER(10), .block = AFTER(3)};
    mp_iter *iter = begin(pool, true, 1, &from);
    for (int i = 0; i < 3; i++)
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK), "what came before it is there");
    cr_assert(SOON(from.inside));
    cr_assert(eq(int, mp_iter_next(iter, results, 0.02), MP_ETIMEDOUT));
    int item = 41, result = 0;
    cr_assert(eq(int, mp_pool_apply(pool, add_one, &item, &result), MP_OK));
    mp_async *async = mp_pool_apply_async(pool, add_one, &item);
    cr_assert(eq(int, mp_async_get(async, &result, PROMPT), MP_OK));
    source other_source = {.end = AFTER(20)};
    mp_status failure;
    mp_error error;
    mp_iter *other = begin(pool, false, 2, &other_source);
    cr_assert(eq(int, read_to_end(other, &failure, &error), 20));
    the_board()->gate = 1;
    cr_assert(eq(int, read_to_end(iter, &failure, &error), 7));
    mp_async_free(&async);
    mp_iter_free(&iter);
    mp_iter_free(&other);
    mp_pool_free(&pool);
}

EVERY_KIND(input, that_blocks__delays_no_terminate)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {.end = AFTER(10), .block = AFTER(3)};
    mp_iter *iter = begin(pool, true, 1, &from);
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
    cr_assert(SOON(from.inside && from.asked == 4));
    cr_assert(eq(int, mp_pool_terminate(pool), MP_OK));
    mp_status status = MP_OK;
    for (int i = 0; i < 5 && status != MP_END; i++) {
        status = mp_iter_next(iter, results, PROMPT);
        cr_assert(status == MP_OK || status == MP_ETERMINATED || status == MP_END, "status %d", status);
    }
    cr_assert(eq(int, status, MP_END), "while it still blocks");
    the_board()->gate = 1;
    mp_iter_free(&iter);
    cr_assert(eq(int, mp_pool_join(pool, PROMPT), MP_OK));
    mp_pool_free(&pool);
}

/* ---- from inside a generator ---- */

typedef struct insider {
    mp_pool *pool;
    _Atomic int status, done;
    void (*act)(struct insider *);
} insider;

/* One item, then what it is to do, then the end. */
static bool act_inside(int *item, void *user)
{
    insider *me = user;
    if (me->done++ == 0) {
        *item = 1;
        return true;
    }
    me->act(me);
    return false;
}

static void map_in_generator(insider *me)
{
    int item = 1, result = 0;
    me->status = (int)mp_pool_map(me->pool, add_one, &item, 1, &result);
}

static void join_in_generator(insider *me)
{
    mp_pool_close(me->pool);
    me->status = (int)mp_pool_join(me->pool, PROMPT);
}

static void free_in_generator(insider *me)
{
    mp_pool_free(&me->pool);
}

static mp_status play(insider *me, void (*act)(insider *))
{
    *me = (insider){.pool = OPEN_POOL(.processes = 1), .act = act};
    mp_iter *iter = mp_pool_imap_from(me->pool, add_one, act_inside, me);
    cr_assert(SOON(me->done == 2));
    mp_status status;
    do
        status = mp_iter_next(iter, results, PROMPT);
    while (status == MP_OK || status == MP_ETERMINATED);
    mp_iter_free(&iter);
    return status;
}

EVERY_KIND(input, that_uses_its_pool__works)
{
    insider me;
    cr_assert(eq(int, play(&me, map_in_generator), MP_END));
    cr_assert(eq(int, me.status, MP_OK));
    close_join_free(&me.pool);
}

EVERY_KIND(input, that_joins_its_pool__is_refused)
{
    insider me;
    cr_assert(eq(int, play(&me, join_in_generator), MP_END));
    cr_assert(eq(int, me.status, MP_EDEADLK));
    cr_assert(eq(int, mp_pool_join(me.pool, PROMPT), MP_OK));
    mp_pool_free(&me.pool);
}

EVERY_KIND(input, that_frees_its_pool__ends_it_afterwards)
{
    insider me;
    cr_assert(eq(int, play(&me, free_in_generator), MP_END));
    cr_assert(zero(ptr, me.pool));
}

/* ---- how far ahead ---- */

EVERY_KIND(bounds, generator__is_asked_at_most_buffersize_ahead_of_the_reader)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int ordered = 0; ordered < 2; ordered++) {
        source from = {.end = AFTER(500), .ahead = 10};
        mp_iter *iter = ordered ? mp_pool_imap_from(pool, add_one, ask, &from, .chunksize = 1, .buffersize = 10)
                                : mp_pool_imap_unordered_from(pool, add_one, ask, &from, .chunksize = 1, .buffersize = 10);
        cr_assert(SOON(from.asked == 10), "asked %d times", from.asked);
        nap_us(20000); /* time to go too far */
        cr_assert(eq(int, from.asked, 10));
        for (int i = 0; i < 500; i++) {
            from.read++;
            cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
        }
        from.read++;
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_END));
        cr_assert(zero(int, from.far), "%d times too far ahead", from.far);
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(bounds, buffersize_of_few_or_less_than_a_chunk__works)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    for (int i = 0; i < 9; i++) {
        source from = {.end = AFTER(50)};
        mp_status failure;
        mp_error error;
        mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .chunksize = i / 3 * 3 + 1, .buffersize = i % 3 + 1);
        cr_assert(eq(int, read_to_end(iter, &failure, &error), 50));
        mp_iter_free(&iter);
    }
    mp_pool_free(&pool);
}

EVERY_KIND(bounds, one_byte__still_lets_one_item_through)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int sizes[20];
    for (int i = 0; i < 20; i++)
        sizes[i] = 1000 * i;
    mp_iter *iter = mp_pool_imap(pool, tell_text, sizes, 20, .bufferbytes = 1);
    for (int i = 0; i < 20; i++) {
        mp_str text;
        cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_OK));
        cr_assert(is_text(&text, (size_t)sizes[i]));
        mp_free(mp_str, &text, 1);
    }
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static mp_status count_text(const int *in, mp_str *out, mp_call *call)
{
    board_begin(call);
    return tell_text(in, out, call);
}
MP_TASK(count_text, int, mp_str);

static bool ask_large(int *item, void *user)
{
    ((source *)user)->asked++;
    *item = 100000;
    return true;
}

/* Twice what 1 MiB holds, for what was under way before the first result told how large they are. */
EVERY_KIND(bounds, bytes__hold_back_an_endless_generator)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    mp_str text;
    mp_iter *iter = mp_pool_imap_from(pool, count_text, ask_large, &from, .bufferbytes = 1 << 20);
    for (int i = 0; i < 100; i++) {
        cr_assert(eq(int, mp_iter_next(iter, &text, PROMPT), MP_OK));
        mp_free(mp_str, &text, 1);
    }
    int before = -1;
    cr_assert(UNTIL(10, __extension__({
                        bool still = before == the_board()->begun;
                        before = the_board()->begun;
                        nap_us(20000);
                        still;
                    })));
    cr_assert(le(int, before - 100, 20), "%d items of 100 kB are unread", before - 100);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

EVERY_KIND(bounds, endless_generator__takes_no_more_memory_as_it_goes_on)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    int n = ROUNDS(200000);
    long early = 0;
    mp_iter *iter = mp_pool_imap_unordered_from(pool, add_one, ask, &from);
    for (int i = 0; i < n; i++) {
        if (i == n / 10)
            early = proc_resident_kib(getpid());
        cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
    }
    long late = proc_resident_kib(getpid());
    cr_assert(lt(long, late - early, 4096L * (ROUNDS_SLOWER > 1 ? 8 : 1)), "%ld KiB, then %ld KiB", early, late);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

static mp_status nap_and_add(const int *in, int *out, mp_call *call)
{
    nap_us(500);
    return add_one(in, out, call);
}
MP_TASK(nap_and_add, int, int);

static void *read_on(void *iter)
{
    int result;
    while (mp_iter_next(iter, &result, PROMPT) == MP_OK)
        ;
    return NULL;
}

/* Its input comes faster than it is worked off, and is read as fast. */
EACH_KIND(bounds, endless_stream__does_not_keep_others_from_being_served)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    pthread_t reader;
    mp_iter *iter = mp_pool_imap_unordered_from(pool, nap_and_add, ask, &from, .buffersize = 64);
    cr_assert(eq(int, pthread_create(&reader, NULL, read_on, iter), 0));
    for (int i = 0; i < 5; i++) {
        int items[20] = {i}, out[20];
        cr_assert(eq(int, mp_pool_map(pool, nap_and_add, items, 20, out), MP_OK));
        cr_assert(eq(int, out[0], i + 1));
    }
    int one = 1;
    cr_assert(eq(int, mp_pool_broadcast(pool, add_one, &one, results, 2, .deadline = PROMPT), MP_OK), "each has its part");
    mp_pool_terminate(pool);
    pthread_join(reader, NULL);
    mp_iter_free(&iter);
    mp_pool_free(&pool);
}

/* ---- left early, let go ---- */

EACH_KIND(release, leaving_early__cancels_what_has_not_started)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    int items[100] = {0};
    mp_iter *iter = mp_pool_imap(pool, hold_or_see, items, 100, .chunksize = 5);
    cr_assert(SOON(the_board()->begun == 2));
    mp_iter_free(&iter);
    cr_assert(SOON(the_board()->ended == 2), "what runs can see it");
    cr_assert(SOON(stats_of(pool).pending == 0));
    cr_assert(eq(int, mp_pool_apply(pool, add_one, items, results), MP_OK));
    close_join_free(&pool);
    cr_assert(eq(int, the_board()->begun, 2));
}

EVERY_KIND(release, stream_is_read_to_its_end__once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {.end = AFTER(30)};
    mp_status failure;
    mp_error error;
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .release = let_go);
    cr_assert(eq(int, read_to_end(iter, &failure, &error), 30));
    cr_assert(SOON(from.released == 1));
    mp_iter_free(&iter);
    mp_pool_free(&pool);
    cr_assert(eq(int, from.released, 1));
}

EVERY_KIND(release, stream_is_left_early__once)
{
    mp_pool *pool = OPEN_POOL(.processes = 2);
    source from = {0};
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .release = let_go);
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
    mp_iter_free(&iter);
    cr_assert(SOON(from.released == 1));
    int asked = from.asked;
    mp_pool_free(&pool);
    cr_assert(eq(int, from.released, 1));
    cr_assert(eq(int, from.asked, asked), "never asked again");
}

EVERY_KIND(release, call_is_refused__once)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {.end = AFTER(3)}, other = {.end = AFTER(3)};
    mp_iter *wrong = mp_pool_imap_from(pool, add_one, ask, &from, .release = let_go, .chunksize = -1);
    mp_pool_close(pool);
    mp_iter *late = mp_pool_imap_unordered_from(pool, add_one, ask, &other, .release = let_go);
    cr_assert(eq(int, mp_iter_next(wrong, results, 0), MP_EINVAL));
    mp_iter_free(&wrong);
    mp_iter_free(&late);
    cr_assert(eq(int, from.released, 1));
    cr_assert(eq(int, other.released, 1));
    cr_assert(zero(int, from.asked + other.asked));
    mp_pool_free(&pool);
}

EVERY_KIND(release, pool_is_terminated__once)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {0};
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .release = let_go);
    cr_assert(eq(int, mp_iter_next(iter, results, PROMPT), MP_OK));
    mp_pool_terminate(pool);
    cr_assert(SOON(from.released == 1), "before the stream is freed");
    mp_iter_free(&iter);
    mp_pool_free(&pool);
    cr_assert(eq(int, from.released, 1));
}

EVERY_KIND(release, generator_blocks__free_does_not_wait_for_it)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    source from = {.end = AFTER(10), .block = AFTER(2)};
    mp_iter *iter = mp_pool_imap_from(pool, add_one, ask, &from, .release = let_go);
    cr_assert(SOON(from.asked == 3));
    mp_iter_free(&iter);
    cr_assert(zero(int, from.released), "it is inside still");
    the_board()->gate = 1;
    cr_assert(SOON(from.released == 1));
    mp_pool_free(&pool);
    cr_assert(eq(int, from.asked, 3));
}

EVERY_KIND(release, is_not_given__free_waits_for_the_generator)
{
    mp_pool *pool = OPEN_POOL(.processes = 1);
    for (int round = 0; round < ROUNDS(50); round++) {
        source *from = malloc(sizeof *from);
        *from = (source){0};
        mp_iter *iter = begin(pool, true, 0, from);
        nap_us(round * 10);
        mp_iter_free(&iter);
        spoil(from, sizeof *from);
        free(from); /* who still asked it would be seen */
    }
    mp_pool_free(&pool);
}
