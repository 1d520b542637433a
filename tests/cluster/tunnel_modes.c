/* Modes of tunnel_echo that ask whether every byte arrives: many streams, closes in every order, a reader that stops, 3 GiB. */
#include "tests/cluster/tunnel_echo.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static long resident_kib(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    char line[128];
    long kib = 0;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* ---- many: the root has a thread for each stream, which gives back what comes, in pieces of its own ---- */

static void *echo(void *argument)
{
    int fd = (int)(intptr_t)argument;
    static _Thread_local char bytes[100 * 1024];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) > 0)
        write_all(fd, bytes, (size_t)got);
    close(fd);
    return NULL;
}

static long streams_count(void)
{
    return number("STREAMS", 40);
}

void many_root(tunnel_end *end)
{
    long count = streams_count() * (end->size - 1);
    pthread_t *threads = calloc((size_t)count + 1, sizeof *threads);
    for (long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, echo, (void *)(intptr_t)stream_take(end, NULL)) != 0)
            fail("pthread_create");
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    printf("ok many %ld streams\n", count);
}

typedef struct conversation {
    int fd;
    uint64_t seed, total;
} conversation;

static void *listen_to(void *argument)
{
    conversation *talk = argument;
    enum { PIECE = 64 * 1024 };
    unsigned char *got = malloc(PIECE), *expected = malloc(PIECE);
    for (uint64_t at = 0; at < talk->total; at += PIECE) {
        size_t size = talk->total - at < PIECE ? (size_t)(talk->total - at) : PIECE;
        read_all(talk->fd, got, size);
        bytes_make(expected, size, talk->seed, at);
        if (memcmp(got, expected, size) != 0)
            fail("stream %lx: other bytes from %lx on", (unsigned long)talk->seed, (unsigned long)at);
    }
    if (!at_end(talk->fd))
        fail("stream %lx: more bytes than were sent", (unsigned long)talk->seed);
    close(talk->fd);
    free(got);
    free(expected);
    return NULL;
}

/* Pieces from 8 bytes to 128 KiB, most of them small. */
static void *talk_to(void *argument)
{
    conversation *talk = argument;
    enum { PIECE = 128 * 1024 };
    uint64_t state = talk->seed;
    unsigned char *bytes = malloc(PIECE);
    pthread_t listener;
    if (pthread_create(&listener, NULL, listen_to, talk) != 0)
        fail("pthread_create");
    for (uint64_t at = 0; at < talk->total;) {
        uint64_t size = (random_next(&state) % (PIECE >> random_next(&state) % 14)) / 8 * 8 + 8;
        if (size > talk->total - at)
            size = talk->total - at;
        bytes_make(bytes, size, talk->seed, at);
        write_all(talk->fd, bytes, size);
        at += size;
    }
    (void)shutdown(talk->fd, SHUT_WR);
    pthread_join(listener, NULL);
    free(bytes);
    return NULL;
}

void many_agent(tunnel_end *end)
{
    long count = streams_count();
    uint64_t state = (uint64_t)end->rank;
    conversation *talks = calloc((size_t)count, sizeof *talks);
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    for (long i = 0; i < count; i++) {
        talks[i] =
            (conversation){.fd = stream_open(end), .seed = random_next(&state), .total = random_next(&state) % (4 << 20)};
        if (pthread_create(&threads[i], NULL, talk_to, &talks[i]) != 0)
            fail("pthread_create");
    }
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(talks);
    free(threads);
}

/* ---- closes: who does what first is in the first byte ---- */

enum { CLOSES = 6, SOME = 3 * 1024 * 1024 };

static unsigned char *some_bytes(void)
{
    unsigned char *bytes = malloc(SOME);
    bytes_make(bytes, SOME, 7, 0);
    return bytes;
}

static void expect_some(int fd, const unsigned char *bytes)
{
    unsigned char *got = malloc(SOME);
    read_all(fd, got, SOME);
    if (memcmp(got, bytes, SOME) != 0)
        fail("closes: other bytes");
    free(got);
}

/* Writes until told that nobody reads; false: it may go on for ever. */
static bool refused(int fd, const unsigned char *bytes)
{
    double until = seconds() + 20;
    while (seconds() < until)
        if (send(fd, bytes, 64 * 1024, MSG_NOSIGNAL) < 0)
            return errno == EPIPE || errno == ECONNRESET;
    return false;
}

static void close_as_agent(int fd, int how, const unsigned char *bytes)
{
    char kind = (char)how;
    if (how != 0)
        write_all(fd, &kind, 1);
    switch (how) {
    case 1: write_all(fd, bytes, SOME); break;                              /* all, and gone */
    case 2: write_all(fd, bytes, SOME), (void)shutdown(fd, SHUT_WR); break; /* all, then the answer */
    case 3: expect_some(fd, bytes); break;                                  /* the root was first */
    case 4: break;                                                          /* gone, while the root writes */
    case 5:
        if (!refused(fd, bytes))
            fail("closes: nobody reads, but it takes");
        break;      /* the root is gone */
    default: break; /* nothing at all */
    }
    if (how == 2)
        expect_some(fd, bytes);
    if ((how == 2 || how == 3) && !at_end(fd))
        fail("closes %d: no end", how);
    close(fd);
}

static void close_as_root(int fd, const unsigned char *bytes)
{
    char kind = 0;
    if (read(fd, &kind, 1) == 1)
        switch (kind) {
        case 1: expect_some(fd, bytes); break;
        case 2: expect_some(fd, bytes), write_all(fd, bytes, SOME); break;
        case 3: write_all(fd, bytes, SOME), (void)shutdown(fd, SHUT_WR); break;
        case 4:
            if (!refused(fd, bytes))
                fail("closes: the agent is gone, but it takes");
            break;
        default: close(fd); return;
        }
    if (kind != 4 && !at_end(fd))
        fail("closes %d: no end at the root", kind);
    close(fd);
}

void closes_agent(tunnel_end *end)
{
    unsigned char *bytes = some_bytes();
    for (int i = 0; i < 10 * CLOSES; i++)
        close_as_agent(stream_open(end), i % CLOSES, bytes);
    free(bytes);
}

void closes_root(tunnel_end *end)
{
    unsigned char *bytes = some_bytes();
    int count = 10 * CLOSES * (end->size - 1);
    for (int i = 0; i < count; i++)
        close_as_root(stream_take(end, NULL), bytes);
    free(bytes);
    printf("ok closes %d streams\n", count);
}

/* ---- stops: what an agent can write to a root that does not read ---- */

enum { STOPPED_MAX = 4 * 1024 * 1024, STOPS_TOTAL = 64 * 1024 * 1024 };

static size_t write_while_possible(int fd, const unsigned char *bytes)
{
    size_t taken = 0;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    while (taken < STOPS_TOTAL && poll(&room, 1, 500) == 1) {
        ssize_t written =
            send(fd, bytes + taken, STOPS_TOTAL - taken > 100 ? 100 : STOPS_TOTAL - taken, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written > 0)
            taken += (size_t)written;
    }
    return taken;
}

void stops_agent(tunnel_end *end)
{
    int fd = stream_open(end), word = stream_open(end);
    unsigned char *bytes = malloc(STOPS_TOTAL);
    bytes_make(bytes, STOPS_TOTAL, 9, 0);
    size_t taken = write_while_possible(fd, bytes);
    if (taken > STOPPED_MAX)
        fail("stops: %zu bytes are taken that nobody reads", taken);
    write_all(word, &taken, sizeof taken); /* another stream of the same rank goes on */
    write_all(fd, bytes + taken, STOPS_TOTAL - taken);
    close(fd);
    if (!at_end(word))
        fail("stops: the root says what it should not");
    close(word);
    free(bytes);
}

static void stops_read(int fd)
{
    unsigned char *got = malloc(STOPS_TOTAL), *expected = malloc(STOPS_TOTAL);
    bytes_make(expected, STOPS_TOTAL, 9, 0);
    read_all(fd, got, STOPS_TOTAL);
    if (memcmp(got, expected, STOPS_TOTAL) != 0 || !at_end(fd))
        fail("stops: other bytes");
    close(fd);
    free(got);
    free(expected);
}

void stops_root(tunnel_end *end)
{
    int fds[256], words[256], agents = end->size - 1;
    int *first = calloc((size_t)end->size, sizeof *first);
    long before = resident_kib();
    size_t taken = 0;
    for (int i = 0, n = 0; i < 2 * agents; i++) {
        int rank, fd = stream_take(end, &rank);
        if (!first[rank])
            fds[n] = fd, first[rank] = ++n;
        else
            words[first[rank] - 1] = fd;
    }
    for (int i = 0; i < agents; i++)
        read_all(words[i], &taken, sizeof taken);
    long grown = resident_kib() - before;
    if (grown > 8 * 1024 * agents)
        fail("stops: %ld KiB more for %d streams that nobody reads", grown, agents);
    for (int i = 0; i < agents; i++) {
        stops_read(fds[i]);
        close(words[i]);
    }
    free(first);
    printf("ok stops %.2f MiB taken, %ld KiB more at the root\n", (double)taken / (1 << 20), grown);
}

/* ---- large: each agent in turn, through one stream ---- */

enum { PIECE = 1024 * 1024 };

static uint64_t pieces(void)
{
    return (uint64_t)number("MIB", 3072);
}

void large_agent(tunnel_end *end)
{
    int fd = stream_open(end);
    char turn;
    unsigned char *bytes = malloc(PIECE);
    read_all(fd, &turn, 1);
    bytes_make(bytes, PIECE, 5, 0);
    for (uint64_t i = 0; i < pieces(); i++) {
        memcpy(bytes, &i, sizeof i);
        write_all(fd, bytes, PIECE);
    }
    (void)shutdown(fd, SHUT_WR);
    read_all(fd, &turn, 1);
    close(fd);
    free(bytes);
}

static void large_read(int fd)
{
    unsigned char *got = malloc(PIECE), *expected = malloc(PIECE);
    bytes_make(expected, PIECE, 5, 0);
    for (uint64_t i = 0; i < pieces(); i++) {
        read_all(fd, got, PIECE);
        memcpy(expected, &i, sizeof i);
        if (memcmp(got, expected, PIECE) != 0)
            fail("large: other bytes in piece %lu", (unsigned long)i);
    }
    if (!at_end(fd))
        fail("large: more than was sent");
    free(got);
    free(expected);
}

void large_root(tunnel_end *end)
{
    int fds[256];
    for (int i = 0; i < end->size - 1; i++)
        fds[i] = stream_take(end, NULL);
    for (int i = 0; i < end->size - 1; i++) {
        double start = seconds();
        write_all(fds[i], "!", 1);
        large_read(fds[i]);
        double took = seconds() - start;
        write_all(fds[i], "!", 1);
        if (!at_end(fds[i]))
            fail("large: no end");
        close(fds[i]);
        printf("ok large %lu MiB, %.2f GB/s\n", (unsigned long)pieces(), (double)pieces() * PIECE / took * 1e-9);
    }
}
