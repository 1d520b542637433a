/* pipe_echo [KIB]: so many bytes to a child process through a pipe of 1 MiB and, when all are there, back through another. Both
 * sides have memory for them that they have used before. */
#include "bench/measure.h"
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static void send_all(int fd, const char *data, size_t size)
{
    for (ssize_t sent; size > 0; data += sent, size -= (size_t)sent)
        if ((sent = write(fd, data, size)) <= 0)
            give_up("write");
}

/* 1: all have come; 0: the other side has left. */
static int take_all(int fd, char *data, size_t size)
{
    for (ssize_t got; size > 0; data += got, size -= (size_t)got)
        if ((got = read(fd, data, size)) <= 0)
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    size_t size = (size_t)number(argc, argv, 1, 1024) * 1024;
    size_t rounds = ((size_t)256 << 20) / size + 3;
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0)
        give_up("pipe");
    (void)fcntl(there[1], F_SETPIPE_SZ, 1 << 20);
    (void)fcntl(back[1], F_SETPIPE_SZ, 1 << 20);
    char *data = memory(size, 1);
    pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        memset(data, 2, size); /* a page of its own, now */
        while (take_all(there[0], data, size))
            send_all(back[1], data, size);
        _exit(0);
    }
    double *took = memory(rounds, sizeof *took);
    for (size_t round = 0; round < rounds; round++) {
        double begin = now();
        send_all(there[1], data, size);
        if (!take_all(back[0], data, size))
            give_up("read");
        took[round] = now() - begin;
    }
    close(there[1]);
    (void)waitpid(child, NULL, 0);
    report("echo", median(took, rounds) * 1e6, "us");
    free(data);
    free(took);
}
