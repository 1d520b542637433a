/* A task that fails fails its item: with its status, its text, its index and its worker, and no other item with it. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include <millpond.h>
#include <stdio.h>

TestSuite(fail, .timeout = 60);

enum { N = 100, CHUNK = 20 };

/* What item i does: an order of a test's own. */
typedef enum conduct {
    SUCCEED,
    FAIL,           /* MP_EUSER + 7, "item I says no" */
    FAIL_WITH_OK,   /* mp_fail(call, MP_OK, ...) */
    FAIL_EMPTY,     /* mp_fail with an empty text */
    RETURN_STATUS,  /* MP_ERANGE, without mp_fail */
    FAIL_LONG,      /* a text of 10,000 bytes */
    FAIL_LONG_UTF8, /* one of two-byte characters, one of which stands across the cut */
    FAIL_BAD_UTF8,
    FAIL_LATE,     /* as FAIL, after the gate has opened */
    FAIL_AND_OPEN, /* as FAIL, and opens the gate */
    FAIL_PERCENT   /* a text with format characters in an argument */
} conduct;

static mp_status fail_long(mp_call *call, const char *unit)
{
    static char text[10001];
    size_t size = strlen(unit);
    text[0] = 'a'; /* so that pairs of bytes do not stand on even places */
    for (size_t i = 1; i + size < sizeof text; i += size)
        memcpy(text + i, unit, size);
    return mp_fail(call, MP_EUSER, "%s", text);
}

static mp_status fail_somehow(const int *in, int *out, mp_call *call)
{
    int item = (int)mp_call_item(call);
    *out = 1000 + item;
    switch ((conduct)*in) {
    case SUCCEED: return MP_OK;
    case FAIL: break;
    case FAIL_WITH_OK: return mp_fail(call, MP_OK, "it was %s", "not OK");
    case FAIL_EMPTY: return mp_fail(call, MP_EUSER, "%s", "");
    case RETURN_STATUS: return MP_ERANGE;
    case FAIL_LONG: return fail_long(call, "0123456789");
    case FAIL_LONG_UTF8: return fail_long(call, "é");
    case FAIL_BAD_UTF8: return mp_fail(call, MP_EUSER, "bad \xff\xc3( bytes");
    case FAIL_LATE:
        while (!tally->gate)
            usleep(200);
        usleep(20000); /* so that the other failure is likely to be known first: right either way */
        break;
    case FAIL_AND_OPEN: tally->gate = 1; break;
    case FAIL_PERCENT: return mp_fail(call, MP_EUSER, "%s", "100%s %n %d");
    }
    return mp_fail(call, (mp_status)(MP_EUSER + 7), "item %d says no", item);
}
MP_TASK(fail_somehow, int, int);

typedef struct outcome {
    mp_status status;
    mp_error error;
    int results[N];
    mp_status statuses[N];
    mp_error errors[N];
} outcome;

/* Maps over `how`, by chunks of 20. Checks what is so of every map: items that were to succeed did, the others have a status,
 * an error that names them, and a zeroed result; and the call's error is that of the first of them. */
static void map_all(outcome *o, const int items[N], int processes)
{
    mp_pool *pool;
    spoil(o, sizeof *o);
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes), MP_OK));
    o->status = mp_pool_map(pool, fail_somehow, items, N, o->results, .chunksize = CHUNK, .statuses = o->statuses,
                            .errors = o->errors, .error = &o->error);
    size_t first = N;
    for (size_t i = 0; i < N; i++) {
        const mp_error *error = &o->errors[i];
        cr_assert(eq(int, o->statuses[i] == MP_OK, items[i] == SUCCEED), "item %zu", i);
        cr_assert(eq(int, error->status, o->statuses[i]), "item %zu", i);
        if (items[i] == SUCCEED) {
            cr_assert(eq(int, o->results[i], 1000 + (int)i));
            cr_assert(is_zero(error, sizeof *error));
            continue;
        }
        first = first < i ? first : i;
        cr_assert(zero(int, o->results[i]), "item %zu", i);
        cr_assert(eq(sz, error->item, i));
        cr_assert(eq(str, (char *)error->task, "fail_somehow"));
        cr_assert(error->worker >= 0 && error->worker < processes);
        cr_assert(gt(int, error->pid, 0));
        cr_assert(ne(int, error->pid, getpid()));
        cr_assert(zero(int, error->signal));
        cr_assert(eq(int, error->exit_code, -1), "the worker did not exit");
        cr_assert(zero(int, error->os_error));
    }
    cr_assert(lt(sz, first, N));
    cr_assert(zero(int, memcmp(&o->error, &o->errors[first], sizeof o->error)), "the call's error is the first item's");
    cr_assert(eq(int, o->status, o->statuses[first]));
    mp_pool_free(&pool);
}

static outcome one;

static const mp_error *map_with_one(conduct how)
{
    int items[N] = {0};
    items[37] = how;
    map_all(&one, items, 2);
    return &one.errors[37];
}

CHECK(fail, one_item__has_status_text_index_and_worker)
{
    const mp_error *error = map_with_one(FAIL);
    char text[600];
    cr_assert(eq(int, error->status, MP_EUSER + 7));
    cr_assert(eq(str, (char *)error->message, "item 37 says no"));
    mp_error_format(error, text, sizeof text);
    cr_assert(ne(ptr, strstr(text, "fail_somehow: item 37: item 37 says no (worker "), NULL), "%s", text);
}

CHECK(fail, with_mp_ok__is_failed)
{
    const mp_error *error = map_with_one(FAIL_WITH_OK);
    cr_assert(eq(int, error->status, MP_EFAILED));
    cr_assert(eq(str, (char *)error->message, "it was not OK"));
}

CHECK(fail, empty_text__gets_one)
{
    const mp_error *error = map_with_one(FAIL_EMPTY);
    cr_assert(eq(int, error->status, MP_EUSER));
    cr_assert(gt(sz, strlen(error->message), 0));
}

CHECK(fail, status_without_a_text__gets_one)
{
    const mp_error *error = map_with_one(RETURN_STATUS);
    cr_assert(eq(int, error->status, MP_ERANGE));
    cr_assert(says(error, "MP_ERANGE"), "%s", error->message);
    cr_assert(says(error, "mp_fail"), "it says how to give one: %s", error->message);
}

CHECK(fail, very_long_text__is_cut)
{
    const mp_error *error = map_with_one(FAIL_LONG);
    cr_assert(eq(int, error->status, MP_EUSER));
    cr_assert(eq(sz, strnlen(error->message, sizeof error->message), MP_MESSAGE_MAX - 1));
    cr_assert(zero(int, memcmp(error->message, "a01234567890123456789", 21)));
}

CHECK(fail, very_long_text_of_two_byte_characters__is_cut_at_a_whole_one)
{
    const mp_error *error = map_with_one(FAIL_LONG_UTF8);
    size_t length = strnlen(error->message, sizeof error->message);
    cr_assert(ge(sz, length, MP_MESSAGE_MAX - 3));
    cr_assert(eq(sz, length % 2, 1), "an a, then pairs");
    cr_assert(eq(int, (unsigned char)error->message[length - 1], 0xa9));
}

CHECK(fail, text_that_is_not_utf8__arrives)
{
    const mp_error *error = map_with_one(FAIL_BAD_UTF8);
    cr_assert(eq(int, error->status, MP_EUSER));
    cr_assert(says(error, "bad "), "%s", error->message);
    cr_assert(says(error, " bytes"), "%s", error->message);
}

CHECK(fail, text_with_percent_signs__is_not_read_as_a_format)
{
    cr_assert(eq(str, (char *)map_with_one(FAIL_PERCENT)->message, "100%s %n %d"));
}

CHECK(fail, several_items__the_call_tells_the_first)
{
    int items[N] = {0};
    items[12] = items[13] = items[40] = items[99] = FAIL;
    map_all(&one, items, 3);
    cr_assert(eq(sz, one.error.item, 12));
    cr_assert(eq(str, (char *)one.error.message, "item 12 says no"));
    cr_assert(eq(str, (char *)one.errors[99].message, "item 99 says no"));
}

CHECK(fail, later_item_fails_earlier__the_call_tells_the_first)
{
    int items[N] = {0};
    ledger_open(0);
    items[3] = FAIL_LATE;
    items[90] = FAIL_AND_OPEN;
    map_all(&one, items, 2);
    cr_assert(eq(sz, one.error.item, 3));
    ledger_close();
}

CHECK(fail, first_and_last_of_each_chunk__the_rest_succeed)
{
    int items[N];
    for (int i = 0; i < N; i++)
        items[i] = i % CHUNK == 0 || i % CHUNK == CHUNK - 1 ? FAIL : SUCCEED;
    map_all(&one, items, 2);
}

CHECK(fail, all_items__each_has_its_own_text)
{
    int items[N];
    for (int i = 0; i < N; i++)
        items[i] = FAIL;
    map_all(&one, items, 3);
    for (int i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof text, "item %d says no", i);
        cr_assert(eq(str, (char *)one.errors[i].message, text));
    }
}

CHECK(fail, every_kind_at_once__each_has_its_own)
{
    int items[N] = {0};
    ledger_open(0);
    for (int i = 0; i < N; i++)
        items[i] = i % 11;
    map_all(&one, items, 2);
    ledger_close();
}

/* 100,000 failures with long texts: far more than any buffer on the way holds. */
CHECK(fail, very_many_long_texts__all_arrive)
{
    size_t n = ROUNDS(100000);
    int *items = malloc(n * sizeof *items), *results = malloc(n * sizeof *results);
    mp_status *statuses = malloc(n * sizeof *statuses);
    mp_pool *pool;
    mp_error error;
    for (size_t i = 0; i < n; i++)
        items[i] = FAIL_LONG;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    cr_assert(eq(int, mp_pool_map(pool, fail_somehow, items, n, results, .statuses = statuses, .error = &error), MP_EUSER));
    cr_assert(zero(sz, error.item));
    for (size_t i = 0; i < n; i++)
        cr_assert(eq(int, statuses[i], MP_EUSER));
    mp_pool_free(&pool);
    free(items);
    free(results);
    free(statuses);
}

CHECK(fail, apply__tells_it)
{
    int item = FAIL, result = 5;
    mp_pool *pool;
    mp_error error;
    mp_status status;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 1), MP_OK));
    cr_assert(
        eq(int, mp_pool_apply(pool, fail_somehow, &item, &result, .statuses = &status, .error = &error), MP_EUSER + 7));
    cr_assert(eq(int, status, MP_EUSER + 7));
    cr_assert(eq(str, (char *)error.message, "item 0 says no"));
    cr_assert(zero(int, result));
    mp_pool_free(&pool);
}

CHECK(fail, pool_afterwards__works)
{
    int items[N] = {0}, results[N];
    mp_pool *pool;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2), MP_OK));
    for (int round = 0; round < ROUNDS(50); round++) {
        items[round % N] = FAIL;
        cr_assert(eq(int, mp_pool_map(pool, fail_somehow, items, N, results), MP_EUSER + 7));
        items[round % N] = SUCCEED;
        cr_assert(eq(int, mp_pool_map(pool, fail_somehow, items, N, results), MP_OK));
    }
    mp_pool_free(&pool);
}
