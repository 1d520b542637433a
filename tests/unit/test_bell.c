/* Bells: readable while they are rung, and a descriptor only for who asks. */
#include "pool/bell.h"
#include "pool/system.h"
#include "tests/lib/check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

TestSuite(bell, .timeout = 60);

static bool readable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1 && polled.revents == POLLIN;
}

CHECK(bell, asked_for_while_silent__is_readable_while_it_rings)
{
    mp__bell bell = {0};
    int fd = mp__bell_fd(&bell, false);
    cr_assert(gt(int, fd, 2));
    cr_assert(not(readable(fd)));
    for (int i = 0; i < 3; i++) {
        mp__bell_ring(&bell, true);
        mp__bell_ring(&bell, true); /* again is nothing */
        cr_assert(readable(fd));
        mp__bell_ring(&bell, false);
        cr_assert(not(readable(fd)));
        mp__bell_ring(&bell, false);
    }
    mp__bell_close(&bell);
}

CHECK(bell, asked_for_while_ringing__is_readable_until_it_is_silenced)
{
    mp__bell bell = {0};
    int fd = mp__bell_fd(&bell, true);
    cr_assert(readable(fd));
    cr_assert(eq(int, mp__bell_fd(&bell, false), fd)); /* it is there already: how it is counts */
    cr_assert(readable(fd));
    mp__bell_ring(&bell, false);
    cr_assert(not(readable(fd)));
    mp__bell_close(&bell);
}

CHECK(bell, nobody_asked__has_no_descriptor)
{
    mp__bell bell = {0};
    mp__bell_ring(&bell, true);
    mp__bell_ring(&bell, false);
    cr_assert(eq(int, bell.fd, 0));
    mp__bell_close(&bell);
}

CHECK(bell, closed__is_as_new)
{
    mp__bell bell = {0};
    int fd = mp__bell_fd(&bell, true);
    mp__bell_close(&bell);
    cr_assert(eq(int, fcntl(fd, F_GETFD), -1));
    cr_assert(ge(int, mp__bell_fd(&bell, false), 0));
    cr_assert(not(readable(bell.fd)));
    mp__bell_close(&bell);
}

static int no_eventfd(unsigned count, int flags)
{
    (void)count;
    (void)flags;
    errno = EMFILE;
    return -1;
}

CHECK(bell, no_descriptor_to_be_had__can_be_asked_again)
{
    mp__bell bell = {0};
    int (*eventfd_)(unsigned, int) = mp__system.eventfd;
    mp__system.eventfd = no_eventfd;
    cr_assert(eq(int, mp__bell_fd(&bell, true), -1));
    mp__bell_ring(&bell, true);
    mp__system.eventfd = eventfd_;
    cr_assert(readable(mp__bell_fd(&bell, true)));
    mp__bell_close(&bell);
}
