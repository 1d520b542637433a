/* Agents on this host, for pools that span hosts: processes that are this very test program, executed to be one (respawn.c). */
#ifndef TESTS_LIB_AGENTS_H
#define TESTS_LIB_AGENTS_H
#include "pool/cluster/hall.h"
#include "tests/lib/check.h"
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* An environment of its own: "NAME=VALUE", or NULL. Its output goes to `output`, if that is not negative. */
static inline pid_t agent_start_with(const char *more, int output)
{
    char address[64];
    snprintf(address, sizeof address, "MILLPOND_AGENT=127.0.0.1:%d,wait=0", mp__hall_port());
    pid_t pid = proc_fork();
    if (pid == 0) {
        putenv(address);
        unsetenv("BXFI_MAP"); /* by it Criterion tells its test processes to jump out of main */
        if (more)
            putenv((char *)(uintptr_t)more);
        if (output >= 0)
            dup2(output, 2);
        execl("/proc/self/exe", "agent", NULL);
        _exit(127);
    }
    return pid;
}

static inline pid_t agent_start(void)
{
    return agent_start_with(NULL, -1);
}

/* How it ended; -1: it has not, for a long time, and is killed. */
static inline int agent_end(pid_t agent)
{
    int status = -1;
    pid_t reaped = 0;
    UNTIL(20, (reaped = waitpid(agent, &status, WNOHANG)) != 0);
    if (reaped == agent)
        return status;
    kill(agent, SIGKILL);
    waitpid(agent, NULL, 0);
    return -1;
}

/* A hall, on a port that is free. */
static inline void hall_begin(const char *terms)
{
    mp_error error;
    cr_assert(eq(int, mp__hall_open(terms, &error), MP_OK), "%s", error.message);
}

static pid_t only_agent;

/* All workers are with one agent. */
static inline void cluster_begin(void)
{
    hall_begin("0,agents=1,local=0");
    only_agent = agent_start();
}

static inline void cluster_end(void)
{
    mp__hall_close();
    int status = agent_end(only_agent);
    cr_assert(exited(status, 0) || exited(status, 1), "the agent ended with %#x", status); /* 1: nobody wanted it */
}

#endif
