/* A task may start processes, and leave them behind: a shell, a server, a daemon. They must not outlive its pool, whoever dies.
 *
 * Each worker leads a process group. What is left of that when the worker has died, in whatever way, is killed before the worker is
 * reaped: until then its number, which is the group's name, is nobody else's. What has left the group (setsid, setpgid: daemons, shells
 * with job control) loses its parent sooner or later and comes to the zygote, which is a subreaper; that kills and reaps all that it
 * has when it ends, which it does when its owner closes the pool or dies.
 *
 * What is not covered: if the zygote itself is killed (SIGKILL, by somebody or for want of memory) its workers die with it, but their
 * children live on, as children of process 1. Nobody is left who could know them: the kernel tells the death of a parent to nobody
 * but those who asked. And what has left its worker's group lives until the pool ends, even if its worker ended before.
 *
 * Runs in the zygote, and mp__descendants_lead in workers: only system calls. Where /proc does not list children (no such file:
 * an old kernel, or a confined one) what has left the groups is not found, and stays. */
#include "pool/process/descendants.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_MS = 10 };

void mp__descendants_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void mp__descendants_lead(void)
{
    setpgid(0, 0);
}

/* A task may have moved the worker itself to another group, or it may not have come to its own yet: then nothing else is in that. */
void mp__descendants_signal(pid_t worker, int number)
{
    if (getpgid(worker) != worker)
        kill(worker, number);
    kill(-worker, number);
}

pid_t mp__descendants_dead(void)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 ? info.si_pid : 0;
}

int mp__descendants_reap(pid_t pid, bool worker, struct rusage *usage)
{
    int status = 0;
    if (worker)
        kill(-pid, SIGKILL);
    while (wait4(pid, &status, 0, usage) < 0 && errno == EINTR)
        ;
    return status;
}

/* False: nobody can say which there are. A number that was listed stays our child's until we reap it. */
static bool kill_children(void)
{
    char text[4096];
    pid_t pid = 0;
    ssize_t got;
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while ((got = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = 10 * pid + (text[i] - '0');
                continue;
            }
            if (pid > 1) /* anything else would be a signal to many */
                kill(pid, SIGKILL);
            pid = 0;
        }
    close(fd);
    return true;
}

/* The list may pass over one while others go, and more may come at any moment: so nothing is waited for without looking again. */
void mp__descendants_end(int deaths)
{
    struct signalfd_siginfo told[16];
    for (;;) {
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0 || (pid < 0 && errno == EINTR))
            ;
        if (pid < 0 || !kill_children())
            return;
        struct pollfd fd = {.fd = deaths, .events = POLLIN};
        if (poll(&fd, 1, AGAIN_MS) > 0)
            while (read(deaths, told, sizeof told) > 0)
                ;
    }
}
