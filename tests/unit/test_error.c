/* How errors read. */
#include "tests/lib/check.h"
#include <fcntl.h>
#include <millpond.h>
#include <string.h>
#include <unistd.h>

TestSuite(error, .timeout = 60);

static const mp_error full = {.status = MP_EINVAL,
                              .item = 17,
                              .worker = 3,
                              .pid = 4711,
                              .exit_code = -1,
                              .task = "integrate",
                              .message = "steps must be positive, got 0"};

static bool reads(mp_error error, const char *expected)
{
    char text[1024];
    size_t length = mp_error_format(&error, text, sizeof text);
    if (strcmp(text, expected) != 0)
        cr_log_error("%s", text);
    return !strcmp(text, expected) && length == strlen(expected);
}

CHECK(error, format__all_parts__stand_in_their_order)
{
    cr_assert(reads(full, "integrate: item 17: steps must be positive, got 0 (worker 3)"));
}

CHECK(error, format__parts_that_are_not_there__are_left_out)
{
    mp_error error = full;
    error.worker = MP_NO_WORKER;
    cr_assert(reads(error, "integrate: item 17: steps must be positive, got 0"));
    error.item = MP_NO_ITEM;
    cr_assert(reads(error, "integrate: steps must be positive, got 0"));
    error.task[0] = 0;
    cr_assert(reads(error, "steps must be positive, got 0"));
    error.message[0] = 0;
    cr_assert(reads(error, "an argument is not valid"));
    error.item = 0;
    error.worker = 0;
    cr_assert(reads(error, "item 0: an argument is not valid (worker 0)"));
    cr_assert(reads((mp_error){0}, "success"));
}

CHECK(error, format__no_error__reads_as_one_that_is_none)
{
    char text[32];
    cr_assert_eq(mp_error_format(NULL, text, sizeof text), strlen("success"));
    cr_assert_str_eq(text, "success");
    mp_perror(NULL);
}

CHECK(error, format__longest_parts__are_whole)
{
    mp_error error = full;
    memset(error.task, 't', MP_NAME_MAX - 1);
    memset(error.message, 'm', MP_MESSAGE_MAX - 1);
    error.item = SIZE_MAX - 1;
    error.worker = INT32_MAX;
    char text[1024];
    size_t length = mp_error_format(&error, text, sizeof text);
    cr_assert_eq(length, strlen(text));
    cr_assert_str_eq(text + length - strlen(" (worker 2147483647)"), " (worker 2147483647)");
}

CHECK(error, format__too_small_a_buffer__gets_whole_characters)
{
    mp_error error = {.status = MP_EFAILED,
                      .item = MP_NO_ITEM,
                      .worker = MP_NO_WORKER,
                      .message = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"};
    static const size_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    cr_assert_eq(mp_error_format(&error, NULL, 0), 11);
    for (size_t size = 1; size <= sizeof kept / sizeof kept[0]; size++) {
        char *text = malloc(size);
        cr_assert_eq(mp_error_format(&error, text, size), 11);
        cr_assert_eq(strlen(text), kept[size - 1], "%zu", size);
        cr_assert_eq(memcmp(text, error.message, strlen(text)), 0);
        free(text);
    }
}

CHECK(error, perror__whatever_the_message__writes_one_line)
{
    mp_error error = full;
    int pipes[2], before = dup(STDERR_FILENO);
    char text[1024] = "";
    (void)strcpy(error.message, "one\ntwo\r\n");
    cr_assert_eq(pipe(pipes), 0);
    cr_assert(dup2(pipes[1], STDERR_FILENO) >= 0);
    mp_perror(&error);
    cr_assert(dup2(before, STDERR_FILENO) >= 0);
    (void)close(before);
    (void)close(pipes[1]);
    cr_assert_gt(read(pipes[0], text, sizeof text - 1), 0);
    (void)close(pipes[0]);
    cr_assert_str_eq(text, "integrate: item 17: one two   (worker 3)\n");
}
