/* A program of its own, with its own pools and settings: a forked child of the test, head of a process group as those are that a
 * shell starts. It says by its exit code that all was right, and by the board what the test may wait for. */
#ifndef TESTS_LIB_PROGRAM_H
#define TESTS_LIB_PROGRAM_H
#include "tests/lib/kinds.h"
#include "tests/lib/proc.h"
#include <sys/wait.h>

/* In the program: what is not so ends it. (There assertions are not to be had.) */
#define MUST(condition)                                                                                                    \
    do {                                                                                                                   \
        if (!(condition)) {                                                                                                \
            fprintf(stderr, "%s:%d: not: %s\n", __FILE__, __LINE__, #condition);                                           \
            _exit(1);                                                                                                      \
        }                                                                                                                  \
    } while (0)

/* It dies with the test. `output`: where its standard output goes; -1: as the test's. */
static inline pid_t program_begin(void (*program)(void), int output)
{
    pid_t child = proc_fork();
    if (child == 0) {
        sigset_t interrupt;
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGINT);
        setpgid(0, 0);
        signal(SIGINT, SIG_DFL);
        sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
        if (output >= 0)
            dup2(output, 1);
        program();
        _exit(0);
    }
    setpgid(child, child);
    return child;
}

/* Ctrl-C: goes to the whole group. Clang 14's TSan keeps a signal that comes while a thread is not in a system call; in a child that was
 * forked from a process with threads, as these programs are, it keeps it for good. There it is sent to one that sleeps. */
static inline void program_press(pid_t program)
{
    if (CHECK_TSAN)
        cr_assert(SOON(proc_look(program).state == 'S'));
    cr_assert(zero(int, kill(-program, SIGINT)));
}

/* How it has ended; and nobody is left. */
static inline int program_end(pid_t program)
{
    int status = -1;
    if (!SOON(waitpid(program, &status, WNOHANG) == program)) {
        kill(program, SIGKILL);
        waitpid(program, &status, 0);
        cr_fatal("the program does not end");
    }
    cr_assert(ge(int, leftovers_reap(PROMPT), 0), "something of it runs on");
    return status;
}

#define EXPECT_GOOD_END(program)                                                                                           \
    do {                                                                                                                   \
        int good_status = program_end(program);                                                                            \
        cr_assert(exited(good_status, 0), "status %x", good_status);                                                       \
    } while (0)

#define EXPECT_INTERRUPTED(program)                                                                                        \
    do {                                                                                                                   \
        int bad_status = program_end(program);                                                                             \
        cr_assert(signaled(bad_status, SIGINT), "status %x", bad_status);                                                  \
    } while (0)

#endif
