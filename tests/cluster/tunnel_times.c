/* Modes of tunnel_echo that ask how long something takes, and what becomes of a rank that is lost. */
#include "tests/cluster/tunnel_echo.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { TIMES = 2000, SIZE = 64, WAKES_MAX = 50 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double cpu_seconds(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

static void nap(double time)
{
    struct timespec most = {.tv_sec = (time_t)time, .tv_nsec = (long)((time - (double)(time_t)time) * 1e9)};
    (void)nanosleep(&most, NULL);
}

/* How often its threads have gone to sleep: what a busy machine does not change. */
static double naps(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)used.ru_nvcsw;
}

static void idle_say(int rank)
{
    nap(1.5);
    double cpu = cpu_seconds(), slept = naps(), start = seconds();
    nap(3);
    double took = seconds() - start, wakes = (naps() - slept) / took;
    if (wakes > WAKES_MAX)
        fail("idle rank %d has looked %.0f times a second", rank, wakes);
    printf("ok idle rank %d: %.2f %% of a CPU, %.0f wakes a second\n", rank, 100 * (cpu_seconds() - cpu) / took, wakes);
    fflush(stdout);
}

void latency_agent(tunnel_end *end)
{
    int fd = stream_open(end);
    char bytes[SIZE];
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;)
        write_all(fd, bytes, (size_t)got);
    close(fd);
    idle_say(end->rank);
}

static void round_trips(int fd, int rank, int count, double pause)
{
    static double times[TIMES];
    char bytes[SIZE] = {0};
    for (int i = 0; i < count; i++) {
        if (pause > 0)
            nap(pause);
        double start = seconds();
        write_all(fd, bytes, SIZE);
        read_all(fd, bytes, SIZE);
        times[i] = (seconds() - start) * 1e6;
    }
    qsort(times, (size_t)count, sizeof *times, by_size);
    printf("ok latency rank %d: 64 bytes there and back, every %.0f ms: p50 %.1f us, p90 %.1f us, p99 %.1f us\n", rank,
           pause * 1e3, times[count / 2], times[count * 9 / 10], times[count * 99 / 100]);
}

void latency_root(tunnel_end *end)
{
    int fds[256], ranks[256], agents = end->size - 1;
    for (int i = 0; i < agents; i++)
        fds[i] = stream_take(end, &ranks[i]);
    for (int i = 0; i < agents; i++) {
        round_trips(fds[i], ranks[i], TIMES, 0);
        round_trips(fds[i], ranks[i], TIMES / 20, 0.02);
        round_trips(fds[i], ranks[i], 5, 0.5);
    }
    for (int i = 0; i < agents; i++)
        close(fds[i]);
    idle_say(0);
}

/* ---- lose: the last agent is killed while its stream is full ---- */

void lose_agent(tunnel_end *end)
{
    int fd = stream_open(end);
    char bytes[SIZE];
    if (end->rank == end->size - 1) {
        write_all(fd, "last", 4);
        nap(0.2);
        kill(getpid(), SIGKILL);
    }
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;)
        write_all(fd, bytes, (size_t)got);
    close(fd);
    end->lost = true;
}

static void talk_on(int fd)
{
    char sent[SIZE], got[SIZE];
    for (int i = 0; i < TIMES / 10; i++) {
        memset(sent, i, sizeof sent);
        write_all(fd, sent, sizeof sent);
        read_all(fd, got, sizeof got);
        if (memcmp(sent, got, sizeof got) != 0)
            fail("lose: other bytes");
        nap(0.005);
    }
    close(fd);
}

void lose_root(tunnel_end *end)
{
    int fds[256], last = -1, agents = end->size - 1;
    char word[4];
    for (int i = 0; i < agents; i++) {
        int rank;
        fds[i] = stream_take(end, &rank);
        if (rank == end->size - 1)
            last = i;
    }
    read_all(fds[last], word, sizeof word);
    for (int i = 0; i < agents; i++)
        if (i != last)
            talk_on(fds[i]);
    if (poll(&(struct pollfd){.fd = fds[last], .events = POLLIN}, 1, 2000) != 1 || read(fds[last], word, 1) != 0)
        fail("lose: nothing tells that it has gone");
    close(fds[last]);
    end->lost = true;
    printf("ok lose the last of %d ranks, the others went on\n", end->size);
}
