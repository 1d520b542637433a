/* Items are run again: by mp_replay, by a program whose environment asks for it, and by the command. */
#include "pool/failure.h"
#include "pool/record.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include "tests/lib/spawn.h"
#include <millpond.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[32], path[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/replay.XXXXXX");
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    snprintf(path, sizeof path, "%s/record", folder);
}

static void remove_folder(void)
{
    unlink(path);
    cr_assert(eq(int, rmdir(folder), 0));
}

TestSuite(replay, .timeout = 60, .init = make_folder, .fini = remove_folder);

static char output[16384];

static bool said(const char *text)
{
    return strstr(output, text) != NULL;
}

#define SAID(text) cr_assert(said(text), "not '%s', but:\n%s", (text), output)
#define NOT_SAID(text) cr_assert(said(text) == false, "'%s':\n%s", (text), output)

/* Runs a helper with these arguments to its end; `output` is all that it wrote. */
static int run(const char *variable, char **arguments)
{
    int ends[2], status;
    output[0] = 0;
    cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
    pid_t pid = proc_fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        const char *program = getenv(variable);
        arguments[0] = (char *)(uintptr_t)program;
        if (program)
            execv(program, arguments);
        _exit(127);
    }
    close(ends[1]);
    spawned made = {pid, ends[0]};
    status = spawn_finish(&made, output, sizeof output, 40);
    return status;
}

#define RUN(variable, ...) run((variable), (char *[]){NULL, __VA_ARGS__, NULL})
#define COMMAND(...) RUN("HELPER_REPLAY", __VA_ARGS__)

/* A record of an item of the helper's, see there. */
static void make(char *how)
{
    char word[] = "make";
    cr_assert(exited(RUN("HELPER_REPLAYED", word, how, path), 0), "%s", output);
}

/* The helper itself, its environment asking for it. */
static int ask_program(char *argument)
{
    setenv("MP_REPLAY", path, 1);
    int status = RUN("HELPER_REPLAYED", argument);
    unsetenv("MP_REPLAY");
    return status;
}

/* ---- mp_replay ---- */

static int ran;
static size_t ran_item;
static uint32_t ran_attempt;

typedef struct {
    mp_str name;
    MP_SPAN(int) numbers;
} listing;
MP_TYPE(listing, name, numbers);

static mp_status add_up(const listing *in, long *out, mp_call *call)
{
    ran++;
    ran_item = mp_call_item(call);
    ran_attempt = mp_call_attempt(call);
    for (size_t i = 0; i < in->numbers.count; i++)
        *out += in->numbers.items[i];
    if (*out == 6 && in->name.size == 3)
        return mp_fail(call, MP_EUSER + 7, "'%.*s' is six", (int)in->name.size, in->name.data);
    return mp_call_worker(call) == MP_NO_WORKER && !mp_call_cancelled(call) ? MP_OK : MP_EFAILED;
}
MP_TASK(add_up, listing, long);

static void save(const mp_task *task, const void *input)
{
    mp_error error;
    mp__failure(&error, MP_EFAILED, "then");
    error.item = 17;
    error.attempt = 3;
    strcpy(error.task, task->name);
    mp__record_keep(&error, task, input, NULL);
    const mp_record *record = mp_error_record(&error);
    cr_assert(eq(int, mp_record_save(record, path, &error), MP_OK), "%s", error.message);
    mp_record_free(&record);
}

CHECK(replay, mp_replay__item_that_fails__fails_with_its_words)
{
    mp_error error;
    int numbers[] = {1, 2, 3};
    save(&mp__task_add_up, &(listing){mp_str_of("abc"), {numbers, 3}});
    cr_assert(eq(int, mp_replay(path, &error), MP_EUSER + 7));
    cr_assert(says(&error, "'abc' is six"), "%s", error.message);
    cr_assert(eq(sz, error.item, 17));
    cr_assert(eq(int, error.attempt, 3));
    cr_assert(eq(int, error.worker, MP_NO_WORKER));
    cr_assert(eq(str, error.task, "add_up"));
    cr_assert(ran == 1 && ran_item == 17 && ran_attempt == 3);
}

CHECK(replay, mp_replay__item_that_succeeds__is_ok)
{
    mp_error error;
    spoil(&error, sizeof error);
    save(&mp__task_add_up, &(listing){mp_str_of("abc"), {NULL, 0}});
    cr_assert(eq(int, mp_replay(path, &error), MP_OK));
    cr_assert(is_zero(&error, sizeof error));
    cr_assert(eq(int, mp_replay(path, NULL), MP_OK));
    cr_assert(eq(int, ran, 2));
}

CHECK(replay, mp_replay__other_types__are_refused)
{
    mp_error error;
    mp_task other = mp__task_add_up;
    mp_task_entry entry = {&other, NULL};
    other.name = "add_down";
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    save(&other, &(listing){0});
    mp_task_unregister(&entry);
    cr_assert(eq(int, mp_replay(path, &error), MP_EUNREGISTERED));
    cr_assert(says(&error, "add_down"), "%s", error.message);
    other.input = &mp__type_int;
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    cr_assert(eq(int, mp_replay(path, &error), MP_EMISMATCH));
    cr_assert(says(&error, "add_down") && !strcmp(error.task, "add_down"), "%s", error.message);
    mp_task_unregister(&entry);
    cr_assert(eq(int, ran, 0));
}

CHECK(replay, mp_replay__no_input__is_refused)
{
    static int numbers[20000];
    mp_error error;
    save(&mp__task_add_up, &(listing){.numbers = {numbers, 20000}});
    cr_assert(eq(int, mp_replay(path, &error), MP_EINVAL));
    cr_assert(says(&error, "too large"), "%s", error.message);
    cr_assert(eq(int, mp_replay("/no/such/file", &error), MP_ESYSTEM));
}

/* ---- a program whose environment asks for it ---- */

CHECK(replay, program__needs_its_pool__runs_it_where_that_is_opened)
{
    make("4p");
    int status = ask_program(NULL);
    cr_assert(exited(status, 0), "%s", output);
    SAID("it opens its pool\nmillpond: replaying item 17 of 'behave', from /tmp/replay.");
    SAID("item 17, attempt 2, worker -1, state ready\nmillpond: the item succeeds\n");
    NOT_SAID("it goes on");
}

CHECK(replay, program__needs_nothing__runs_it_in_mp_main)
{
    make("1m");
    int status = ask_program(NULL);
    cr_assert(exited(status, 1), "%s", output);
    SAID("item 17, attempt 2, worker -1, state none\nbehave: item 17: as it was asked to\nmillpond: the item fails\n");
    NOT_SAID("it opens its pool");
}

CHECK(replay, program__item_crashes__crashes)
{
    make("2m");
    cr_assert(signaled(ask_program(NULL), SIGSEGV), "%s", output);
    make("2p");
    cr_assert(signaled(ask_program(NULL), SIGSEGV), "%s", output);
    SAID("it opens its pool");
}

CHECK(replay, program__item_opens_a_pool__is_no_replay_again)
{
    make("5m");
    cr_assert(exited(ask_program(NULL), 0), "%s", output);
    cr_assert(eq(int, count_of(output, "replaying"), 1), "%s", output);
}

CHECK(replay, program__result_cannot_be_sent__fails_as_in_a_pool)
{
    make("6m");
    cr_assert(exited(ask_program(NULL), 1), "%s", output);
    SAID("the result cannot be encoded");
}

CHECK(replay, program__no_such_file__says_so_and_fails)
{
    cr_assert(exited(ask_program(NULL), 1), "%s", output);
    SAID("cannot read the record");
    NOT_SAID("it opens its pool");
}

CHECK(replay, program__empty_variable__goes_on)
{
    setenv("MP_REPLAY", "", 1);
    char *none = NULL;
    cr_assert(exited(RUN("HELPER_REPLAYED", none), 0), "%s", output);
    unsetenv("MP_REPLAY");
    SAID("it goes on");
}

/* ---- the command ---- */

CHECK(replay, command__each_end__is_told_and_is_its_exit_code)
{
    make("0m");
    cr_assert(exited(COMMAND(path), 0), "%s", output);
    SAID("behave: item 17: then\n    input: 0 (1 byte)\n    where: ");
    SAID("millpond: the item succeeds\n");
    make("4p");
    cr_assert(exited(COMMAND(path), 0), "%s", output);
    make("1p");
    cr_assert(exited(COMMAND(path), 1), "%s", output);
    SAID("behave: item 17: as it was asked to\n");
    make("2p");
    cr_assert(exited(COMMAND(path), 1), "%s", output);
    SAID("millpond-replay: the item crashes: SIGSEGV (Segmentation fault)\n");
    make("3m");
    cr_assert(exited(COMMAND(path), 1), "%s", output);
    SAID("millpond-replay: the item ends the program, with exit code 7\n");
}

CHECK(replay, command__program_never_opens_a_pool__says_so)
{
    char dashes[] = "--", early[] = "early";
    make("0p");
    cr_assert(exited(COMMAND(path, dashes, early), 2), "%s", output);
    SAID("ended without running the item: it never opened a pool");
    make("0m"); /* arguments do no harm to one that needs none */
    cr_assert(exited(COMMAND(path, dashes, early), 0), "%s", output);
}

static void save_with(const char *program, const char *build_id)
{
    char how[] = "0m";
    const mp_record *record;
    make(how);
    cr_assert(eq(int, mp_record_load(path, &record, NULL), MP_OK));
    mp_record changed = *record;
    mp__record *whole = mp__record_new(0);
    changed.program = program ? program : record->program;
    changed.build_id = build_id ? build_id : record->build_id;
    whole->record = changed;
    cr_assert(eq(int, mp_record_save(&whole->record, path, NULL), MP_OK));
    const mp_record *made = &whole->record;
    mp_record_free(&made);
    mp_record_free(&record);
}

CHECK(replay, command__program_is_gone_or_another__says_so)
{
    save_with("/no/such/program", NULL);
    cr_assert(exited(COMMAND(path), 2), "%s", output);
    SAID("millpond-replay: the program '/no/such/program' cannot be run: No such file or directory\n");
    save_with(NULL, "0123");
    cr_assert(exited(COMMAND(path), 0), "%s", output);
    SAID("was built anew since the record was made");
    make("0m");
    cr_assert(exited(COMMAND(path), 0), "%s", output);
    NOT_SAID("was built anew");
    save_with("/bin/true", NULL);
    cr_assert(exited(COMMAND(path), 2), "%s", output);
    SAID("it never called mp_main or opened a pool");
}

CHECK(replay, command__wrong_arguments_or_file__says_how_or_why)
{
    char gdb[] = "--gdb", help[] = "--help", more[] = "more", none[] = "/no/such/file", *nothing = NULL;
    cr_assert(exited(COMMAND(nothing), 2) && said("usage: "), "%s", output);
    cr_assert(exited(COMMAND(gdb), 2) && said("usage: "), "%s", output);
    cr_assert(exited(COMMAND(help), 2) && said("usage: "), "%s", output);
    cr_assert(exited(COMMAND(path, more), 2) && said("usage: "), "%s", output);
    cr_assert(exited(COMMAND(none), 2) && said("cannot read the record '/no/such/file'"), "%s", output);
}

/* A debugger of the test's own, for none may be installed: it says what it was called with, and runs it. */
CHECK(replay, command__gdb__runs_the_program_in_it)
{
    char gdb[] = "--gdb", dashes[] = "--", one[] = "one", two[] = "two", file[80], search[256];
    snprintf(file, sizeof file, "%s/gdb", folder);
    FILE *script = fopen(file, "we");
    cr_assert(ne(ptr, script, NULL));
    fputs("#!/bin/sh\necho \"debugging: $1 $2 $4 $5\"\nshift 2\nexec \"$@\"\n", script);
    fclose(script);
    chmod(file, 0700);
    char *old = strdup(getenv("PATH"));
    snprintf(search, sizeof search, "%s:/bin:/usr/bin", folder);
    setenv("PATH", search, 1);
    make("1m");
    int status = COMMAND(gdb, path, dashes, one, two);
    setenv("PATH", folder, 1);
    unlink(file);
    cr_assert(exited(status, 0), "%s", output);
    SAID("debugging: -q --args one two\n");
    SAID("as it was asked to");
    cr_assert(exited(COMMAND(gdb, path), 2), "%s", output);
    SAID("cannot run gdb: No such file");
    setenv("PATH", old, 1);
    free(old);
}
