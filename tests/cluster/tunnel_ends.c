/* Streams by the door of a tunnel, and bytes that can be checked. */
#include "tests/cluster/tunnel_echo.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "not ok (process %d): ", (int)getpid());
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    _exit(1);
}

double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int stream_open(tunnel_end *end)
{
    int ends[2];
    int32_t rank = 0;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec bytes = {&rank, sizeof rank};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        fail("socketpair: %s", strerror(errno));
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[1], sizeof(int));
    if (sendmsg(end->door, &message, MSG_NOSIGNAL) < 0)
        fail("the door: %s", strerror(errno));
    close(ends[1]);
    return ends[0];
}

int stream_take(tunnel_end *end, int *rank)
{
    int32_t from = -1;
    int fd = -1;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec bytes = {&from, sizeof from};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(end->door, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (got != sizeof from || !header || header->cmsg_type != SCM_RIGHTS)
        fail("nothing comes through the door: %s", got < 0 ? strerror(errno) : "no descriptor");
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    if (from < 1 || from >= end->size)
        fail("a stream of rank %d", (int)from);
    if (rank)
        *rank = from;
    return fd;
}

void write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = send(fd, at, size, MSG_NOSIGNAL);
        if (written < 0)
            fail("write: %s", strerror(errno));
        at += written;
        size -= (size_t)written;
    }
}

void read_all(int fd, void *bytes, size_t size)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t got = read(fd, at, size);
        if (got <= 0)
            fail("read: %s, %zu bytes are missing", got < 0 ? strerror(errno) : "end", size);
        at += got;
        size -= (size_t)got;
    }
}

bool at_end(int fd)
{
    char byte;
    ssize_t got = read(fd, &byte, 1);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

uint64_t random_next(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

/* Eight at a time; `place` and all sizes but the last are multiples of eight. */
void bytes_make(unsigned char *bytes, size_t size, uint64_t seed, uint64_t place)
{
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = (place + at) * 0x9e3779b97f4a7c15u ^ seed;
        memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
    }
}
