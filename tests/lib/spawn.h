/* Helper programs (meson.build names them): started with their standard output and error in a pipe of ours, so that what
 * they print can be counted, and its end says that the last process which holds it has gone. */
#ifndef TESTS_LIB_SPAWN_H
#define TESTS_LIB_SPAWN_H
#include "tests/lib/proc.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct spawned {
    pid_t pid;
    int output;
} spawned;

/* `variable`: the environment variable that names the program. Exit code 127: it cannot be started. */
static inline spawned spawn(const char *variable, const char *argument, const char *more)
{
    int ends[2];
    spawned made = {-1, -1};
    if (pipe2(ends, O_CLOEXEC) < 0)
        return made;
    made.pid = proc_fork();
    if (made.pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        const char *program = getenv(variable);
        if (program)
            execl(program, program, argument, more, NULL);
        _exit(127);
    }
    close(ends[1]);
    made.output = ends[0];
    return made;
}

/* Reads until `text` has come, or the end, or the deadline; what was read is kept behind a final zero. True: it has come. */
static inline bool spawn_read_until(const spawned *from, const char *text, char *into, size_t size, int seconds)
{
    size_t length = strlen(into);
    time_t deadline = time(NULL) + seconds;
    for (;;) {
        if (text && strstr(into, text))
            return true;
        struct pollfd fd = {.fd = from->output, .events = POLLIN};
        if (length + 1 >= size || time(NULL) > deadline)
            return false;
        if (poll(&fd, 1, 1000) <= 0)
            continue;
        ssize_t got = read(from->output, into + length, size - 1 - length);
        if (got <= 0)
            return !text && got == 0;
        length += (size_t)got;
        into[length] = 0;
    }
}

/* All that it prints, to the end, and how it ended. -1: no end came in time. */
static inline int spawn_finish(spawned *from, char *into, size_t size, int seconds)
{
    int status = -1;
    bool ended = spawn_read_until(from, NULL, into, size, seconds);
    if (!ended)
        kill(from->pid, SIGKILL);
    waitpid(from->pid, &status, 0);
    close(from->output);
    return ended ? status : -1;
}

static inline int spawn_run(const char *variable, const char *argument, const char *more, char *into, size_t size)
{
    *into = 0;
    spawned made = spawn(variable, argument, more);
    return made.pid < 0 ? -1 : spawn_finish(&made, into, size, 40);
}

/* How often `text` stands in `all`. */
static inline int count_of(const char *all, const char *text)
{
    int count = 0;
    for (const char *at = all; (at = strstr(at, text)); at += strlen(text))
        count++;
    return count;
}

#endif
