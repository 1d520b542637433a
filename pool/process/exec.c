/* From fork to exec. What is executed is the descriptor that mp_main has held since the program began, by its name in /proc: the
 * same file, whatever has become of its path.
 *
 * mp__exec_prepare runs in the program, and is the last to allocate; mp__exec_run runs in a forked child and only makes system
 * calls. Signals are let in as the program had them, for the new program inherits the mask: by then no handler is left that
 * could run. */
#include "pool/process/exec.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <fcntl.h>
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

int mp__exec_run(mp__exec *exec, mp__birth *birth, const sigset_t *mask)
{
    char path[] = "/proc/self/fd/0123456789";
    char *at = path + sizeof path - 1;
    unsigned number = (unsigned)exec->program;
    do { /* digits from the end; what is left of the number's room is slashes, which a path may have */
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (at[-1] != '/')
        *--at = '/';
    birth->pid = getpid();
    mp__birth_write(birth, exec->line);
    for (int i = 0; i < MP__CONTROL_FDS; i++)
        if (birth->fds[i] > 2)
            fcntl(birth->fds[i], F_SETFD, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    mp__system.execve(path, exec->argv, exec->environment);
    return errno;
}
