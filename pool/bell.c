/* Descriptors that are readable while they are rung.
 *
 * Decides nothing. Owns one eventfd, whose count is 1 while it rings and else 0, so neither reading nor writing it can block or fail.
 * No lock of its own and no thread: each call is under the lock of what the bell belongs to, whose holder cannot be cancelled, for
 * read, write and close are cancellation points. It fails where there is no descriptor to be had, and then there is none. */
#include "pool/bell.h"
#include "pool/system.h"
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mp__bell_fd(mp__bell *bell, bool rings)
{
    if (bell->fd)
        return bell->fd;
    int fd = mp__above_standard(mp__system.eventfd(rings, EFD_CLOEXEC | EFD_NONBLOCK));
    if (fd < 0)
        return -1;
    *bell = (mp__bell){.fd = fd, .rings = rings};
    return fd;
}

void mp__bell_ring(mp__bell *bell, bool rings)
{
    uint64_t count = 1;
    if (!bell->fd || rings == bell->rings)
        return;
    bell->rings = rings;
    ssize_t told = rings ? write(bell->fd, &count, sizeof count) : read(bell->fd, &count, sizeof count);
    (void)told; /* it holds one count at most: cannot fail */
}

void mp__bell_close(mp__bell *bell)
{
    if (bell->fd)
        close(bell->fd);
    *bell = (mp__bell){0};
}
