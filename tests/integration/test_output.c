/* What a program prints, half writes and does at its end happens once, though it has been forked: seen from outside, by running
 * one (bystander.c). */
#include "tests/lib/check.h"
#include "tests/lib/spawn.h"

TestSuite(output, .timeout = 60);

enum { PROMPT = 20 };

static char printed[1 << 20];

/* But for one; -1: for none. */
static void expect_each_task_once_but(int one)
{
    for (int i = 0; i < 200; i++) {
        char line[32];
        snprintf(line, sizeof line, "<task %d>", i);
        cr_assert(eq(int, count_of(printed, line), i != one), "%s", line);
    }
}

static void expect_each_task_once(void)
{
    expect_each_task_once_but(-1);
}

CHECK(output, printed_by_tasks_and_program__arrives_once)
{
    int status = spawn_run("HELPER_BYSTANDER", "print", NULL, printed, sizeof printed);
    cr_assert(exited(status, 5), "status %x: %s", status, printed);
    expect_each_task_once();
    cr_assert(eq(int, count_of(printed, "<before>"), 1));
    cr_assert(eq(int, count_of(printed, "<after>"), 1));
}

CHECK(output, printed_by_items_before_one_that_is_killed__arrives)
{
    int status = spawn_run("HELPER_BYSTANDER", "killed", NULL, printed, sizeof printed);
    cr_assert(exited(status, 9), "status %x: %s", status, printed);
    expect_each_task_once_but(100);
}

CHECK(output, atexit_handlers__run_in_the_program_only)
{
    int status = spawn_run("HELPER_BYSTANDER", "exit", NULL, printed, sizeof printed);
    cr_assert(exited(status, 6), "status %x: %s", status, printed);
    cr_assert(eq(int, count_of(printed, "<atexit>"), 1), "%s", printed);
    cr_assert(eq(int, count_of(printed, "<before>"), 1));
}

CHECK(output, buffered_in_a_file_of_the_programs__is_written_once)
{
    char path[] = "/tmp/millpond-test-XXXXXX", content[64] = "";
    int fd = mkstemp(path);
    int status = spawn_run("HELPER_BYSTANDER", "file", path, printed, sizeof printed);
    cr_assert(exited(status, 0), "status %x: %s", status, printed);
    cr_assert(eq(long, read(fd, content, sizeof content - 1), 10));
    cr_assert(eq(str, content, "<one><two>"));
    close(fd);
    unlink(path);
}

static void expect_works_without(const char *which)
{
    int status = spawn_run("HELPER_BYSTANDER", "closed", which, printed, sizeof printed);
    cr_assert(exited(status, 0), "without %s: status %x: %s", which, status, printed);
}

CHECK(output, program_without_standard_input__pool_works)
{
    expect_works_without("0");
}
CHECK(output, program_without_standard_output_and_error__pool_works)
{
    expect_works_without("12");
}
CHECK(output, program_without_any_standard_descriptor__pool_works)
{
    expect_works_without("012");
}

/* The end of the pipe comes only when the last worker has gone. */
static void expect_ends_unfreed(const char *how)
{
    int status = spawn_run("HELPER_BYSTANDER", "unfreed", how, printed, sizeof printed);
    cr_assert(exited(status, 8), "%s: status %x: %s", how, status, printed);
    expect_each_task_once();
    cr_assert(eq(int, count_of(printed, "<after>"), 1));
    cr_assert(ge(int, leftovers_reap(PROMPT), 0));
}

CHECK(output, program_returns_without_freeing__ends_with_its_workers)
{
    expect_ends_unfreed("return");
}
CHECK(output, program_exits_without_freeing__ends_with_its_workers)
{
    expect_ends_unfreed("exit");
}
CHECK(output, program_underscore_exits_without_freeing__ends_with_its_workers)
{
    expect_ends_unfreed("_exit");
}
