/* Descriptors and signals of a forked child. It stands apart because it runs where other threads of the program may have held
 * any lock: nothing is called but the system. */
#include "pool/process/inheritance.h"
#include "pool/system.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

enum { FIRST = 3 };

static void set_standard_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0 && null <= 2) {
        int low = null;
        null = fcntl(low, F_DUPFD_CLOEXEC, FIRST);
        close(low);
    }
    if (null < 0)
        return;
    dup2(null, 0);
    for (int fd = 1; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            dup2(null, fd);
}

/* All but the standard ones and these. First of all: the program may have had as many as it may have. */
static void close_others(const int *fds, int count)
{
    for (int below = FIRST;;) {
        int next = INT_MAX;
        for (int i = 0; i < count; i++)
            if (fds[i] >= below && fds[i] < next)
                next = fds[i];
        if (below < next)
            mp__close_between(below, next == INT_MAX ? INT_MAX : next - 1);
        if (next == INT_MAX)
            return;
        below = next + 1;
    }
}

void mp__inherit_descriptors(int *fds, int count)
{
    close_others(fds, count);
    set_standard_descriptors();
    for (int i = 0; i < count; i++) {
        for (int j = i + 1; j < count; j++) /* out of the way: it has the number that this one is to get */
            if (fds[j] == FIRST + i)
                fds[j] = fcntl(fds[j], F_DUPFD_CLOEXEC, FIRST + count);
        if (fds[i] == FIRST + i)
            fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        else
            dup3(fds[i], FIRST + i, O_CLOEXEC);
        fds[i] = FIRST + i;
    }
    mp__close_between(FIRST + count, INT_MAX);
}

void mp__inherit_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        bool set = sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL;
        if (set)
            signal(number, SIG_DFL);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would have the kernel reap, and no death were ever told */
}
