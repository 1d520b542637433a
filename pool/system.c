/* The table of system calls; system.h says what it is for. Set before any thread of ours exists, then only read. */
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

mp__system_calls mp__system = {
    .fork = fork,
    .execve = execve,
    .pipe2 = pipe2,
    .socketpair = socketpair,
    .memfd_create = memfd_create,
    .ftruncate = ftruncate,
    .mmap = mmap,
    .epoll_create1 = epoll_create1,
    .epoll_ctl = epoll_ctl,
    .eventfd = eventfd,
    .pthread_create = pthread_create,
    .read = read,
    .writev = writev,
    .sendmsg = sendmsg,
    .recvmsg = recvmsg,
};

int mp__above_standard(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3), failed = errno;
    close(fd);
    errno = failed;
    return moved;
}

void mp__close_between(int first, int last)
{
    if (close_range((unsigned)first, last == INT_MAX ? ~0u : (unsigned)last, 0) == 0)
        return;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= (rlim_t)last)
        last = (int)limit.rlim_cur - 1;
    for (int fd = first; fd <= last; fd++)
        close(fd);
}
