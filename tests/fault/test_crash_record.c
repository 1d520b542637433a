/* What is known of an item that crashed or failed in a pool, by way of the public calls alone. */
#include "tests/lib/check.h"
#include "tests/lib/methods.h"
#include <millpond.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(crash_record, .timeout = 60);

typedef struct {
    int number;
    mp_str name;
} question;
MP_TYPE(question, number, name);

static volatile int sink;
static volatile uintptr_t nowhere = 0x128;
enum { LINE_OF_CRASH = __LINE__ + 5 };

__attribute__((noinline, no_sanitize("undefined", "address", "thread"))) static void read_nothing(void)
{
    sink++;
    sink += *(volatile int *)nowhere; // NOLINT(performance-no-int-to-ptr)
    sink++;
}

static mp_status answer(const question *in, int *out, mp_call *call)
{
    if (in->number == 1)
        read_nothing();
    if (in->number == 2)
        return mp_fail(call, MP_EFAILED, "two is no good");
    *out = in->number;
    return MP_OK;
}
MP_TASK(answer, question, int);

/* The record of item 3 of 5; given. */
static const mp_record *record_of(int number, mp_start_method method)
{
    question items[5] = {{0}};
    int results[5];
    mp_pool *pool;
    mp_error error;
    items[3] = (question){number, mp_str_of("why")};
    cr_assert(eq(int, mp_pool_open(&pool, .processes = 2, .start_method = method), MP_OK));
    cr_assert(ne(int, mp_pool_map(pool, answer, items, 5, results, .error = &error), MP_OK));
    mp_pool_free(&pool);
    cr_assert(eq(sz, error.item, 3));
    const mp_record *record = mp_error_record(&error);
    cr_assert(ne(ptr, (void *)record, NULL));
    cr_assert_eq(record->error.status, error.status);
    cr_assert(eq(int, record->error.attempt, 1));
    cr_assert(record->input_size == 6 && !memcmp(record->input, number == 1 ? "\x92\x01\xa3why" : "\x92\x02\xa3why", 6));
    cr_assert(record->at_open == (method == MP_FORK) && record->error.pid > 0 && record->when.tv_sec > 0);
    return record;
}

CHECK_METHODS(crash_record, task_crashes__record_knows_where)
{
    const mp_record *record = record_of(1, method);
    char expected[64], text[4096];
    if (CHECK_ASAN + CHECK_TSAN == 0) { /* these write of a crash themselves, and exit */
        cr_assert(eq(int, record->error.signal, SIGSEGV));
        cr_assert(record->has_address && record->address == 0x128);
        snprintf(expected, sizeof expected, "#0 read_nothing at test_crash_record.c:%d (", LINE_OF_CRASH);
        const char *backtrace = mp_record_backtrace(record);
        cr_assert(strncmp(backtrace, expected, strlen(expected)) == 0, "%s", backtrace);
        const char *second = strstr(backtrace, "\n#1 answer at test_crash_record.c:");
        cr_assert(second && strchr(second + 1, '\n')[1] == 0, "%s", backtrace);
        mp_record_format(record, text, sizeof text);
        cr_assert(strstr(text, "    input: [1, \"why\"] (6 bytes)\n") != NULL, "%s", text);
        cr_assert(strstr(text, "    #0 read_nothing at") != NULL, "%s", text);
    }
    mp_record_free(&record);
}

CHECK_METHODS(crash_record, task_fails__record_has_input_and_no_backtrace)
{
    const mp_record *record = record_of(2, method);
    cr_assert(eq(str, (char *)record->error.message, "two is no good"));
    cr_assert(eq(str, (char *)mp_record_backtrace(record), ""));
    mp_record_free(&record);
}
