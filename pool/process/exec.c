/* Executing the program again, on the side of who wants it. What the child does stands in exec_child.c.
 *
 * The child is not a copy: it runs in this very memory, on a stack of its own, until it has executed, and the thread that made it sleeps
 * until then; other threads go on. So a program with gigabytes starts workers as fast as a small one. What it must not do to us:
 *
 *     - run a handler of the program's: all signals are blocked, and its dispositions, which are its own, are reset before they are let in;
 *     - be cancelled: a cancellation that is pending for this thread would be taken for the child's, which shares what it is noted in;
 *     - change memory: it writes `line`, its stack and errno, and nothing else. */
#include "pool/process/exec.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* BXFI_MAP: by it Criterion tells its test processes to jump out of main. */
static bool is_left_out(const char *variable)
{
    return !strncmp(variable, MP__BIRTH_VARIABLE "=", sizeof MP__BIRTH_VARIABLE) || !strncmp(variable, "BXFI_MAP=", 9);
}

mp__exec *mp__exec_prepare(int program, char *const *argv)
{
    size_t count = 0, used = 0;
    while (environ && environ[count])
        count++;
    mp__exec *exec = mp__memory.malloc(sizeof *exec + (count + 2) * sizeof *exec->environment);
    if (!exec)
        return NULL;
    exec->program = program;
    exec->argv = argv;
    exec->environment[used++] = exec->line;
    for (size_t i = 0; i < count; i++)
        if (!is_left_out(environ[i]))
            exec->environment[used++] = environ[i];
    exec->environment[used] = NULL;
    return exec;
}

static pid_t start(mp__execution *execution, int (*be)(void *execution))
{
    int before = errno, cancelling;
    char *stack = execution->exec->stack + MP__EXEC_STACK; /* it grows down on all machines that Linux has had for long */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    pid_t pid = mp__system.clone(be, stack, CLONE_VM | CLONE_VFORK | SIGCHLD, execution);
    int failed = errno;
    pthread_setcancelstate(cancelling, NULL);
    errno = pid < 0 ? failed : before;
    return pid;
}

pid_t mp__exec_zygote(mp__execution *execution)
{
    return start(execution, mp__exec_be_zygote);
}

pid_t mp__exec_worker(mp__execution *execution)
{
    return start(execution, mp__exec_be_worker);
}
