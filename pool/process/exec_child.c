/* From the beginning of a child that is to be executed to that. It runs in the memory of who made it (exec.c): only system calls and
 * arithmetic on what is its own.
 *
 * What is executed is the descriptor that mp_main has held since the program began, by its name in /proc: the same file, whatever has
 * become of its path. Signals are let in as the program had them, for the new program inherits the mask: by then no handler is left
 * that could run. */
#include "pool/process/decimal.h"
#include "pool/process/descendants.h"
#include "pool/process/exec.h"
#include "pool/process/inheritance.h"
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* errno, if it cannot be done. The descriptors in `birth` stay open. */
static int execute(mp__exec *exec, int program, mp__birth *birth, const sigset_t *mask)
{
    char path[sizeof "/proc/self/fd/" + MP__DECIMAL_MAX] = "/proc/self/fd/";
    *mp__decimal_put(path + sizeof "/proc/self/fd/" - 1, (unsigned)program) = 0;
    birth->pid = getpid();
    mp__birth_write(birth, exec->line);
    for (int i = 0; i < MP__CONTROL_FDS; i++)
        if (birth->fds[i] > 2)
            fcntl(birth->fds[i], F_SETFD, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    mp__system.execve(path, exec->argv, exec->environment);
    return errno;
}

_Noreturn static void fail(const mp__execution *execution, int control, int os_error)
{
    mp__control failed = execution->failed;
    failed.value = os_error;
    send(control, &failed, sizeof failed, MSG_NOSIGNAL);
    _exit(MP__EXIT_SETUP);
}

int mp__exec_be_zygote(void *of)
{
    const mp__execution *execution = of;
    int fds[2] = {execution->control, execution->exec->program};
    mp__inherit_descriptors(fds, 2);
    mp__inherit_signals();
    mp__birth birth = execution->birth;
    birth.fds[0] = fds[0];
    fail(execution, fds[0], execute(execution->exec, fds[1], &birth, execution->mask));
}

/* The zygote's death is its own from now on, also while the program loads. Of handlers the zygote has none. */
int mp__exec_be_worker(void *of)
{
    const mp__execution *execution = of;
    mp__execution own = *execution;
    mp__descendants_lead();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != own.birth.parent)
        _exit(MP__EXIT_GONE);
    own.failed.pid = getpid();
    fail(&own, own.control, execute(own.exec, own.exec->program, &own.birth, own.mask));
}
