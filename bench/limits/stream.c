/* stream [items|bytes [COUNT]]: what the machine needs to send so many int64 through pipes to two child processes, and back,
 * coalesced: all that is ready goes in one write, all that has arrived in one read.
 *
 * items: each is a message of its own, 9 bytes as in a map (a header of 4, an integer of 5), written from an array, read and
 * answered one by one by the child, and stored into an array. No pool can do less. bytes: as many, but nobody looks at them. */
#include "bench/measure.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 5, BUFFER = 64 * 1024, MESSAGE = 9, VALUE = 4 };

/* One direction of one pipe, and what has been written into the buffer but not into it, or has arrived but was not read. */
typedef struct {
    int fd;
    size_t begin, end;
    char buffer[BUFFER];
} way;

typedef struct {
    way to, from;
    const int64_t *in;
    int64_t *out;
    size_t left_to_send, left_to_come; /* items */
    pid_t pid;
} child;

static bool look_at_items;
static child children[WORKERS];

static void put(char *at, int64_t value)
{
    static const char header[VALUE] = {3, 0, 0, 5};
    uint32_t small = (uint32_t)value;
    memcpy(at, header, sizeof header);
    memcpy(at + VALUE + 1, &small, sizeof small);
}

static int64_t get(const char *at)
{
    uint32_t small;
    memcpy(&small, at + VALUE + 1, sizeof small);
    return small;
}

static void fill(child *c)
{
    way *to = &c->to;
    for (; to->end + MESSAGE <= BUFFER && c->left_to_send; to->end += MESSAGE, c->left_to_send--, c->in++)
        if (look_at_items)
            put(to->buffer + to->end, *c->in);
}

static void take(child *c)
{
    way *from = &c->from;
    for (; from->begin + MESSAGE <= from->end; from->begin += MESSAGE, c->left_to_come--, c->out++)
        if (look_at_items)
            *c->out = get(from->buffer + from->begin);
    memmove(from->buffer, from->buffer + from->begin, from->end - from->begin);
    from->end -= from->begin;
    from->begin = 0;
}

static void turn(child *c, short can)
{
    if (can & POLLOUT) {
        fill(c);
        ssize_t sent = write(c->to.fd, c->to.buffer + c->to.begin, c->to.end - c->to.begin);
        c->to.begin += sent > 0 ? (size_t)sent : 0;
        if (c->to.begin == c->to.end)
            c->to.begin = c->to.end = 0;
    }
    if (can & POLLIN) {
        ssize_t got = read(c->from.fd, c->from.buffer + c->from.end, BUFFER - c->from.end);
        c->from.end += got > 0 ? (size_t)got : 0;
        take(c);
    }
}

static double stream(const int64_t *in, int64_t *out, size_t n)
{
    double begin = now();
    for (size_t k = 0; k < WORKERS; k++) {
        children[k].in = in + k * (n / WORKERS);
        children[k].out = out + k * (n / WORKERS);
        children[k].left_to_send = children[k].left_to_come = n / WORKERS;
    }
    for (;;) {
        struct pollfd fds[2 * WORKERS];
        size_t left = 0;
        for (int k = 0; k < WORKERS; k++) {
            bool more = children[k].left_to_send || children[k].to.end;
            fds[2 * k] = (struct pollfd){.fd = more ? children[k].to.fd : -1, .events = POLLOUT};
            fds[2 * k + 1] = (struct pollfd){.fd = children[k].from.fd, .events = POLLIN};
            left += children[k].left_to_come;
        }
        if (left == 0)
            return now() - begin;
        if (poll(fds, 2 * WORKERS, -1) < 0 && errno != EINTR)
            give_up("poll");
        for (int k = 0; k < WORKERS; k++)
            turn(&children[k], (short)(fds[2 * k].revents | fds[2 * k + 1].revents));
    }
}

/* In the child: each message is read, and answered with one like it. */
static void answer(way *from, way *to)
{
    for (; from->begin + MESSAGE <= from->end; from->begin += MESSAGE, to->end += MESSAGE)
        put(to->buffer + to->end, get(from->buffer + from->begin));
    memmove(from->buffer, from->buffer + from->begin, from->end - from->begin);
    from->end -= from->begin;
    from->begin = 0;
}

__attribute__((noreturn)) static void serve(int in, int out)
{
    static way from, to;
    ssize_t got;
    while ((got = read(in, from.buffer + from.end, BUFFER - from.end)) > 0) {
        from.end += (size_t)got;
        if (look_at_items)
            answer(&from, &to);
        char *what = look_at_items ? to.buffer : from.buffer;
        size_t size = look_at_items ? to.end : from.end;
        for (ssize_t sent; size > 0; what += sent, size -= (size_t)sent)
            if ((sent = write(out, what, size)) < 0)
                _exit(1);
        to.end = 0;
        from.end = look_at_items ? from.end : 0;
    }
    _exit(0);
}

static void start(child *c)
{
    int tasks[2], results[2];
    if (pipe2(tasks, O_CLOEXEC) != 0 || pipe2(results, O_CLOEXEC) != 0)
        give_up("pipe");
    c->pid = fork();
    if (c->pid == 0) {
        close(tasks[1]);
        for (child *older = children; older < c; older++)
            close(older->to.fd); /* or its end would not be seen */
        serve(tasks[0], results[1]);
    }
    close(tasks[0]);
    close(results[1]);
    c->to.fd = tasks[1];
    c->from.fd = results[0];
    (void)fcntl(c->to.fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(c->from.fd, F_SETFL, O_NONBLOCK);
}

int main(int argc, char **argv)
{
    look_at_items = strcmp(word(argc, argv, 1, "items"), "items") == 0;
    size_t n = (size_t)number(argc, argv, 2, 1000000);
    int64_t *in = memory(n, sizeof *in), *out = memory(n, sizeof *out);
    for (int k = 0; k < WORKERS; k++)
        start(&children[k]);
    double took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++)
        took[round] = stream(in, out, n);
    for (int k = 0; k < WORKERS; k++) {
        close(children[k].to.fd);
        (void)waitpid(children[k].pid, NULL, 0);
    }
    report("item", median(took, ROUNDS) / (double)n * 1e9, "ns");
    report_usage((double)n * ROUNDS);
    free(in);
    free(out);
}
