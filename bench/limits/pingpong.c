/* pingpong [any|one|two [CALLS]]: 16 bytes to a child process through a pipe and back through another, both asleep each time. */
#include "bench/place.h"
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 16 };

static void echo(int in, int out, place where)
{
    char message[BYTES];
    if (where != ANY_CPU)
        stay_on(true);
    while (read(in, message, sizeof message) == sizeof message)
        if (write(out, message, sizeof message) != sizeof message)
            _exit(1);
    _exit(0);
}

int main(int argc, char **argv)
{
    place where = place_of(word(argc, argv, 1, "any"));
    size_t calls = (size_t)number(argc, argv, 2, 10000);
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0)
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        echo(there[0], back[1], where);
    }
    if (where != ANY_CPU)
        stay_on(where == ONE_CPU);
    double *took = memory(calls, sizeof *took), sum = 0;
    for (size_t i = 0; i < calls; i++) {
        char message[BYTES] = {0};
        double begin = now();
        if (write(there[1], message, sizeof message) != sizeof message || read(back[0], message, sizeof message) < 1)
            give_up("pingpong");
        sum += took[i] = now() - begin;
    }
    close(there[1]);
    (void)waitpid(child, NULL, 0);
    report("p50", median(took, calls) * 1e6, "us");
    report("p99", took[calls * 99 / 100] * 1e6, "us");
    report("mean", sum / (double)calls * 1e6, "us");
    report_usage((double)calls);
    free(took);
}
