/* Our end of the zygote's control socket: a packet is a message; commands may carry descriptors.
 *
 * Owns the socket, the inbox, and the zygote as a child to be waited for. Runs under the pool's lock. A zygote that is behind
 * holds up a command, but not for ever: while we wait its reports are read, so that it never waits for us. It ends when it is told
 * to (our end is shut down: it kills and reaps what it has left, and leaves), or by itself; then mp__control_bury says how. */
#include "pool/process/control.h"
#include "pool/backend.h"
#include "pool/clock.h"
#include "pool/failure.h"
#include "pool/system.h"
#include "serial/memory.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CROWDED_TRIES = 2000, /* ms */
    REPORTS = 2           /* of one life, at most: that it cannot be executed, and that it died of that */
};
#define LEAVING_NS 1000000000ull

bool mp__control_grow(mp__control_line *line, uint32_t slots)
{
    mp__control *inbox = mp__memory.realloc(line->inbox, REPORTS * slots * sizeof *inbox);
    if (!inbox)
        return false;
    line->inbox = inbox;
    line->slots = slots;
    return true;
}

int mp__control_receive(mp__control_line *line)
{
    mp__control message;
    ssize_t got = recv(line->fd, &message, sizeof message, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got != sizeof message || message.slot >= line->slots || line->inbox_count >= REPORTS * line->slots)
        return -1;
    line->inbox[line->inbox_count++] = message;
    return 1;
}

mp__control mp__control_take(mp__control_line *line)
{
    mp__control message = line->inbox[0];
    memmove(line->inbox, line->inbox + 1, --line->inbox_count * sizeof message);
    return message;
}

void mp__control_rouse(const mp__control_line *line)
{
    if (line->zygote > 0)
        kill(line->zygote, SIGCONT);
}

void mp__control_tend(mp__control_line *line)
{
    uint64_t now = mp__now();
    if (now - line->tended_at < MP__ROUND_NS / 2) /* whoever comes a little early comes for this */
        return;
    line->tended_at = now;
    mp__control_rouse(line);
}

int mp__control_command(mp__control_line *line, const mp__control *message, const int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MP__CONTROL_FDS * sizeof(int))];
    } extra = {.space = {0}};
    struct iovec piece = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr packet = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fds) {
        size_t size = (size_t)mp__control_count(fds) * sizeof(int);
        packet.msg_control = &extra;
        packet.msg_controllen = CMSG_SPACE(size);
        extra.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&extra.header), fds, size);
    }
    int tries = CROWDED_TRIES;
    while (mp__system.sendmsg(line->fd, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        bool crowded = errno == ETOOMANYREFS; /* too many descriptors on their way: it takes them one by one */
        if (errno != EAGAIN && errno != EINTR && !crowded)
            return errno;
        if (crowded && !tries--)
            return ETOOMANYREFS;
        mp__control_rouse(line);
        struct pollfd fd = {.fd = line->fd, .events = crowded ? POLLIN : POLLIN | POLLOUT};
        poll(&fd, 1, crowded ? 1 : -1);
        if (fd.revents & POLLIN && mp__control_receive(line) < 0)
            return EPIPE;
    }
    mp__control_rouse(line);
    return 0;
}

/* Its status, or -1: somebody else has waited for it. */
static int await_end(mp__control_line *line)
{
    int status = -1;
    pid_t reaped;
    while ((reaped = waitpid(line->zygote, &status, 0)) < 0 && errno == EINTR)
        ;
    return reaped > 0 ? status : -1;
}

/* It must be dead before its workers are looked at. */
void mp__control_bury(mp__control_line *line, mp_error *error)
{
    int status = -1;
    pid_t reaped = waitpid(line->zygote, &status, WNOHANG);
    if (reaped == 0) {
        kill(line->zygote, SIGKILL);
        status = await_end(line);
    } else if (reaped < 0) {
        status = -1;
    }
    const char *name = status != -1 && WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    mp__failure(error, MP_EBROKEN, "the process that workers are forked from (pid %d) %s%s: open another pool",
                (int)line->zygote, name ? "was killed by SIG" : "has gone", name ? name : "");
    line->zygote = -1;
}

/* Shut down rather than closed: a child that the program forked may hold a copy. Its own end closes when it has left. */
static void let_go(const mp__control_line *line)
{
    char packet[sizeof(mp__control)];
    uint64_t now = mp__now(), deadline = now + LEAVING_NS;
    shutdown(line->fd, SHUT_WR);
    mp__control_rouse(line);
    for (; now < deadline; now = mp__now()) {
        struct pollfd fd = {.fd = line->fd, .events = POLLIN};
        if (poll(&fd, 1, (int)((deadline - now) / 1000000) + 1) <= 0)
            continue;
        ssize_t got = recv(line->fd, packet, sizeof packet, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
    kill(line->zygote, SIGKILL);
}

void mp__control_close(mp__control_line *line)
{
    if (line->zygote > 0) {
        let_go(line);
        await_end(line);
    }
    if (line->fd >= 0)
        close(line->fd);
    free(line->inbox);
    *line = (mp__control_line){.zygote = -1, .fd = -1};
}
