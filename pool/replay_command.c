/* millpond-replay: shows a record, and has the program that it is of run the item again, under gdb if that is wanted.
 *
 * Decides nothing about the item: the program does all that, told by its environment (replay.c). Here it is looked whether that
 * program is there and the same, and told what became of it, which it says through a pipe: a program that ends without having said
 * anything never opened a pool. One thread; waits for the program. */
#include "pool/program.h"
#include "pool/replay.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond/record.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SUCCEEDED = 0, FAILED = 1, TROUBLE = 2, NO_GDB = 127, GDB_WORDS = 3 };

static const char usage[] =
    "usage: millpond-replay [--gdb] FILE [-- ARGUMENT ...]\n"
    "Shows a record that mp_record_save has written, and runs its item again in the program that it is of,\n"
    "with these arguments; with --gdb in the debugger. Exit code: 0, the item succeeds; 1, it fails again;\n"
    "2, it could not be run.\n";

typedef struct wish {
    bool gdb;
    char *file;
    char **arguments; /* the program's */
    size_t count;
} wish;

/* False: that cannot be meant. */
static bool read_arguments(int argc, char **argv, wish *wanted)
{
    int at = 1;
    if (at < argc && !strcmp(argv[at], "--gdb")) {
        wanted->gdb = true;
        at++;
    }
    if (at >= argc || argv[at][0] == '-')
        return false;
    wanted->file = argv[at++];
    if (at < argc && strcmp(argv[at], "--") != 0)
        return false;
    at += at < argc;
    wanted->arguments = argv + at;
    wanted->count = (size_t)(argc - at);
    return true;
}

static bool show(const mp_record *record)
{
    size_t size = mp_record_format(record, NULL, 0) + 1;
    char *text = malloc(size);
    if (!text)
        return false;
    (void)mp_record_format(record, text, size);
    (void)fputs(text, stdout);
    (void)fflush(stdout);
    free(text);
    return true;
}

/* False: there is nothing to run. */
static bool check_program(const mp_record *record)
{
    char build_id[MP__BUILD_ID_MAX];
    if (!record->program[0] || access(record->program, X_OK) < 0) {
        (void)fprintf(stderr, "millpond-replay: the program '%s' cannot be run: %s\n", record->program,
                      record->program[0] ? strerror(errno) : "the record does not name it");
        return false;
    }
    if (!mp__program_build_id(record->program, build_id) || strcmp(build_id, record->build_id) != 0)
        (void)fprintf(stderr, "millpond-replay: '%s' was built anew since the record was made: it may behave otherwise\n",
                      record->program);
    return true;
}

_Noreturn static void become(const mp_record *record, const wish *wanted, const char *file, int pipe)
{
    static char gdb[] = "gdb", quiet[] = "-q", args[] = "--args";
    char number[16], **words = calloc(GDB_WORDS + 2 + wanted->count, sizeof *words);
    size_t count = 0;
    if (!words)
        _exit(TROUBLE);
    snprintf(number, sizeof number, "%d", pipe);
    setenv(MP__REPLAY_VARIABLE, file, 1);
    setenv(MP__REPLAY_PIPE_VARIABLE, number, 1);
    if (wanted->gdb) {
        words[count++] = gdb;
        words[count++] = quiet;
        words[count++] = args;
    }
    words[count++] = (char *)(uintptr_t)record->program;
    memcpy(words + count, wanted->arguments, wanted->count * sizeof *words);
    execvp(words[0], words);
    (void)fprintf(stderr, "millpond-replay: cannot run %s: %s\n", words[0], strerror(errno));
    _exit(NO_GDB);
}

/* What became of it, in words and as our exit code. `last` is what it said last; 0: nothing. */
static int judge(const mp_record *record, char last, int status)
{
    if (last == MP__REPLAY_PASSED || last == MP__REPLAY_FAILED ||
        last == MP__REPLAY_REFUSED) /* and it told people itself */
        return last == MP__REPLAY_PASSED ? SUCCEEDED : last == MP__REPLAY_FAILED ? FAILED : TROUBLE;
    if (last == MP__REPLAY_BEGUN) {
        if (WIFSIGNALED(status))
            (void)fprintf(stderr, "millpond-replay: the item crashes: SIG%s (%s)\n", sigabbrev_np(WTERMSIG(status)),
                          sigdescr_np(WTERMSIG(status)));
        else
            (void)fprintf(stderr, "millpond-replay: the item ends the program, with exit code %d\n", WEXITSTATUS(status));
        return FAILED;
    }
    (void)fprintf(
        stderr,
        "millpond-replay: '%s' ended without running the item: it never %s. If it needs arguments to get there, give "
        "them after --\n",
        record->program, record->at_open ? "opened a pool" : "called mp_main or opened a pool");
    return TROUBLE;
}

static int run(const mp_record *record, const wish *wanted, const char *file)
{
    int ends[2], status = 0;
    char byte, last = 0;
    if (pipe(ends) < 0)
        return perror("millpond-replay"), TROUBLE;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        become(record, wanted, file, ends[1]);
    }
    if (child < 0)
        return perror("millpond-replay"), TROUBLE;
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the program's, or the debugger's */
    signal(SIGQUIT, SIG_IGN);
    close(ends[1]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    fcntl(ends[0], F_SETFL, O_NONBLOCK); /* what it has left running may hold the other end */
    while (read(ends[0], &byte, 1) == 1)
        last = byte;
    if (wanted->gdb && last != MP__REPLAY_REFUSED && WIFEXITED(status) && WEXITSTATUS(status) != NO_GDB)
        return SUCCEEDED; /* a person has seen what happened */
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_GDB && !last)
        return TROUBLE;
    return judge(record, last, status);
}

int main(int argc, char **argv)
{
    wish wanted = {0};
    mp_error error;
    const mp_record *record;
    if (!read_arguments(argc, argv, &wanted))
        return (void)fputs(usage, stderr), TROUBLE;
    char *file = realpath(wanted.file, NULL); /* the program may go elsewhere before it reads it */
    int code = TROUBLE;
    if (mp_record_load(file ? file : wanted.file, &record, &error) != MP_OK)
        mp_perror(&error);
    else if (show(record) && check_program(record))
        code = run(record, &wanted, file);
    mp_record_free(&record);
    free(file);
    return code;
}
